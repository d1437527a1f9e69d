"""Signals: handled immediately or after the step, once, and within a bounded time."""

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
HANDLED = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)


def unexpected(code: int) -> None:
    raise AssertionError(f"forced exit, {code}")


def send(number: int) -> None:
    """Send a signal to this process, and wait until Python has handled it."""
    os.kill(os.getpid(), number)
    time.sleep(0.01)


@pytest.fixture(autouse=True)
def restored_handlers() -> Iterator[None]:
    """Restore the signal handlers, also after a failed test."""
    before = {number: signal.getsignal(number) for number in HANDLED}
    yield
    signals.defer_interrupt(None)
    for number, handler in before.items():
        signal.signal(number, handler)


def timers() -> list[threading.Thread]:
    """The active timers; a cancelled one may take a moment to end."""
    threads = threading.enumerate()
    return [thread for thread in threads if isinstance(thread, threading.Timer) and not thread.finished.is_set()]


@pytest.mark.parametrize(("number", "code"), CODES.items())
def test_signal_raises_immediately_without_a_callback(number: int, code: int) -> None:
    with SignalHandlers(unexpected) as handlers:
        assert handlers.received is None
        with pytest.raises(RunInterrupted, match=signal.Signals(number).name) as caught:
            send(number)
        assert handlers.received == number
    assert caught.value.exit_code == code


@pytest.mark.parametrize(("number", "code"), CODES.items())
def test_signal_calls_the_callback_and_raises_nothing(number: int, code: int) -> None:
    received: list[RunInterrupted] = []
    with SignalHandlers(unexpected) as handlers:
        signals.defer_interrupt(received.append)
        send(number)
        assert handlers.received == number
    assert [interrupted.exit_code for interrupted in received] == [code]


def test_signal_raises_immediately_after_the_callback_is_removed() -> None:
    received: list[RunInterrupted] = []
    with SignalHandlers(unexpected):
        signals.defer_interrupt(received.append)
        signals.defer_interrupt(None)
        with pytest.raises(RunInterrupted):
            send(signal.SIGTERM)
    assert received == []


@pytest.mark.parametrize("first", [signal.SIGTERM, signal.SIGINT])
def test_repeated_signals_count_once(first: int) -> None:
    received: list[RunInterrupted] = []
    with SignalHandlers(unexpected) as handlers:
        signals.defer_interrupt(received.append)
        for number in (first, signal.SIGTERM, signal.SIGTERM):
            send(number)
        assert len(timers()) == 1
    assert len(received) == 1
    assert handlers.received == first


def test_unwinding_run_is_not_interrupted_again() -> None:
    with SignalHandlers(unexpected):
        with pytest.raises(RunInterrupted):
            send(signal.SIGTERM)
        send(signal.SIGTERM)


def test_interruption_is_not_an_exception() -> None:
    assert not issubclass(RunInterrupted, Exception)


@pytest.mark.parametrize("interrupted", [False, True])
def test_handlers_and_timers_are_restored_on_exit(interrupted: bool) -> None:
    def custom(*_: object) -> None:
        """Do nothing."""

    signal.signal(signal.SIGTERM, custom)
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    before = [signal.getsignal(number) for number in HANDLED]
    with SignalHandlers(unexpected):
        signals.defer_interrupt(lambda _: None)
        assert signal.getsignal(signal.SIGTERM) is not custom
        assert timers() == []
        if interrupted:
            send(signal.SIGTERM)
            assert [timer.daemon for timer in timers()] == [True]
    assert [signal.getsignal(number) for number in HANDLED] == before
    assert timers() == []


def test_callback_is_removed_on_exit() -> None:
    with SignalHandlers(unexpected):
        signals.defer_interrupt(lambda _: None)
    with pytest.raises(RunInterrupted), SignalHandlers(unexpected):
        send(signal.SIGTERM)


def test_slurm_warning_counts_as_sigterm_if_it_has_a_handler() -> None:
    signal.signal(signal.SIGUSR1, previous := lambda *_: pytest.fail("the previous handler was called"))
    received: list[RunInterrupted] = []
    with SignalHandlers(unexpected) as handlers:
        signals.defer_interrupt(received.append)
        send(signal.SIGUSR1)
        send(signal.SIGTERM)  # which SLURM sends next
    assert [interrupted.exit_code for interrupted in received] == [143]
    assert handlers.received == signal.SIGUSR1
    assert signal.getsignal(signal.SIGUSR1) is previous


@pytest.mark.parametrize("before", [signal.SIG_DFL, signal.SIG_IGN])
def test_slurm_warning_is_ignored_without_a_handler(before: signal.Handlers) -> None:
    signal.signal(signal.SIGUSR1, before)
    with SignalHandlers(unexpected):
        assert signal.getsignal(signal.SIGUSR1) is before
        assert signal.getsignal(signal.SIGTERM) not in (signal.SIG_DFL, signal.SIG_IGN)


