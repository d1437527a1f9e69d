"""A recorded run, run again in a new directory, and whether it comes to the same."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
import yaml
from rich.console import Console

from dive.config.groups import CONFIG_DIR
from dive.errors import RunError
from dive.evaluation.equality import diff_results, strip_timings
from dive.evaluation.git_worktree import git_worktree, untracked_files
from dive.evaluation.rebuild import (
    localize_paths,
    relocate_data,
    use_recorded_threads,
    validated_config,
    was_edited,
)
from dive.evaluation.run_context import diff_run_context
from dive.runs import provenance
from dive.runs.record import (
    Config,
    diff_configs,
    load_config,
    load_environment,
    load_result,
    load_result_or_partial,
)
from dive.runs.run import Run
from dive.training.fit import fit_and_test

CONSOLE = Console(highlight=False, soft_wrap=True, markup=False)
SHOWN = 20  # lines of what differs


def reproduce(directory: Path, into: Path, at_revision: bool = False, data_at: Path | None = None) -> bool:
    """Run a run again by its recorded configuration, print whether it comes to the same, and why perhaps not.

    Args:
        directory: of the run.
        into: the directory of the new one; it does not exist, or is empty.
        at_revision: with the code that was recorded, in a process of its own.
        data_at: where the data are read from; None is where the run has read them.

    Returns:
        Whether weights and metrics are identical, to the bit; clocks are not compared.

    Raises:
        RunError: the run has not finished, or the recorded code cannot be had.
        UserError: it cannot be run again.
    """
    config = comparable_config(directory)
    if into.exists() and (not into.is_dir() or any(into.iterdir())):
        raise RunError(f"{into}: is there already; choose another folder with --into")
    changed = was_edited(directory, load_config(directory) or {})
    _tell_beginning(directory, config, at_revision)
    fresh = relocate_data(config, data_at) | {"resume": None}
    several = str(config["trainer"].get("devices", 1)) not in ("1", "auto")
    if at_revision:
        with _recorded_code(directory) as code:
            _run_apart(fresh, directory, into, code)
    elif several:  # whose processes Lightning starts from a command line
        _run_apart(fresh, directory, into, CONFIG_DIR.parent)
    else:
        with use_recorded_threads(directory), Run(into, fresh) as run:
            fit_and_test(fresh, run)
    return _verdict(directory, into, changed)


def comparable_config(directory: Path) -> Config:
    """The configuration of a run that has finished.

    Raises:
        RunError: it has not, or is none.
        ConfigError: it may not be built.
    """
    config, result = validated_config(directory), load_result_or_partial(directory)
    if result["status"] == "failed":
        raise RunError(f"{directory}: has failed, and there is nothing to compare: {result.get('error')}")
    if result["status"] == "running":
        raise RunError(f"{directory}: is running, and has no result to compare yet")
    if result["status"] != "finished":
        raise RunError(
            f"{directory}: was {result['status']}, and has no result to compare; "
            f"go on with it first: python train.py resume={directory}"
        )
    return config


def _tell_beginning(directory: Path, config: Config, at_revision: bool) -> None:
    first, *later = _commands(directory) or ["no command"]
    CONSOLE.print(f"recorded: {first}")
    for command in later:
        CONSOLE.print(f"and then: {command}")
    for name in ((load_config(directory) or {}).get("logger") or {}).keys() - (config["logger"] or {}).keys():
        CONSOLE.print(f"left out, as it would tell others of this run: logger.{name}")
    then, now = provenance.recorded_code_version(directory), provenance.code_version()
    if then and then != now and not at_revision:
        CONSOLE.print(
            f"code: {provenance.describe_code(then)} then, {_named(then, now)} now; --at-revision runs that of then"
        )


def _commands(directory: Path) -> list[str]:
    try:
        lines = (directory / "command.txt").read_text(errors="replace").splitlines()
    except FileNotFoundError:
        return []
    # Anybody may have written it, and a terminal would obey what it cannot show.
    return ["".join(letter if letter.isprintable() else "?" for letter in line) for line in lines]


def _named(then: str, now: str) -> str:
    words = provenance.describe_code(now) or "not known"
    return words if words != provenance.describe_code(then) else "other changes"


@contextmanager
def _recorded_code(directory: Path) -> Iterator[Path]:
    revision = load_environment(directory).get("git_revision")
    if not isinstance(revision, str):
        raise RunError(f"--at-revision: {directory / 'environment.json'} tells no revision of the code")
    diff = (directory / "code.diff").read_bytes() if (directory / "code.diff").is_file() else b""
    if names := untracked_files(diff):
        CONSOLE.print(f"not recorded, and not there now, since git did not know them: {', '.join(names)}")
    with git_worktree(revision, diff) as code:
        yield code


def _run_apart(config: Config, directory: Path, into: Path, code: Path) -> None:
    threads = load_environment(directory).get("torch_threads")
    paths = [str(code / "src"), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(paths)}
    if threads is not None and threads != torch.get_num_threads():  # Lightning divides what nobody has asked for
        environment["OMP_NUM_THREADS"] = str(threads)
    quoted = str(into).replace("'", "\\'")
    with TemporaryDirectory(prefix="dive-") as folder:
        (Path(folder) / "config.yaml").write_text(yaml.safe_dump(config, sort_keys=False))
        words = [
            *(f"--config-path={folder}", "--config-name=config", f"hydra.run.dir='{quoted}'"),
            *("hydra.output_subdir=null", "hydra/job_logging=none"),
        ]
        done = subprocess.run([sys.executable, str(code / "train.py"), *words], env=environment, check=False)
    if done.returncode != 0:
        raise RunError(f"{into}: the run ended with status {done.returncode}")


def _verdict(directory: Path, into: Path, changed: list[str]) -> bool:
    apart = diff_results(directory, into)
    then, now = localize_paths(load_config(directory) or {}), load_config(into) or {}
    why = [f"config.yaml was changed since: {line}" for line in changed]
    why += [f"configuration: {line}" for line in diff_configs(then, now)]
    why += diff_run_context(directory, into)
    went_on = [
        f"it was gone on with, perhaps with other settings: {command}" for command in _commands(directory)[1:]
    ]
    CONSOLE.print(f"again: {into}")
    if not apart:
        kept = sorted(path.name for path in (into / "checkpoints").glob("*.ckpt"))
        CONSOLE.print(
            f"identical: {len(strip_timings(load_result(into)))} metrics, weights of {' and '.join(kept) or 'none'}"
        )
        _tell("although these differ:", why)
        return True
    _tell("not identical:", apart)
    _tell("what differs of how they came about:", why + went_on or ["nothing that is recorded"])
    if "data_crc32" not in load_result(directory):
        CONSOLE.print("  whether the data are the same was not recorded")
    return False


def _tell(title: str, lines: list[str]) -> None:
    if lines:
        CONSOLE.print("\n".join([title, *(f"  {line}" for line in lines[:SHOWN])]))
    if len(lines) > SHOWN:
        CONSOLE.print(f"  and {len(lines) - SHOWN} more")
