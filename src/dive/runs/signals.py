"""SIGTERM and Ctrl-C: the run saves a checkpoint, records the interruption and exits within a bounded time."""

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, Self

# Time to finish a step and save; shorter than the grace period of `dive.sweeps.launchers.process_pool`.
GRACE_PERIOD_S = 8.0

SIGNALS = (signal.SIGTERM, signal.SIGINT)

# SLURM's warning before the time limit. With a handler (`dive.sweeps.launchers.preemption`), it counts as SIGTERM.
SLURM_WARNING_SIGNAL = signal.SIGUSR1


class RunInterrupted(BaseException):
    """A signal requested that the run end.

    Attributes:
        exit_code: 128 + the signal's number, as shells report it.
    """

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.exit_code = 128 + (signal.SIGTERM if number == SLURM_WARNING_SIGNAL else number)


_on_interrupt: Callable[[RunInterrupted], None] | None = None


def defer_interrupt(callback: Callable[[RunInterrupted], None] | None) -> None:
    """Have signals call `callback` with the exception to raise once the current step is finished and saved.

    Without a callback, when there is nothing to save, signals raise `RunInterrupted` immediately.
    """
    global _on_interrupt
    _on_interrupt = callback


@contextmanager
def shield_from_interrupt() -> Iterator[None]:
    """Hold back signals until the end of a block, then handle them as they would have been handled before it."""
    pending: list[RunInterrupted] = []
    previous = _on_interrupt
    defer_interrupt(pending.append)
    try:
        yield
    finally:
        defer_interrupt(previous)
    for interruption in pending:
        if previous is None:
            raise interruption
        previous(interruption)


class SignalHandlers:
    """Context manager that handles `SIGNALS`; outside the main thread, it does nothing.

    Args:
        on_forced_exit: called with the exit code before the process exits without unwinding the stack: when
            `GRACE_PERIOD_S` have passed, or after a second Ctrl-C.

    Attributes:
        received: the first signal received, if any.
    """

    def __init__(self, on_forced_exit: Callable[[int], None]) -> None:
        self.received: int | None = None
        self._on_forced_exit = on_forced_exit
        self._previous: dict[int, Any] = {}
        self._deadline: threading.Timer | None = None
        self._pid = os.getpid()

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            has_slurm_handler = callable(signal.getsignal(SLURM_WARNING_SIGNAL))
            handled = (*SIGNALS, SLURM_WARNING_SIGNAL) if has_slurm_handler else SIGNALS
            self._previous = {number: signal.signal(number, self._receive) for number in handled}
        return self

    def __exit__(self, *exception: object) -> None:
        defer_interrupt(None)
        if self._deadline is not None:
            self._deadline.cancel()
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _receive(self, number: int, frame: FrameType | None) -> None:
        if os.getpid() != self._pid:  # in a forked child, which is not the run itself
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
            return
        if self.received is not None:
            if number == signal.SIGINT:
                self._force_exit(number)
            return  # clusters send SIGTERM repeatedly
        self.received = number
        self._deadline = threading.Timer(GRACE_PERIOD_S, self._force_exit, (number,))
        self._deadline.daemon = True
        self._deadline.start()
        if _on_interrupt is None:
            raise RunInterrupted(number)
        _on_interrupt(RunInterrupted(number))

    def _force_exit(self, number: int) -> None:
        exit_code = RunInterrupted(number).exit_code
        try:
            self._on_forced_exit(exit_code)
        finally:
            for child in multiprocessing.active_children():
                child.kill()
            os._exit(exit_code)