def test_nothing_is_handled_in_another_thread() -> None:
    before = [signal.getsignal(number) for number in HANDLED]
    observed = []

    def work() -> None:
        with SignalHandlers(unexpected) as handlers:
            observed.extend([[signal.getsignal(number) for number in HANDLED], handlers.received])

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert observed == [before, None]
    assert [signal.getsignal(number) for number in HANDLED] == before


# Forced exits, in subprocesses.

SCRIPT = """
import sys, time
from dive.runs import signals

assert "torch" not in sys.modules, "signals are handled before torch is imported"
signals.GRACE_PERIOD_S = {grace}

def on_forced_exit(code):
    print("forced exit", code, flush=True)
    {then}

with signals.SignalHandlers(on_forced_exit):
    signals.defer_interrupt(lambda interrupted: print("callback", interrupted.exit_code, flush=True))
    {first}
    print("ready", flush=True)
    try:
        time.sleep(60)
    finally:
        print("unwound", flush=True)
"""


def run_script(*numbers: int, grace: float = 60, first: str = "", then: str = "") -> tuple[int, list[str], float]:
    """Send signals to a process that does not exit by itself; return its exit code, its lines and the seconds."""
    script = SCRIPT.format(grace=grace, first=first, then=then)
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
def test_run_is_forced_to_exit_after_the_grace_period(number: int, code: int) -> None:
    exit_code, lines, seconds = run_script(number, grace=0.3)
    assert (exit_code, lines) == (code, ["ready", f"callback {code}", f"forced exit {code}"])
    assert seconds < 10


def test_second_ctrl_c_exits_immediately() -> None:
    exit_code, lines, seconds = run_script(signal.SIGINT, signal.SIGINT)
    assert (exit_code, lines) == (130, ["ready", "callback 130", "forced exit 130"])
    assert seconds < 10


def test_ctrl_c_after_sigterm_exits_immediately() -> None:
    exit_code, lines, _ = run_script(signal.SIGTERM, signal.SIGTERM, signal.SIGINT)
    assert (exit_code, lines) == (130, ["ready", "callback 143", "forced exit 130"])


def test_run_exits_even_if_the_exit_callback_fails() -> None:
    exit_code, lines, seconds = run_script(signal.SIGTERM, grace=0.2, then="raise OSError(28, 'No space left')")
    assert (exit_code, lines) == (143, ["ready", "callback 143", "forced exit 143"])
    assert seconds < 10


@pytest.mark.skipif(not Path("/proc").exists(), reason="needs /proc")
def test_child_processes_are_killed_on_forced_exit() -> None:
    first = (
        "import multiprocessing; w = multiprocessing.get_context('fork').Process("
        "target=lambda: signals.signal.pause(), daemon=True); w.start(); print(w.pid, flush=True)"
    )
    exit_code, lines, _ = run_script(signal.SIGINT, signal.SIGINT, first=first)
    assert exit_code == 130
    worker = int(lines[0])
    deadline = time.monotonic() + 10
    while alive(worker):
        assert time.monotonic() < deadline
        time.sleep(0.02)


def alive(process: int) -> bool:
    """Whether a process is running; a zombie is not."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.parametrize(("number", "code"), CODES.items())
def test_shielded_block_finishes_before_the_signal_raises(number: int, code: int) -> None:
    done = []
    with SignalHandlers(unexpected) as handlers:
        with pytest.raises(RunInterrupted) as caught:  # noqa: PT012  # tests the statements after the signal
            with signals.shield_from_interrupt():
                send(number)
                done.append("end")
            done.append("after")
        assert handlers.received == number
    assert done == ["end"]
    assert caught.value.exit_code == code


def test_shield_restores_the_previous_callback() -> None:
    received: list[RunInterrupted] = []
    with SignalHandlers(unexpected):
        signals.defer_interrupt(received.append)
        with signals.shield_from_interrupt():
            pass
        send(signal.SIGTERM)
    assert [interruption.exit_code for interruption in received] == [143]


def test_signal_in_a_shielded_block_reaches_the_previous_callback() -> None:
    done: list[str] = []
    received: list[RunInterrupted] = []
    with SignalHandlers(unexpected):
        signals.defer_interrupt(received.append)
        with signals.shield_from_interrupt():
            send(signal.SIGTERM)
            done.append("end")
            assert not received
        done.append("after")  # training continues to the next save
    assert done == ["end", "after"]
    assert [interruption.exit_code for interruption in received] == [143]
