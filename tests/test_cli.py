"""The command line: one-line errors, sweep names and resume=."""

import os
import re
import runpy
import subprocess
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import OmegaConf

from dive import cli, errors
from dive.config.compose import compose_config
from dive.errors import ConfigError, DataError, RunError, UserError
from dive.runs.record import load_config

ROOT = Path(__file__).parents[1]
Process = subprocess.CompletedProcess[str]

# Overrides and the expected error, as a pattern; {tmp} is the folder of the tests.
MISTAKES: dict[str, tuple[list[str], str]] = {
    "unknown_model": (
        ["model=mpl"],
        r"model=mpl: unknown; did you mean 'mlp'\? Choose from linear_regression, .*, mlp, .*softmax_regression.*",
    ),
    "unknown_experiment": (
        ["experiment=mlp_deep"],
        r"experiment=mlp_deep: unknown; did you mean 'mlp_deeper'\? Choose from .*, mlp.*",
    ),
    "misspelled_key": (
        ["optimizer.lrr=1"],
        r"optimizer.lrr: unknown; did you mean 'lr'\? Choose from .*momentum.*",
    ),
    "misspelled_section": (
        ["optimiser.lr=1"],
        r"optimiser: unknown; did you mean 'optimizer'\? Choose from .*trainer.*",
    ),
    "number_for_a_config": (
        ["model=3"],
        r"model=3: must be the name of a config; choose from linear_regression, .*",
    ),
    "key_below_a_list": (
        ["trainer.max_epochs=[1]", "trainer.max_epochs.x=2"],
        r"an override cannot be applied: .*'x'",
    ),
    "null_for_a_config": (
        ["scheduler=null"],
        r"scheduler=null: must be the name of a config; choose from cosine, none, one_cycle, .*",
    ),
    "null_among_configs": (
        ["-m", "scheduler=cosine,null"],
        r"scheduler=null: must be the name of a config; choose from cosine, none, one_cycle, .*",
    ),
    "list_with_a_space": (
        ["model.num_hiddens=[64,", "64]"],
        r"model\.num_hiddens=\[64,: cannot be parsed; quote it: 'KEY=\[1, 2\]', or for a string: .*",
    ),
    "missing_device": (["trainer=mps"], r"trainer: this machine has no mps; choose trainer=auto or .*"),
    "sweep_without_flag": (
        ["optimizer.lr=0.1,0.2"],
        r"optimizer\.lr=0\.1,0\.2: several values need a sweep: .* train\.py -m .*",
    ),
    "empty_batch": (["data.batch_size=0"], r"data\.batch_size=0: must be an integer of at least 1"),
    "negative_learning_rate": (["optimizer.lr=-1"], r"optimizer\.lr=-1: must be a number in \(0, inf\)"),
    "string_for_a_number": (["optimizer.lr=fast"], r"optimizer\.lr=fast: must be a number in \(0, inf\)"),
    "missing_data": (
        ["trainer=cpu"],
        r"Fashion-MNIST is not in {tmp}/missing_data/FashionMNIST/raw: train-images-idx3-ubyte\.gz is missing\. "
        r"The download failed: .*refused\. .*`python scripts/download_data\.py --from DIR`.*`data=garments`\.",
    ),
    "damaged_data": (
        ["trainer=cpu", "data.download=false"],
        r"{tmp}/damaged_data/FashionMNIST/raw/train-images-idx3-ubyte\.gz is damaged: .*"
        r"`python scripts/download_data\.py --from DIR`.*`data=garments`\.",
    ),
    "file_at_the_run_directory": (["hydra.run.dir={tmp}/file"], "{tmp}/file: File exists"),
    "file_at_the_parent_directory": (["hydra.run.dir={tmp}/file/run"], "{tmp}/file/run: Not a directory"),
    "resume_without_a_run": (
        ["resume={tmp}/nothing"],
        r"resume={tmp}/nothing: not a run directory: {tmp}/nothing/config\.yaml does not exist",
    ),
}


