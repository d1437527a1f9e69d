"""A sweep: a directory of jobs that is finished by saying it again."""

import json
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

from filelock import FileLock, Timeout

from dive.config.naming import MANIFEST, job_name
from dive.errors import RunError
from dive.runs import provenance
from dive.runs.atomic_io import atomic_write
from dive.runs.lock import LOCK_FILE
from dive.runs.record import Config, diff_configs, fingerprint, load_config, load_result
from dive.sweeps.job import Job, archive_path, archive_run, overrides_by_key
from dive.sweeps.manifest import read_manifest


@dataclass(frozen=True)
class PlannedJob:
    """What is to be done about a job.

    Attributes:
        job: which.
        action: ``skip`` its result, ``resume`` it, or ``start`` it.
        why: told where it is not plain.
        aside: where an old run in the job's directory goes.
        before: the result of an earlier attempt that is to be resumed.
    """

    job: Job
    action: Literal["skip", "resume", "start"]
    why: str = ""
    aside: Path | None = None
    before: dict[str, Any] | None = None


class Sweep:
    """The directory of a sweep, open to one process at a time.

    ``sweep.json`` holds the keys that vary and the jobs that were asked for; each job's directory says what became
    of it. What must make room goes into ``.earlier``: nothing is deleted.

    Args:
        directory: made where it does not exist.

    Attributes:
        jobs: those that were asked for, by name.

    Raises:
        RunError: (on entering) the sweep is running already, or its directory cannot be written.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._lock = FileLock(directory / LOCK_FILE)
        self.jobs: dict[str, dict[str, Any]] = {}
        self._varied: list[str] = []
        self._known: dict[str, Path] = {}

    def __enter__(self) -> Self:
        try:
            self.directory.mkdir(parents=True, exist_ok=True)
            self._lock.acquire(blocking=False)
        except Timeout:
            raise RunError(
                f"{self.directory}: this sweep is running already; name another with sweep=NAME"
            ) from None
        except OSError as error:
            raise RunError(f"{self.directory}: {error.strerror}") from error
        try:
            record = read_manifest(self.directory)
        except RunError:
            self._lock.release()
            raise
        self.jobs, self._varied = record["jobs"], record["varied"]
        for path in self.directory.glob("*/config.yaml"):
            if (config := load_config(path.parent)) is not None:
                self._known[fingerprint(config)] = path.parent
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._lock.release()

    def plan(self, jobs: Sequence[tuple[int, Sequence[str], Config]], varied: Collection[str]) -> list[PlannedJob]:
        """Give each job its directory, and find out what is to be done about it; nothing is changed yet.

        Args:
            jobs: number, words typed and resolved configuration of each.
            varied: keys that vary in this sweep.
        """
        code = provenance.code_version()
        keys = [fingerprint(config) for _, _, config in jobs]
        taken = {self._known[key] for key in keys if key in self._known}
        steps: dict[str, PlannedJob] = {}
        for key, (number, words, config) in zip(keys, jobs, strict=True):
            if key in steps:
                continue
            directory = self._known.get(key)
            if directory is None:
                directory = self.directory / job_name(overrides_by_key(words), varied)
                if directory in taken:  # by a job that had another name for the same configuration
                    directory = directory.with_name(f"{directory.name}~{sha256(key.encode()).hexdigest()[:8]}")
                taken.add(directory)
            job = Job(number, tuple(words), config, directory)
            steps[key] = self._go_on(job, code) if key in self._known else self._start(job)
        return [steps[key] for key in keys]

    def start(self, steps: Iterable[PlannedJob], varied: Collection[str]) -> None:
        """Record the jobs as asked for, and make room for those that start anew.

        Args:
            steps: from `plan`.
            varied: the keys given there.
        """
        for step in steps:
            self.jobs[step.job.name] = {"number": step.job.number, "overrides": step.job.overrides}
            self._known = {key: path for key, path in self._known.items() if path != step.job.directory}
            self._known[fingerprint(step.job.config)] = step.job.directory
            if step.aside is not None and step.job.directory.exists():
                archive_run(step.job.directory)
        self._varied = list(dict.fromkeys([*self._varied, *varied]))
        atomic_write(
            self.directory / MANIFEST, json.dumps({"varied": self._varied, "jobs": self.jobs}, indent=1) + "\n"
        )

    def _start(self, job: Job) -> PlannedJob:
        if not job.directory.exists():
            return PlannedJob(job, "start")
        aside, why = archive_path(job.directory), ""
        if (old := load_config(job.directory)) is not None:
            changed = "; ".join(diff_configs(old, job.config)[:3])
            why = f"its configuration changed ({changed}): trained again, the old run is in {aside}"
        return PlannedJob(job, "start", why, aside)

    def _go_on(self, job: Job, code: str) -> PlannedJob:
        result, trained = load_result(job.directory), provenance.recorded_code_version(job.directory)
        status = result["status"]
        changed = trained not in ("", code)
        told = f"the code changed from {provenance.describe_code(trained)} to {provenance.describe_code(code)}"
        if status == "finished":
            return PlannedJob(job, "skip", f"{told}: result kept" if changed else "")
        if status != "failed" and (job.directory / "checkpoints" / "last.ckpt").is_file():
            return PlannedJob(job, "resume", f"{told}: resumed all the same" if changed else "", before=result)
        aside = archive_path(job.directory)
        was = "cut off before its first checkpoint" if status == "running" else f"{status} before"
        return PlannedJob(job, "start", f"{was}, tried again; the old run is in {aside.parent}", aside)
