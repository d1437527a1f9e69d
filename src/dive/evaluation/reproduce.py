"""Repeat a recorded run in a new directory and compare the results bit for bit."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import torch
from rich.console import Console

from dive.config.groups import CONFIG_DIR
from dive.errors import CorruptRecordError, RunError, printable
from dive.evaluation.equality import diff_results, strip_timings
from dive.evaluation.git_worktree import git_worktree, untracked_files
from dive.evaluation.rebuild import (
    recorded_threads,
    relocate_data,
    use_recorded_threads,
    validated_config,
    was_edited,
    without_external_loggers,
)
from dive.evaluation.run_context import diff_run_context
from dive.runs import provenance
from dive.runs.plain_yaml import config_folder
from dive.runs.record import (
    Config,
    diff_configs,
    load_config,
    load_environment,
    load_result,
    load_result_or_partial,
)
from dive.runs.record_schema import read_text
from dive.runs.run import Run
from dive.training.fit import fit_and_test

CONSOLE = Console(highlight=False, soft_wrap=True, markup=False)
MAX_LINES = 20  # maximum number of differences that are printed


def reproduce(directory: Path, into: Path, at_revision: bool = False, data_at: Path | None = None) -> bool:
    """Repeat a run from its recorded configuration, and print whether the results are identical or what differs.

    Args:
        directory: the run directory.
        into: directory of the new run; it must be empty or not exist.
        at_revision: use the recorded code, in a separate process.
        data_at: folder or file from which to read the data; None is the recorded location.

    Returns:
        Whether weights and metrics are identical bit for bit; timings are ignored.

    Raises:
        RunError: the run has not finished, or the recorded code is unavailable.
        UserError: the run cannot be repeated.
    """
    config = finished_config(directory)
    if into.exists() and (not into.is_dir() or any(into.iterdir())):
        raise RunError(f"{into}: already exists; choose another directory with --into")
    edits = was_edited(directory, load_config(directory) or {})
    _print_record(directory, config, at_revision)
    new_config = relocate_data(config, data_at) | {"resume": None}
    if at_revision:
        with _recorded_code(directory) as code:
            _run_in_subprocess(new_config, directory, into, code)
    elif str(config["trainer"].get("devices", 1)) not in ("1", "auto"):
        # Lightning starts further processes by repeating the command line.
        _run_in_subprocess(new_config, directory, into, CONFIG_DIR.parent)
    else:
        with use_recorded_threads(directory), Run(into, new_config) as run:
            fit_and_test(new_config, run)
    return _print_comparison(directory, into, edits)


def finished_config(directory: Path) -> Config:
    """The validated configuration of a finished run.

    Raises:
        RunError: the directory is not a run, or the run has not finished.
        ConfigError: the configuration is invalid.
    """
    config, result = validated_config(directory), load_result_or_partial(directory)
    if (status := result["status"]) != "finished":
        resume = f"; resume it first: python train.py resume={directory}"
        reason = f": {result.get('error')}"
        hint = {"failed": reason, "damaged": reason, "running": ""}.get(status, resume)
        raise RunError(f"{directory}: has no result to compare: its status is {status}{hint}")
    return config


def _print_record(directory: Path, config: Config, at_revision: bool) -> None:
    first, *resumed = _commands(directory) or ["no command"]
    CONSOLE.print("\n".join([f"recorded: {first}", *(f"resumed: {command}" for command in resumed)]))
    for name in ((load_config(directory) or {}).get("logger") or {}).keys() - (config.get("logger") or {}).keys():
        CONSOLE.print(f"logger.{name}: skipped, since it logs to an external service")
    recorded, current = provenance.recorded_code_version(directory), provenance.code_version()
    if recorded and recorded != current and not at_revision:
        old, new = provenance.describe_code(recorded), provenance.describe_code(current) or "unknown"
        CONSOLE.print(
            f"code: recorded {old}, now {new if new != old else 'with other changes'}; "
            "use --at-revision to run the recorded code"
        )


def _commands(directory: Path) -> list[str]:
    with suppress(FileNotFoundError, CorruptRecordError):
        return [
            printable(line) for line in read_text(directory / "command.txt", errors="replace").split("\n")[:-1]
        ]
    return []


@contextmanager
def _recorded_code(directory: Path) -> Iterator[Path]:
    revision = str(load_environment(directory).get("git_revision"))
    # git would take other texts, such as `--output=FILE`, as its options.
    if not re.fullmatch("[0-9a-f]{7,64}", revision):
        raise RunError(f"--at-revision: {directory / 'environment.json'} records no git revision")
    diff = (directory / "code.diff").read_bytes() if (directory / "code.diff").is_file() else b""
    if names := untracked_files(diff):
        CONSOLE.print(f"not available (untracked files are not recorded): {', '.join(names)}")
    with git_worktree(revision, diff) as code:
        yield code


def _run_in_subprocess(config: Config, directory: Path, into: Path, code: Path) -> None:
    threads = recorded_threads(directory)
    paths = [str(code / "src"), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(paths)}
    if threads not in (None, torch.get_num_threads()):
        environment["OMP_NUM_THREADS"] = str(threads)  # Lightning sets its own default if this is missing
    quoted = str(into).replace("'", "\\'")
    with config_folder(config) as folder:
        command = [
            *(sys.executable, str(code / "train.py"), f"--config-path={folder}", "--config-name=config"),
            *(f"hydra.run.dir='{quoted}'", "hydra.output_subdir=null", "hydra/job_logging=none"),
        ]
        status = subprocess.run(command, env=environment, check=False).returncode
    if status != 0:
        raise RunError(f"{into}: the run exited with status {status}")


def _print_comparison(directory: Path, into: Path, edits: list[str]) -> bool:
    differences = diff_results(directory, into)
    old, new = without_external_loggers(load_config(directory) or {}), load_config(into) or {}
    causes = [f"config.yaml was edited: {line}" for line in edits]
    causes += [f"configuration: {line}" for line in diff_configs(old, new)]
    causes += diff_run_context(directory, into)
    CONSOLE.print(f"reproduction: {into}")
    if not differences:
        checkpoints = sorted(path.name for path in (into / "checkpoints").glob("*.ckpt"))
        num_metrics = len(strip_timings(load_result(into)))
        CONSOLE.print(f"identical: {num_metrics} metrics, weights of {' and '.join(checkpoints) or 'none'}")
        _print_lines("differences that did not change the results:", causes)
        return True
    causes += [f"resumed, possibly with other settings: {command}" for command in _commands(directory)[1:]]
    _print_lines("not identical:", differences)
    _print_lines("possible causes:", causes or ["no difference is recorded"])
    if "data_crc32" not in load_result(directory):
        CONSOLE.print("  the data may differ: the run recorded no checksums")
    return False


def _print_lines(title: str, lines: list[str]) -> None:
    if lines:
        CONSOLE.print("\n".join([title, *(f"  {line}" for line in lines[:MAX_LINES])]))
    if len(lines) > MAX_LINES:
        CONSOLE.print(f"  and {len(lines) - MAX_LINES} more")