@pytest.fixture
def tmp(tmp_path: Path) -> Path:
    """A folder with a file named ``file`` and a damaged archive in the data folder ``damaged_data``."""
    (tmp_path / "file").write_text("a file")
    damaged = tmp_path / "damaged_data" / "FashionMNIST" / "raw"
    damaged.mkdir(parents=True)
    (damaged / "train-images-idx3-ubyte.gz").write_bytes(b"damaged")
    return tmp_path


@pytest.fixture
def full_error_off(monkeypatch: pytest.MonkeyPatch) -> None:
    """Unset HYDRA_FULL_ERROR, which `cli.main_guard` sets, and restore it after the test."""
    monkeypatch.setenv("HYDRA_FULL_ERROR", "0")


def test_unnamed_sweep_is_named_after_the_time() -> None:
    first, second = (cli.assign_sweep_name(["train.py", flag, "seed=0,1"]) for flag in ("-m", "--multirun"))
    assert first[:3] == ["train.py", "-m", "seed=0,1"]
    assert re.fullmatch(r"sweep=\d{4}(-\d\d){2}_\d\d(-\d\d){2}-\d{6}", first[3])
    assert first[3] != second[3]


@pytest.mark.parametrize(
    "argv", [["train.py", "seed=0"], ["train.py", "-m", "sweep=lr"], ["train.py", "--cfg", "job"]]
)
def test_single_run_and_named_sweep_are_unchanged(argv: list[str]) -> None:
    assert cli.assign_sweep_name(argv) == argv


@pytest.mark.parametrize(
    "name", ["", "../x", "/tmp/x", ".hidden", "a b", "a/b", "$(x)", "-x", "x" * 101, "ä", "a\n"]
)
def test_invalid_sweep_name_is_rejected(name: str) -> None:
    with pytest.raises(RunError, match="must consist of at most 100 letters, digits"):
        cli.assign_sweep_name(["train.py", "-m", f"sweep={name}"])


def test_missing_package_is_reported_with_its_install_command() -> None:
    error = HydraException("Error locating target")
    error.__cause__ = ModuleNotFoundError("No module named 'optuna'", name="optuna")
    assert errors.format_error(error) == ("optuna is not installed: pip install -e '.[sweeps]'")


def test_missing_package_outside_sweeps_has_no_extra() -> None:
    error = ModuleNotFoundError("No module named 'tensorboard.summary'", name="tensorboard.summary")
    assert errors.format_error(error) == "tensorboard.summary is not installed: pip install -e '.'"


def test_cyclic_error_contexts_terminate() -> None:
    first, second = OSError("full"), OSError("still full")
    first.__context__, second.__context__ = second, first
    assert errors.format_error(first) == "full"


@pytest.mark.parametrize("kind", [UserError, ConfigError, DataError, RunError])
def test_user_error_is_reported_with_its_own_message(kind: type[UserError]) -> None:
    assert errors.format_error(kind("data.lr=0: must be more")) == "data.lr=0: must be more"


def test_several_mistakes_have_one_line_each() -> None:
    assert errors.format_error(ConfigError("a=1: wrong\nb=2: wrong")) == "a=1: wrong\nb=2: wrong"


def composed(*overrides: str) -> str:
    with pytest.raises(HydraException) as caught:
        compose_config(overrides)
    return errors.format_error(caught.value)


def test_unknown_option_is_reported_with_the_closest_and_all_options() -> None:
    assert (
        composed("optimizer=sdg")
        == "optimizer=sdg: unknown; did you mean 'sgd'? Choose from adam, adamw, sgd, sgd_scratch"
    )


def test_unknown_key_is_reported_with_the_closest_and_all_keys() -> None:
    line = composed("data.batchsize=3")
    assert line.startswith("data.batchsize: unknown; did you mean 'batch_size'? Choose from _target_, ")
    assert "val_size" in line


def test_key_below_an_unknown_key_is_reported() -> None:
    assert composed("modell.dropout=0.5").startswith("modell: unknown; did you mean 'model'? Choose from ")


@pytest.mark.parametrize("override", ["optimizer.lr", "model.num_hiddens=[1", "a=b=c=[", "~nothing", "+seed=1"])
def test_any_hydra_error_is_one_line(override: str) -> None:
    line = composed(override)
    assert line == " ".join(line.split())
    assert line


