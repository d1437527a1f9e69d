"""SIGTERM and Ctrl-C: a run saves where it stands, says that it was interrupted, and leaves in bounded time."""

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import Any, Self

GRACE_PERIOD_S = (
    8.0  # to come to the end of a step and save; less than `dive.sweeps.launchers.process_pool` waits for a job
)

SIGNALS = (signal.SIGTERM, signal.SIGINT)

# SLURM's warning that time is up, where somebody listens for it (`dive.sweeps.launchers.preemption`), is the same as SIGTERM.
SLURM_WARNING_SIGNAL = signal.SIGUSR1


class RunInterrupted(BaseException):
    """A signal asked to leave.

    Attributes:
        exit_code: what a shell expects of a program that was ended by the signal.
    """

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.exit_code = 128 + (signal.SIGTERM if number == SLURM_WARNING_SIGNAL else number)


_at_next_step: Callable[[RunInterrupted], None] | None = None


def defer_interrupt(ask: Callable[[RunInterrupted], None] | None) -> None:
    """Have training asked to save and leave, when a signal comes; else a signal raises `RunInterrupted` at once.

    Args:
        ask: is given what to raise, once a step is through and saved; None when there is nothing to save any more.
    """
    global _at_next_step
    _at_next_step = ask


@contextmanager
def shield_from_interrupt() -> Iterator[None]:
    """Let a block that must not be cut in two come to its end before a signal is heeded, as it would have been."""
    held: list[RunInterrupted] = []
    before = _at_next_step
    defer_interrupt(held.append)
    try:
        yield
    finally:
        defer_interrupt(before)
    for interruption in held:
        if before is None:
            raise interruption
        before(interruption)


class SignalHandlers:
    """Heeds `SIGNALS` while it is entered; elsewhere than in the main thread, it does nothing.

    Args:
        last_words: said with the exit code before the process is gone without unwinding: when `GRACE_PERIOD_S` are over,
            or after a second Ctrl-C.

    Attributes:
        received: the signal that came, if one did.
    """

    def __init__(self, last_words: Callable[[int], None]) -> None:
        self.received: int | None = None
        self._last_words = last_words
        self._before: dict[int, Any] = {}
        self._deadline: threading.Timer | None = None
        self._pid = os.getpid()

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            heard = [
                *SIGNALS,
                *([SLURM_WARNING_SIGNAL] if callable(signal.getsignal(SLURM_WARNING_SIGNAL)) else []),
            ]
            self._before = {number: signal.signal(number, self._receive) for number in heard}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        defer_interrupt(None)
        if self._deadline is not None:
            self._deadline.cancel()
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _receive(self, number: int, frame: FrameType | None) -> None:
        if os.getpid() != self._pid:  # forked within, and not the run itself
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
            return
        if self.received is not None:
            if number == signal.SIGINT:
                self._leave(number)
            return  # clusters say SIGTERM several times
        self.received = number
        self._deadline = threading.Timer(GRACE_PERIOD_S, self._leave, (number,))
        self._deadline.daemon = True
        self._deadline.start()
        if _at_next_step is None:
            raise RunInterrupted(number)
        _at_next_step(RunInterrupted(number))

    def _leave(self, number: int) -> None:
        try:
            self._last_words(RunInterrupted(number).exit_code)
        finally:
            for child in multiprocessing.active_children():
                child.kill()
            os._exit(RunInterrupted(number).exit_code)
