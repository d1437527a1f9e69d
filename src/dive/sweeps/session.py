"""A sweep while it runs: jobs are checked, started, watched, and told of."""

import json
from collections.abc import Callable, Collection, Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

from rich.console import Console

from dive.runs.atomic_io import atomic_write
from dive.runs.record import Config, load_result
from dive.sweeps import preflight
from dive.sweeps.launchers import process_pool
from dive.sweeps.launchers.process_pool import ProcessJob
from dive.sweeps.launchers.resources import ResourceShare
from dive.sweeps.progress import SweepProgress
from dive.sweeps.sweep import PlannedJob, Sweep

UNFINISHED = ("missing", "running")


class SweepSession:
    """A sweep while it runs: its directory is locked, its progress shown.

    Args:
        directory: of the sweep.
        monitor: the metric by which jobs are scored.
        mode: of that metric: ``"min"``, ``"max"`` or ``"auto"``.

    Attributes:
        started: whether there is something to report.
        requested: names of the jobs that this command is about.
    """

    def __init__(self, directory: Path, monitor: str, mode: str) -> None:
        self.console = Console(highlight=False, soft_wrap=True, markup=False)
        self.started = self.searched = False
        self.requested: set[str] = set()
        self._resources = ExitStack()
        self.sweep = self._resources.enter_context(Sweep(directory))
        self.progress = self._resources.enter_context(SweepProgress(0, monitor, mode, self.console))

    def start_search(self, total: int) -> None:
        """Jobs will come one after the other, until there are so many in all."""
        self.searched = True
        self.started = bool(self.sweep.jobs)
        self.requested |= self.sweep.jobs.keys()
        self.progress.total = total
        for name in self.sweep.jobs:
            result = load_result(self.sweep.directory / name)
            if result["status"] in ("finished", "failed"):  # others go on
                self.progress.mark_skipped(name, result)
        known = self.progress.done + self.progress.failed
        self.console.print(f"{self.sweep.directory}: a search of {total} jobs, {known} of them known")

    def plan_jobs(
        self, jobs: Sequence[tuple[int, Sequence[str], Config]], varied: Collection[str], where: str
    ) -> list[PlannedJob]:
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
        preflight.validate_jobs([(step.job.name, step.job.config) for step in distinct if step.action != "skip"])
        self.sweep.start(distinct, varied)
        self.requested |= {step.job.name for step in distinct}
        self.started = True
        if self.searched:
            return steps
        self.progress.total += len(distinct)
        for step in distinct:
            if step.action == "skip":
                self.progress.mark_skipped(step.job.name, load_result(step.job.directory))
        self._tell(distinct, where)
        return steps

    def _tell(self, steps: Sequence[PlannedJob], where: str) -> None:
        told = {"skip": "finished before", "resume": "to resume", "start": "to train"}
        counts = {words: sum(step.action == action for step in steps) for action, words in told.items()}
        what = ", ".join(f"{count} {words}" for words, count in counts.items() if count)
        self.console.print(f"{self.sweep.directory}: {len(steps)} jobs ({what}), {where}")
        for why in dict.fromkeys(step.why for step in steps if step.why):
            self.console.print(
                f"  {preflight.group_names([step.job.name for step in steps if step.why == why])}: {why}"
            )

    def run(self, steps: Sequence[PlannedJob], calls: Sequence[Callable[[], Any]], machine: ResourceShare) -> None:
        """Run jobs in processes of their own.

        Args:
            steps: the jobs to run.
            calls: what runs each.
            machine: how many at a time, with what.
        """
        tasks = [
            ProcessJob(call, step.job.directory / "train.log") for call, step in zip(calls, steps, strict=True)
        ]
        running = process_pool.run_jobs(
            tasks,
            machine.workers,
            machine.threads,
            machine.gpus,
            started=lambda i: self.progress.mark_started(steps[i].job.name),
        )
        with closing(running):
            for i, ended in running:
                self.on_job_end(steps[i], ended.error)

    def on_job_end(self, step: PlannedJob, error: str | None = None) -> None:
        """Note that a job has ended; what left no result of its own is recorded as killed or failed, and why."""
        directory = step.job.directory
        result = load_result(directory)
        if result["status"] in UNFINISHED or (error is not None and result == step.before):
            error = error or "it left no result"
            result = {"status": "killed" if error.startswith("killed") else "failed", "error": error}
            directory.mkdir(parents=True, exist_ok=True)
            atomic_write(directory / "result.json", json.dumps(result, indent=2) + "\n")
        self.progress.mark_finished(step.job.name, result)

    def close(self) -> None:
        """Stop telling, and let others have the directory."""
        self._resources.close()
