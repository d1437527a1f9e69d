"""Signals: at once or after the step, said once, never without an end."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from dive.runs import signals
from dive.runs.signals import RunInterrupted, SignalHandlers

CODES = {signal.SIGTERM: 143, signal.SIGINT: 130}
HEEDED = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)


def unsaid(code: int) -> None:
    raise AssertionError(f"last words, {code}")


def say(number: int) -> None:
    """Send a signal to this process, and wait until Python has heard it."""
    os.kill(os.getpid(), number)
    time.sleep(0.01)


@pytest.fixture(autouse=True)
def handlers_as_they_were() -> Iterator[None]:
    """A test that fails leaves none behind."""
    before = {number: signal.getsignal(number) for number in HEEDED}
    yield
    signals.defer_interrupt(None)
    for number, handler in before.items():
        signal.signal(number, handler)


def timers() -> list[threading.Thread]:
    """Those that run; one that is cancelled may take a moment to end."""
    threads = threading.enumerate()
    return [thread for thread in threads if isinstance(thread, threading.Timer) and not thread.finished.is_set()]


@pytest.mark.parametrize(("number", "code"), CODES.items())
def test_where_nothing_is_to_be_saved_a_signal_is_heeded_at_once(number: int, code: int) -> None:
    with SignalHandlers(unsaid) as heard:
        assert heard.received is None
        with pytest.raises(RunInterrupted, match=signal.Signals(number).name) as caught:
            say(number)
        assert heard.received == number
    assert caught.value.exit_code == code


@pytest.mark.parametrize(("number", "code"), CODES.items())
def test_in_training_a_signal_is_told_to_it_and_nothing_is_raised(number: int, code: int) -> None:
    asked: list[RunInterrupted] = []
    with SignalHandlers(unsaid) as heard:
        signals.defer_interrupt(asked.append)
        say(number)
        assert heard.received == number
    assert [interrupted.exit_code for interrupted in asked] == [code]


def test_when_training_is_over_signals_are_heeded_at_once_again() -> None:
    asked: list[RunInterrupted] = []
    with SignalHandlers(unsaid):
        signals.defer_interrupt(asked.append)
        signals.defer_interrupt(None)
        with pytest.raises(RunInterrupted):
            say(signal.SIGTERM)
    assert asked == []


@pytest.mark.parametrize("first", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_said_several_times_is_one(first: int) -> None:
    asked: list[RunInterrupted] = []
    with SignalHandlers(unsaid) as heard:
        signals.defer_interrupt(asked.append)
        for number in (first, signal.SIGTERM, signal.SIGTERM):
            say(number)
        assert len(timers()) == 1
    assert len(asked) == 1
    assert heard.received == first


def test_while_it_is_unwinding_a_run_is_not_interrupted_again() -> None:
    with SignalHandlers(unsaid):
        with pytest.raises(RunInterrupted):
            say(signal.SIGTERM)
        say(signal.SIGTERM)


def test_an_interruption_is_not_caught_as_an_error() -> None:
    assert not issubclass(RunInterrupted, Exception)


@pytest.mark.parametrize("interrupted", [False, True])
def test_afterwards_handlers_are_as_before_and_no_clock_runs(interrupted: bool) -> None:
    def mine(*_: object) -> None:
        """Heeds nothing."""

    signal.signal(signal.SIGTERM, mine)
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    before = [signal.getsignal(number) for number in HEEDED]
    with SignalHandlers(unsaid):
        signals.defer_interrupt(lambda _: None)
        assert signal.getsignal(signal.SIGTERM) is not mine
        assert timers() == []
        if interrupted:
            say(signal.SIGTERM)
            assert [timer.daemon for timer in timers()] == [True]
    assert [signal.getsignal(number) for number in HEEDED] == before
    assert timers() == []


def test_afterwards_training_is_asked_no_more() -> None:
    with SignalHandlers(unsaid):
        signals.defer_interrupt(lambda _: None)
    with pytest.raises(RunInterrupted), SignalHandlers(unsaid):
        say(signal.SIGTERM)


def test_the_warning_of_a_cluster_counts_as_the_end_where_somebody_listens_for_it() -> None:
    signal.signal(signal.SIGUSR1, unheard := lambda *_: pytest.fail("it is heard by another"))
    asked: list[RunInterrupted] = []
    with SignalHandlers(unsaid) as heard:
        signals.defer_interrupt(asked.append)
        say(signal.SIGUSR1)
        say(signal.SIGTERM)  # that follows it
    assert [interrupted.exit_code for interrupted in asked] == [143]
    assert heard.received == signal.SIGUSR1
    assert signal.getsignal(signal.SIGUSR1) is unheard


@pytest.mark.parametrize("before", [signal.SIG_DFL, signal.SIG_IGN])
def test_the_warning_is_left_alone_where_nobody_listens_for_it(before: signal.Handlers) -> None:
    signal.signal(signal.SIGUSR1, before)
    with SignalHandlers(unsaid):
        assert signal.getsignal(signal.SIGUSR1) is before
        assert signal.getsignal(signal.SIGTERM) not in (signal.SIG_DFL, signal.SIG_IGN)


def test_in_another_thread_nothing_is_heeded() -> None:
    before = [signal.getsignal(number) for number in HEEDED]
    within = []

    def work() -> None:
        with SignalHandlers(unsaid) as heard:
            within.extend([[signal.getsignal(number) for number in HEEDED], heard.received])

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert within == [before, None]
    assert [signal.getsignal(number) for number in HEEDED] == before


# The end of patience: of processes, since it ends them.

STUBBORN = """
import sys, time
from dive import signals

