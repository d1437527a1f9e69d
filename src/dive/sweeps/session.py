"""A sweep session: validate, start and track the jobs of one command."""

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

UNFINISHED = ("not started", "running")


class SweepSession:
    """A sweep that is being run: holds the lock of its directory and displays progress.

    Attributes:
        started: whether there is anything to report.
        requested: names of the jobs that this command asks for.
    """

    def __init__(self, directory: Path, monitor: str, mode: str) -> None:
        self.console = Console(highlight=False, soft_wrap=True, markup=False)
        self.started = self.searching = False
        self.requested: set[str] = set()
        self._resources = ExitStack()
        self.sweep = self._resources.enter_context(Sweep(directory))
        self.progress = self._resources.enter_context(SweepProgress(0, monitor, mode, self.console))

    def start_search(self, total: int) -> None:
        """Prepare for a search, which plans jobs in batches until there are `total`, including earlier ones."""
        self.searching = True
        self.started = bool(self.sweep.jobs)
        self.requested |= self.sweep.jobs.keys()
        self.progress.total = total
        for name in self.sweep.jobs:
            result = load_result(self.sweep.directory / name)
            if result["status"] in ("finished", "failed"):  # the others are resumed
                self.progress.count(name, result)
        evaluated = self.progress.done + self.progress.failed
        self.console.print(f"{self.sweep.directory}: search of {total} trials, {evaluated} already evaluated")

    def plan_jobs(
        self, jobs: Sequence[tuple[int, Sequence[str], Config]], varied: Collection[str], where: str
    ) -> list[PlannedJob]:
        """Decide which jobs to skip, resume or start, validate those that will run, and print the plan.

        `jobs` holds the number, overrides and resolved configuration of each job; `where` says what runs them.

        Raises:
            ConfigError: some jobs are invalid; nothing has been changed.
        """
        planned = self.sweep.plan(jobs, varied)
        distinct = list({plan.name: plan for plan in planned}.values())
        preflight.validate_jobs([(plan.name, plan.config) for plan in distinct if plan.action != "skip"])
        self.sweep.start(distinct, varied)
        self.requested |= {plan.name for plan in distinct}
        self.started = True
        if not self.searching:
            self.progress.total += len(distinct)
            for plan in distinct:
                if plan.action == "skip":
                    self.progress.count(plan.name, load_result(plan.directory))
            self._print_plan(distinct, where)
        return planned

    def _print_plan(self, planned: Sequence[PlannedJob], where: str) -> None:
        labels = {"skip": "already finished", "resume": "to resume", "start": "to start"}
        counts = {label: sum(plan.action == action for plan in planned) for action, label in labels.items()}
        summary = ", ".join(f"{count} {label}" for label, count in counts.items() if count)
        self.console.print(f"{self.sweep.directory}: {len(planned)} jobs ({summary}), {where}")
        for reason in dict.fromkeys(plan.reason for plan in planned if plan.reason):
            names = [plan.name for plan in planned if plan.reason == reason]
            self.console.print(f"  {preflight.group_names(names)}: {reason}")

    def run(self, planned: Sequence[PlannedJob], calls: Sequence[Callable[[], Any]], share: ResourceShare) -> None:
        """Run each job in its own process, by the call at the same position in `calls`."""
        jobs = [ProcessJob(call, plan.directory / "train.log") for call, plan in zip(calls, planned, strict=True)]
        results = process_pool.run_jobs(
            jobs,
            share.workers,
            share.threads,
            share.gpus,
            on_start=lambda i: self.progress.mark_started(planned[i].name),
        )
        with closing(results):
            for i, result in results:
                self.on_job_end(planned[i], result.error)

    def on_job_end(self, plan: PlannedJob, error: str | None = None) -> None:
        """Update progress; write a result with status killed or failed for a job that wrote none itself."""
        directory = plan.directory
        result = load_result(directory)
        if result["status"] in UNFINISHED or (error is not None and result == plan.previous_result):
            error = error or "the job wrote no result"
            result = {"status": "killed" if error.startswith("killed") else "failed", "error": error}
            directory.mkdir(parents=True, exist_ok=True)
            atomic_write(directory / "result.json", json.dumps(result, indent=2) + "\n")
        self.progress.mark_finished(plan.name, result)

    def close(self) -> None:
        """Stop the progress display and release the lock."""
        self._resources.close()