def test_os_error_names_the_file() -> None:
    assert (
        errors.format_error(PermissionError(13, "Permission denied", "/root/run"))
        == "/root/run: Permission denied"
    )


def test_os_error_without_a_file_is_reported_unchanged() -> None:
    assert errors.format_error(OSError(28, "No space left on device")) == "[Errno 28] No space left on device"


def test_error_and_cause_are_joined_in_one_line() -> None:
    error = HydraException("cannot\n  build it")
    error.__cause__ = ValueError("too\nlarge")
    assert errors.format_error(error) == "cannot build it too large"


@pytest.mark.parametrize(
    "arguments", [[], ["model=mlp"], ["resume=null"], ["resume="], ["resumed=x", "model.resume=x"]]
)
def test_command_without_resume_is_unchanged(arguments: list[str]) -> None:
    with cli.expanded_resume_override(["train.py", *arguments]) as expanded:
        assert expanded == ["train.py", *arguments]


def enter(manager: AbstractContextManager[object]) -> None:
    """Enter and leave a context."""
    with manager:
        pass


@pytest.fixture(params=["run", "a run's", "läuf=1,2"])
def run(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A run directory, with plain and unusual names."""
    directory = tmp_path / request.param
    directory.mkdir()
    (directory / "config.yaml").write_text("seed: 0\n")
    return directory


def test_resume_loads_the_recorded_configuration_and_keeps_the_directory(run: Path) -> None:
    with cli.expanded_resume_override(["train.py", "seed=1", f"resume={run}", "trainer.max_epochs=9"]) as expanded:
        folder = Path(expanded[1].removeprefix("--config-path="))
        assert [path.name for path in folder.iterdir()] == ["config.yaml"]
        assert load_config(folder) == {"seed": 0}
        assert run not in (folder, *folder.parents)
    assert not folder.exists()
    assert expanded[0] == "train.py"
    assert {"--config-name=config", "hydra.output_subdir=null"} <= set(expanded)
    assert [argument for argument in expanded if argument in ("seed=1", "trainer.max_epochs=9")] == expanded[3:5]
    overrides = OverridesParser.create().parse_overrides(
        [argument for argument in expanded[1:] if not argument.startswith("--")]
    )
    values = {override.key_or_group: override.value() for override in overrides}
    assert len(values) == len(overrides)
    for key in ("resume", "hydra.run.dir"):
        assert str(values[key]) == str(run)


def test_expanded_command_is_unchanged_in_further_processes(run: Path) -> None:
    with cli.expanded_resume_override(["train.py", f"resume={run}", "callbacks=null"]) as expanded:
        further = [*expanded, "hydra.job.name=train_ddp_process_1"]
        with cli.expanded_resume_override(cli.validate_argv(further)) as unchanged:
            assert unchanged == further


def test_resume_accepts_a_relative_path(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(run.parent)
    with cli.expanded_resume_override(["train.py", f"resume={run.name}"]) as expanded:
        assert str(run) in [str(o.value()) for o in OverridesParser.create().parse_overrides(expanded[3:])]


def test_resume_of_a_directory_without_a_run_is_rejected(tmp_path: Path) -> None:
    with pytest.raises(
        RunError, match=f"^resume={tmp_path}: not a run directory: {tmp_path}/config.yaml does not exist$"
    ):
        enter(cli.expanded_resume_override(["train.py", f"resume={tmp_path}"]))


def test_resume_rejects_a_path_that_hydra_would_interpolate() -> None:
    with pytest.raises(
        RunError, match=r"^resume=a\$\{b\}: \$\{ in a path is an interpolation .* rename the folder"
    ):
        enter(cli.expanded_resume_override(["train.py", "resume=a${b}"]))


@pytest.mark.parametrize(
    "text",
    [
        "hydra:\n  callbacks: {}\n",
        "defaults: []\n",
        "<<: {hydra: {}}\n",
        "home: ${oc.env:HOME}\n",
    ],
)
def test_config_yaml_with_hydra_directives_is_rejected(text: str, tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text(text)
    with pytest.raises(RunError, match=r"config\.yaml contains .*: it is not the recorded configuration"):
        enter(cli.expanded_resume_override(["train.py", f"resume={tmp_path}"]))


def test_hydra_does_not_see_comments_and_other_files_of_the_run(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("# @package hydra\nseed: 3\n")
    (tmp_path / "hydra" / "launcher").mkdir(parents=True)
    (tmp_path / "hydra" / "launcher" / "basic.yaml").write_text("_target_: os.system\n")
    with cli.expanded_resume_override(["train.py", f"resume={tmp_path}"]) as expanded:
        folder = Path(expanded[1].removeprefix("--config-path="))
        assert (folder / "config.yaml").read_text() == "seed: 3\n"
        assert len(list(folder.rglob("*"))) == 1


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"- seed\n",
        b"a: [\n",
        b"\xff\xfe\x00",
        b"a: !!python/object/apply:os.system [true]\n",
        b"a: !!set {b}\n",
    ],
)
def test_corrupt_config_yaml_is_rejected_in_one_line(text: bytes, tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_bytes(text)
    with pytest.raises(RunError, match=r"^[^\n]*config\.yaml is corrupt: [^\n]*$"):
        enter(cli.expanded_resume_override(["train.py", f"resume={tmp_path}"]))


def test_run_directory_with_symbolic_links_is_rejected(run: Path) -> None:
    (run / "checkpoints").mkdir()
    (run / "checkpoints" / "last.ckpt").symlink_to("/nowhere")
    with pytest.raises(
        RunError, match=r"checkpoints/last\.ckpt is a symbolic link; .* may contain only files and folders$"
    ):
        enter(cli.expanded_resume_override(["train.py", f"resume={run}"]))


@pytest.mark.parametrize("name", ["train.log", "metrics.csv", "command.txt", "checkpoints/last.ckpt"])
def test_run_directory_with_a_pipe_is_rejected(name: str, run: Path) -> None:
    (run / "checkpoints").mkdir()
    os.mkfifo(run / name)
    with pytest.raises(RunError, match=f"{name} is not a regular file; {run} may contain only"):
        enter(cli.expanded_resume_override(["train.py", f"resume={run}"]))


def raising(error: BaseException) -> Callable[[], None]:
    def main() -> None:
        raise error

    return main


@pytest.mark.usefixtures("full_error_off")
@pytest.mark.parametrize(
    ("error", "line"),
    [
        (DataError("no files"), "error: no files"),
        (HydraException("not\nunderstood"), "error: not understood"),
        (FileNotFoundError(2, "No such file or directory", "x"), "error: x: No such file or directory"),
    ],
)
def test_mistake_exits_with_its_message(error: Exception, line: str) -> None:
    with pytest.raises(SystemExit) as caught:
        cli.main_guard(raising(error))
    assert caught.value.code == line


@pytest.mark.usefixtures("full_error_off")
def test_bug_keeps_its_traceback() -> None:
    bug = ZeroDivisionError("ours")
    with pytest.raises(ZeroDivisionError) as caught:
        cli.main_guard(raising(bug))
    assert caught.value is bug


def test_every_error_keeps_its_traceback_with_hydra_full_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")
    with pytest.raises(DataError, match="no files"):
        cli.main_guard(raising(DataError("no files")))


@pytest.mark.usefixtures("full_error_off")
def test_resume_is_expanded_before_hydra_runs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("seed: 0\n")
    monkeypatch.setattr(sys, "argv", ["train.py", f"resume={tmp_path}"])
    seen: list[str] = []
    cli.main_guard(lambda: seen.extend(sys.argv))
    with cli.expanded_resume_override(["train.py", f"resume={tmp_path}"]) as expanded:
        assert [a for a in seen if "--config-path" not in a] == [a for a in expanded if "--config-path" not in a]
        assert len(seen) == len(expanded)


def in_mode(monkeypatch: pytest.MonkeyPatch, mode: RunMode) -> Any:
    """Simulate the HydraConfig of a job."""
    hydra = OmegaConf.create(
        {
            "mode": mode,
            "run": {"dir": "outputs"},
            "runtime": {"output_dir": "multirun/lr/seed=1"},
            "overrides": {"task": ["seed=1", "sweep=lr"]},
        }
    )
    OmegaConf.set_readonly(hydra, True)
    monkeypatch.setattr(HydraConfig, "get", lambda: hydra)
    return hydra


@pytest.mark.usefixtures("full_error_off")
def test_mistake_in_a_single_run_passes_through_hydra(monkeypatch: pytest.MonkeyPatch) -> None:
    in_mode(monkeypatch, RunMode.RUN)
    job = cli.job_guard(raising_job)

    def main() -> None:
        try:
            job({"resume": None})
        except Exception:
            pytest.fail("Hydra would catch it and print a line of its own")

    with pytest.raises(SystemExit) as caught:
        cli.main_guard(main)
    assert caught.value.code == "error: no files"


def test_mistake_in_a_sweep_is_left_to_hydra(monkeypatch: pytest.MonkeyPatch) -> None:
    in_mode(monkeypatch, RunMode.MULTIRUN)
    with pytest.raises(DataError, match="no files"):
        cli.job_guard(raising_job)({"resume": None})


def raising_job(config: object) -> None:
    raise DataError("no files")


def test_guarded_job_keeps_its_result_and_name(monkeypatch: pytest.MonkeyPatch) -> None:
    in_mode(monkeypatch, RunMode.RUN)

    @cli.job_guard
    def double(config: int) -> int:
        return 2 * config

    assert (double(21), double.__name__) == (42, "double")


def test_sweep_job_sees_the_command_of_a_single_run(monkeypatch: pytest.MonkeyPatch) -> None:
    hydra = in_mode(monkeypatch, RunMode.MULTIRUN)
    monkeypatch.setattr(sys, "argv", ["train.py", "-m", "seed=0,1", "sweep=lr"])

    @cli.job_guard
    def record(config: object) -> tuple[list[str], str]:
        return sys.argv, hydra.run.dir

    assert record({"resume": None}) == (["train.py", "seed=1"], "multirun/lr/seed=1")
    assert record({"resume": "here"}) == (["train.py", "seed=1", "resume=here"], "multirun/lr/seed=1")
    assert sys.argv == ["train.py", "-m", "seed=0,1", "sweep=lr"]


@pytest.mark.parametrize("name", MISTAKES)
def test_mistake_is_one_line(
    name: str, tmp: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    overrides, line = MISTAKES[name]
    run_dir = tmp / "run" / name
    arguments = [override.format(tmp=tmp) for override in overrides]
    monkeypatch.setattr(sys, "argv", ["train.py", f"hydra.run.dir={run_dir}", *arguments])
    monkeypatch.setenv("HYDRA_FULL_ERROR", "0")
    monkeypatch.setenv("DIVE_DATA", str(tmp / name))
    for variable in ("http_proxy", "https_proxy"):
        monkeypatch.setenv(variable, "http://127.0.0.1:9")  # a closed port: offline wherever the tests run
    monkeypatch.chdir(ROOT)
    with pytest.raises(SystemExit) as exit_info:
        runpy.run_path("train.py", run_name="__main__")
    assert capfd.readouterr() == ("", "")
    assert re.fullmatch(f"error: {line.replace('{tmp}', re.escape(str(tmp)))}", str(exit_info.value))


@pytest.mark.parametrize("arguments", [["-m", "resume=outputs/a"], ["resume=outputs/a,outputs/b", "--multirun"]])
def test_sweep_cannot_resume_a_single_run(arguments: list[str]) -> None:
    with pytest.raises(RunError, match="to resume a sweep, rerun its command"):
        cli.assign_sweep_name(["train.py", *arguments])


def test_multirun_flag_can_be_anywhere() -> None:
    argv = cli.assign_sweep_name(["train.py", "model=mlp", "seed=0,1", "-m", "sweep=a"])
    assert argv == ["train.py", "-m", "model=mlp", "seed=0,1", "sweep=a"]
