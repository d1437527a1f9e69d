"""A sweep while it runs: jobs are checked, started, watched, and told of."""

import json
from collections.abc import Callable, Collection, Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

from rich.console import Console

from dive.files import put
from dive.recorded import Config, recorded_result
from dive.sweeps import preflight, processes
from dive.sweeps.hardware import Share
from dive.sweeps.processes import Task
from dive.sweeps.progress import Progress
from dive.sweeps.sweep import Step, Sweep

UNENDED = ("missing", "running")


class Session:
    """A sweep while it runs: its directory is locked, its progress shown.

    Args:
        directory: of the sweep.
        optimize: the metric by which jobs are scored.

    Attributes:
        begun: whether there is something to report.
        asked: names of the jobs that this command is about.
    """

    def __init__(self, directory: Path, optimize: str) -> None:
        self.console = Console(highlight=False, soft_wrap=True, markup=False)
        self.begun = self.searched = False
        self.asked: set[str] = set()
        self._resources = ExitStack()
        self.sweep = self._resources.enter_context(Sweep(directory))
        self.progress = self._resources.enter_context(Progress(0, optimize, self.console))

    def search(self, total: int) -> None:
        """Jobs will come one after the other, until there are so many in all."""
        self.searched = True
        self.begun = bool(self.sweep.jobs)
        self.asked |= self.sweep.jobs.keys()
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
        self.asked |= {step.job.name for step in distinct}
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

    def ended(self, step: Step, error: str | None = None) -> None:
        """Note that a job has ended; what left no result of its own is recorded as killed or failed, and why."""
        directory = step.job.directory
        result = recorded_result(directory)
        if result["status"] in UNENDED or (error is not None and result == step.before):
            error = error or "it left no result"
            result = {"status": "killed" if error.startswith("killed") else "failed", "error": error}
            directory.mkdir(parents=True, exist_ok=True)
            put(directory / "result.json", json.dumps(result, indent=2) + "\n")
        self.progress.ended(step.job.name, result)

    def close(self) -> None:
        """Stop telling, and let others have the directory."""
        self._resources.close()