assert "torch" not in sys.modules, "signals are heeded before torch is there"
signals.GRACE_S = {grace}

def last_words(code):
    print("last words", code, flush=True)
    {then}

with signals.Signals(last_words):
    signals.defer(lambda interrupted: print("asked", interrupted.exit_code, flush=True))
    {first}
    print("ready", flush=True)
    try:
        time.sleep(60)
    finally:
        print("unwound", flush=True)
"""


def stubborn(*numbers: int, grace: float = 60, first: str = "", then: str = "") -> tuple[int, list[str], float]:
    """Send signals to a process that does not leave by itself: its exit code, its lines, the seconds it took."""
    script = STUBBORN.format(grace=grace, first=first, then=then)
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        lines = [child.stdout.readline().strip()]
        while lines[-1] not in ("ready", ""):
            lines.append(child.stdout.readline().strip())
        start = time.monotonic()
        for number in numbers:
            child.send_signal(number)
            time.sleep(0.2)
        try:
            lines += child.communicate(timeout=20)[0].split("\n")
        finally:
            child.kill()
        return child.returncode, [line for line in lines if line], time.monotonic() - start


@pytest.mark.parametrize(("number", "code"), CODES.items())
def test_a_run_that_does_not_come_to_the_end_of_a_step_says_its_last_words_and_is_gone(
    number: int, code: int
) -> None:
    ended, lines, seconds = stubborn(number, grace=0.3)
    assert (ended, lines) == (code, ["ready", f"asked {code}", f"last words {code}"])
    assert seconds < 10


def test_a_second_ctrl_c_does_not_wait() -> None:
    ended, lines, seconds = stubborn(signal.SIGINT, signal.SIGINT)
    assert (ended, lines) == (130, ["ready", "asked 130", "last words 130"])
    assert seconds < 10


def test_ctrl_c_after_sigterm_does_not_wait_either() -> None:
    ended, lines, _ = stubborn(signal.SIGTERM, signal.SIGTERM, signal.SIGINT)
    assert (ended, lines) == (130, ["ready", "asked 143", "last words 130"])


def test_a_run_whose_last_words_fail_is_gone_all_the_same() -> None:
    ended, lines, seconds = stubborn(signal.SIGTERM, grace=0.2, then="raise OSError(28, 'No space left')")
    assert (ended, lines) == (143, ["ready", "asked 143", "last words 143"])
    assert seconds < 10


@pytest.mark.skipif(not Path("/proc").exists(), reason="it looks into /proc")
def test_processes_of_a_run_that_is_gone_are_gone_too() -> None:
    first = (
        "import multiprocessing; w = multiprocessing.get_context('fork').Process("
        "target=lambda: signals.signal.pause(), daemon=True); w.start(); print(w.pid, flush=True)"
    )
    ended, lines, _ = stubborn(signal.SIGINT, signal.SIGINT, first=first)
    assert ended == 130
    worker = int(lines[0])
    deadline = time.monotonic() + 10
    while alive(worker):
        assert time.monotonic() < deadline
        time.sleep(0.02)


def alive(process: int) -> bool:
    """Whether it still runs; one that is dead and not yet buried does not."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.parametrize(("number", "code"), CODES.items())
def test_a_block_that_must_not_be_cut_in_two_comes_to_its_end_first(number: int, code: int) -> None:
    done = []
    with SignalHandlers(unsaid) as heard:
        with pytest.raises(RunInterrupted) as caught:  # noqa: PT012  # what comes after the signal is the point
            with signals.shield_from_interrupt():
                say(number)
                done.append("end")
            done.append("beyond")
        assert heard.received == number
    assert done == ["end"]
    assert caught.value.exit_code == code


def test_after_such_a_block_a_signal_is_for_whoever_it_was_for_before() -> None:
    asked: list[RunInterrupted] = []
    with SignalHandlers(unsaid):
        signals.defer_interrupt(asked.append)
        with signals.shield_from_interrupt():
            pass
        say(signal.SIGTERM)
    assert [interruption.exit_code for interruption in asked] == [143]


def test_a_signal_within_such_a_block_is_for_whoever_it_was_for_before() -> None:
    done: list[str] = []
    asked: list[RunInterrupted] = []
    with SignalHandlers(unsaid):
        signals.defer_interrupt(asked.append)
        with signals.shield_from_interrupt():
            say(signal.SIGTERM)
            done.append("end")
            assert not asked
        done.append("beyond")  # training goes on to where it saves
    assert done == ["end", "beyond"]
    assert [interruption.exit_code for interruption in asked] == [143]
