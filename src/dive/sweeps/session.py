"""A sweep while it runs: jobs are checked, started, watched, and told of."""

import json
import threading
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console

from dive.files import put
from dive.sweeps import preflight, processes
from dive.sweeps.hardware import Share
from dive.sweeps.jobs import Config, recorded_result
from dive.sweeps.processes import Task
from dive.sweeps.progress import Progress
from dive.sweeps.sweep import Step, Sweep

UNENDED = ("missing", "running")
LOOK_S = 0.5  # between two looks at what another launcher's jobs have written


class Session:
    """A sweep while it runs: its directory is locked, its progress shown.

    Args:
        directory: of the sweep.
        optimize: the metric by which jobs are scored.
    """

    def __init__(self, directory: Path, optimize: str) -> None:
        self.console = Console(highlight=False, soft_wrap=True, markup=False)
        self.begun = self.searched = False
        self._resources = ExitStack()
        self.sweep = self._resources.enter_context(Sweep(directory))
        self.progress = self._resources.enter_context(Progress(0, optimize, self.console))

    def search(self, total: int) -> None:
        """Jobs will come one after the other, until there are so many in all."""
        self.searched = True
        self.begun = bool(self.sweep.jobs)
        self.progress.total = total
        for name in self.sweep.jobs:
            result = recorded_result(self.sweep.directory / name)
            if result["status"] in ("finished", "failed"):  # others go on
                self.progress.kept(name, result)
        known = self.progress.done + self.progress.failed
        self.console.print(f"{self.sweep.directory}: a search of {total} jobs, {known} of them known")

    def prepare(
        self, jobs: Sequence[tuple[int, Sequence[str], Config]], varied: Collection[str], where: str
    ) -> list[Step]:
        """Decide what is to be done about each job, check those to be run, and tell.

        Args:
            jobs: number, words typed and resolved configuration of each.
            varied: keys that vary in this sweep.
            where: what is to run the jobs, in words.

        Raises:
            ConfigError: some cannot be run; nothing has been changed.
        """
        steps = self.sweep.plan(jobs, varied)
        distinct = list({step.job.name: step for step in steps}.values())
        preflight.check([(step.job.name, step.job.config) for step in distinct if step.action != "keep"])
        self.sweep.begin(distinct, varied)
        self.begun = True
        if self.searched:
            return steps
        self.progress.total += len(distinct)
        for step in distinct:
            if step.action == "keep":
                self.progress.kept(step.job.name, recorded_result(step.job.directory))
        self._tell(distinct, where)
        return steps

    def _tell(self, steps: Sequence[Step], where: str) -> None:
        told = {"keep": "finished before", "resume": "to resume", "start": "to train"}
        counts = {words: sum(step.action == action for step in steps) for action, words in told.items()}
        what = ", ".join(f"{count} {words}" for words, count in counts.items() if count)
        self.console.print(f"{self.sweep.directory}: {len(steps)} jobs ({what}), {where}")
        for why in dict.fromkeys(step.why for step in steps if step.why):
            self.console.print(
                f"  {preflight.first_of([step.job.name for step in steps if step.why == why])}: {why}"
            )

    def run(self, steps: Sequence[Step], calls: Sequence[Callable[[], Any]], machine: Share) -> None:
        """Run jobs in processes of their own.

        Args:
            steps: the jobs to run.
            calls: what runs each.
            machine: how many at a time, with what.
        """
        tasks = [Task(call, step.job.directory / "train.log") for call, step in zip(calls, steps, strict=True)]
        running = processes.run(
            tasks,
            machine.workers,
            machine.threads,
            machine.gpus,
            started=lambda i: self.progress.started(steps[i].job.name),
        )
        with closing(running):
            for i, ended in running:
                self.ended(steps[i], ended.error)

    def watch(self, steps: Sequence[Step], launch: Callable[[Sequence[int]], object]) -> None:
        """Let another launcher run jobs, and tell of them as their directories change.

        A launcher may lose all that it runs with one job that is killed: those not yet begun are launched again.

        Args:
            steps: the jobs to run.
            launch: runs those of these indices, and returns when none is running any more.
        """
        before = [recorded_result(step.job.directory) for step in steps]
        left = set(range(len(steps)))

        def look() -> None:
            for i in sorted(left):
                result = recorded_result(steps[i].job.directory)
                if result["status"] == "running":
                    self.progress.started(steps[i].job.name)
                elif result["status"] not in UNENDED and result != before[i]:
                    left.discard(i)
                    self.ended(steps[i])

        while left:
            todo, error = sorted(left), "killed, or lost by its launcher"
            with _again_and_again(look):
                try:
                    launch(todo)
                except Exception as failure:
                    error = f"killed, or lost by its launcher ({type(failure).__name__}: {failure})"
            look()
            begun = [i for i in sorted(left) if recorded_result(steps[i].job.directory)["status"] == "running"]
            for i in begun or (sorted(left) if left == set(todo) else []):
                left.discard(i)
                self.ended(steps[i], error)

    def ended(self, step: Step, error: str | None = None) -> None:
        """Note that a job has ended; what left no result of its own is recorded as killed or failed, and why."""
        directory = step.job.directory
        result = recorded_result(directory)
        if result["status"] in UNENDED:
            error = error or "it left no result"
            result = {"status": "killed" if error.startswith("killed") else "failed", "error": error}
            directory.mkdir(parents=True, exist_ok=True)
            put(directory / "result.json", json.dumps(result, indent=2) + "\n")
        self.progress.ended(step.job.name, result)

    def close(self) -> None:
        """Stop telling, and let others have the directory."""
        self._resources.close()


@contextmanager
def _again_and_again(look: Callable[[], None]) -> Iterator[None]:
    stop = threading.Event()

    def repeat() -> None:
        while not stop.wait(LOOK_S):
            look()

    thread = threading.Thread(target=repeat, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
