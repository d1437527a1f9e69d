"""A sweep: a directory of jobs; rerunning the same command resumes it."""

import json
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field, replace
from hashlib import sha256
from pathlib import Path
from typing import Any, Literal, Self

from filelock import FileLock, Timeout

from dive.config.naming import MANIFEST, is_job_name, job_name
from dive.errors import CorruptRecordError, RunError
from dive.runs import provenance
from dive.runs.atomic_io import atomic_write
from dive.runs.lock import LOCK_FILE
from dive.runs.plain_files import require_plain_files, require_plain_run
from dive.runs.record import Config, diff_configs, fingerprint, load_config, load_result, read_config
from dive.sweeps.job import archive_path, archive_run, overrides_by_key
from dive.sweeps.manifest import read_manifest


@dataclass(frozen=True)
class PlannedJob:
    """One job of a sweep and what will be done with it.

    Attributes:
        number: index in the sweep, from 0.
        overrides: Hydra overrides of this job, as typed.
        config: resolved configuration.
        directory: run directory.
        action: ``skip`` (it has finished), ``resume`` its last checkpoint, or ``start`` from scratch.
        reason: printed to the user where the action is not obvious.
        archive_to: where an old run in the job's directory will be moved.
        previous_result: result of the attempt that is resumed.
    """

    number: int
    overrides: tuple[str, ...]
    config: Config = field(repr=False)
    directory: Path
    action: Literal["skip", "resume", "start"] = "start"
    reason: str = ""
    archive_to: Path | None = None
    previous_result: dict[str, Any] | None = None

    @property
    def name(self) -> str:
        """The name of the run directory."""
        return self.directory.name


class Sweep:
    """The directory of a sweep, locked by one process at a time.

    ``sweep.json`` holds the keys that vary and the requested jobs; each run directory holds the state of its job.
    Runs that are replaced are moved to ``.earlier``: nothing is deleted.

    Args:
        directory: created if it does not exist.

    Attributes:
        jobs: number and overrides of the requested jobs, by name.

    Raises:
        RunError: (on entering) the sweep is already running, or the directory cannot be written.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._lock = FileLock(directory / LOCK_FILE)
        self.jobs: dict[str, dict[str, Any]] = {}
        self._varied: list[str] = []
        self._directories: dict[str, Path] = {}  # by fingerprint of the configuration

    def __enter__(self) -> Self:
        try:
            self.directory.mkdir(parents=True, exist_ok=True)
            require_plain_files(sorted(self.directory.iterdir()), self.directory)
            self._lock.acquire(blocking=False)
        except Timeout:
            raise RunError(
                f"{self.directory}: this sweep is already running; choose another name with sweep=NAME"
            ) from None
        except OSError as error:
            raise RunError(f"{self.directory}: {error.strerror}") from error
        try:
            manifest = read_manifest(self.directory)
        except RunError:
            self._lock.release()
            raise
        self.jobs, self._varied = manifest["jobs"], manifest["varied"]
        for path in self.directory.glob("*/config.yaml"):
            if is_job_name(path.parent.name) and (config := load_config(path.parent)) is not None:
                self._directories[fingerprint(config)] = path.parent
        return self

    def __exit__(self, *_: object) -> None:
        self._lock.release()

    def plan(self, jobs: Sequence[tuple[int, Sequence[str], Config]], varied: Collection[str]) -> list[PlannedJob]:
        """Assign a directory and an action to each job; nothing is changed on disk.

        `jobs` holds the number, overrides and resolved configuration of each; those with the same configuration
        share one `PlannedJob`.
        """
        code = provenance.code_version()
        keys = [fingerprint(config) for _, _, config in jobs]
        taken = {self._directories[key] for key in keys if key in self._directories}
        planned: dict[str, PlannedJob] = {}
        for key, (number, overrides, config) in zip(keys, jobs, strict=True):
            if key in planned:
                continue
            if (directory := self._directories.get(key)) is not None:
                planned[key] = self._plan_existing(PlannedJob(number, tuple(overrides), config, directory), code)
                continue
            directory = self.directory / job_name(overrides_by_key(overrides), varied)
            if directory in taken:  # a job with another configuration has this name
                directory = directory.with_name(f"{directory.name}~{sha256(key.encode()).hexdigest()[:8]}")
            taken.add(directory)
            planned[key] = self._plan_new(PlannedJob(number, tuple(overrides), config, directory))
        return [planned[key] for key in keys]

    def start(self, planned: Iterable[PlannedJob], varied: Collection[str]) -> None:
        """Add jobs from `plan` to the manifest, and archive the old runs that they replace."""
        for job in planned:
            self.jobs[job.name] = {"number": job.number, "overrides": job.overrides}
            self._directories = {key: path for key, path in self._directories.items() if path != job.directory}
            self._directories[fingerprint(job.config)] = job.directory
            if job.archive_to is not None and job.directory.exists():
                archive_run(job.directory)
        self._varied = list(dict.fromkeys([*self._varied, *varied]))
        manifest = {"varied": self._varied, "jobs": self.jobs}
        atomic_write(self.directory / MANIFEST, json.dumps(manifest, indent=1) + "\n")

    def _plan_new(self, job: PlannedJob) -> PlannedJob:
        if not job.directory.exists():
            return job
        target = archive_path(job.directory)
        try:
            changed = diff_configs(read_config(job.directory), job.config)
            changes = f"the configuration changed ({'; '.join(changed[:3])})"
        except FileNotFoundError:
            return replace(job, archive_to=target)
        except CorruptRecordError as error:
            changes = str(error)
        reason = f"{changes}: starting over, the old run was moved to {target}"
        return replace(job, reason=reason, archive_to=target)

    def _plan_existing(self, job: PlannedJob, code: str) -> PlannedJob:
        result, run_code = load_result(job.directory), provenance.recorded_code_version(job.directory)
        status = result["status"]
        changed = run_code not in ("", code)
        change = f"the code changed from {provenance.describe_code(run_code)} to {provenance.describe_code(code)}"
        if status == "finished":
            return replace(job, action="skip", reason=f"{change}: keeping the result" if changed else "")
        if status not in ("failed", "damaged") and (job.directory / "checkpoints" / "last.ckpt").is_file():
            try:
                require_plain_run(job.directory)
            except RunError as error:
                result, status = {"error": str(error)}, "damaged"
            else:
                reason = f"{change}: resuming anyway" if changed else ""
                return replace(job, action="resume", reason=reason, previous_result=result)
        target = archive_path(job.directory)
        outcome = {"running": "stopped before its first checkpoint", "damaged": result.get("error")}.get(
            status, f"{status} earlier"
        )
        reason = f"{outcome}: starting over, the old run was moved to {target.parent}"
        return replace(job, reason=reason, archive_to=target)
