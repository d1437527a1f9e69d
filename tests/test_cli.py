"""The command line: a mistake costs one line that names it and what is allowed; help costs no wait for torch."""

import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
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

ROOT = Path(__file__).parents[1]
Finished = subprocess.CompletedProcess[str]

# What is typed, and the line that follows, as a pattern. {tmp} is a folder of the tests.
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
    "a_number_for_a_name": (["model=3"], r"model=3: must be a name; choose from linear_regression, .*"),
    "nothing_for_a_name": (["scheduler=null"], r"scheduler=null: must be a name; choose from cosine, none, step"),
    "nothing_among_names": (
        ["-m", "scheduler=cosine,null"],
        r"scheduler=null: must be a name; choose from cosine, none, step",
    ),
    "list_with_a_space": (
        ["model.num_hiddens=[64,", "64]"],
        r"model\.num_hiddens=\[64,: cannot be read; .* in quotes: 'KEY=\[1, 2\]'; a text: .*",
    ),
    "device_that_is_not_there": (["trainer=mps"], r"trainer: this machine has no mps; choose trainer=auto or .*"),
    "sweep_without_its_flag": (
        ["optimizer.lr=0.1,0.2"],
        r"optimizer\.lr=0\.1,0\.2: several values .* train\.py -m .*",
    ),
    "empty_batch": (["data.batch_size=0"], r"data\.batch_size=0: must be a whole number of at least 1"),
    "negative_learning_rate": (["optimizer.lr=-1"], r"optimizer\.lr=-1: must be a number in \(0, inf\)"),
    "word_for_a_number": (["optimizer.lr=fast"], r"optimizer\.lr=fast: must be a number in \(0, inf\)"),
    "missing_data": (
        ["trainer=cpu"],
        r"Fashion-MNIST is not in {tmp}/missing_data/FashionMNIST/raw: train-images-idx3-ubyte\.gz is missing\. "
        r"It cannot be downloaded: .*refused\. .*`python scripts/download\.py --from DIR`.*`data=garments`\.",
    ),
    "damaged_data": (
        ["trainer=cpu", "data.download=false"],
        r"{tmp}/damaged_data/FashionMNIST/raw/train-images-idx3-ubyte\.gz is damaged: .*"
        r"`python scripts/download\.py --from DIR`.*`data=garments`\.",
    ),
    "file_in_the_way_of_the_run": (["hydra.run.dir={tmp}/file"], "{tmp}/file: File exists"),
    "file_in_the_way_of_its_parent": (["hydra.run.dir={tmp}/file/run"], "{tmp}/file/run: Not a directory"),
    "resume_of_nothing": (
        ["resume={tmp}/nothing"],
        r"resume={tmp}/nothing: there is no run, {tmp}/nothing/config\.yaml does not exist",
    ),
}


class Background:
    """Commands that run two at a time while the other tests go on: each takes seconds to import torch."""

    def __init__(self, tmp: Path) -> None:
        self.tmp = tmp
        self.pool = ThreadPoolExecutor(2)
        self.started: dict[str, Future[Finished]] = {}
        kept = {key: value for key, value in os.environ.items() if not key.lower().endswith("_proxy")}
        kept.pop("HYDRA_FULL_ERROR", None)
        nobody = "http://127.0.0.1:9"  # a proxy that nobody runs: offline wherever the tests run
        self.environment = kept | {"http_proxy": nobody, "https_proxy": nobody}

    def start(self, name: str, *words: str, python: Sequence[str] = (), **environment: str) -> None:
        """Run train.py on these words, with options for Python; its data folder is named for the command."""
        words = (f"hydra.run.dir={self.tmp / 'run' / name}", *(word.format(tmp=self.tmp) for word in words))
        self.started[name] = self.pool.submit(
            subprocess.run,
            [sys.executable, *python, "train.py", *words],
            cwd=ROOT,
            env=self.environment | {"DIVE_DATA": str(self.tmp / name)} | environment,
            capture_output=True,
            text=True,
            timeout=300,
        )

    def __getitem__(self, name: str) -> Finished:
        return self.started[name].result()


@pytest.fixture(scope="module", autouse=True)
def background(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Background]:
    """All commands of this file, under way."""
    commands = Background(tmp_path_factory.mktemp("cli"))
    (commands.tmp / "file").write_text("in the way")
    damaged = commands.tmp / "damaged_data" / "FashionMNIST" / "raw"
    damaged.mkdir(parents=True)
    (damaged / "train-images-idx3-ubyte.gz").write_bytes(b"damaged")
    for name, (words, _) in MISTAKES.items():
        commands.start(name, *words)
    commands.start("full_error", "model=mpl", HYDRA_FULL_ERROR="1")
    for name, words in {
        "--cfg": ["--cfg", "job"],
        "--help": ["--help"],
        "--info": ["--info", "config"],
        "-sc": ["query=bash", "-sc"],
        "trained": ["model=linear_regression", "trainer=cpu", "trainer.max_epochs=1"],
    }.items():
        commands.start(name, *words, python=["-X", "importtime"], COMP_LINE="python train.py model=ml")
    yield commands
    commands.pool.shutdown(cancel_futures=True)


@pytest.fixture
def full_error_off(monkeypatch: pytest.MonkeyPatch) -> None:
    """`cli.run` sets this variable; it is put back after the test."""
    monkeypatch.setenv("HYDRA_FULL_ERROR", "0")


# In this process.


def test_a_sweep_without_a_name_is_named_by_the_time() -> None:
    first, second = (cli.assign_sweep_name(["train.py", flag, "seed=0,1"]) for flag in ("-m", "--multirun"))
    assert first[:3] == ["train.py", "-m", "seed=0,1"]
    assert re.fullmatch(r"sweep=\d{4}(-\d\d){2}_\d\d(-\d\d){2}-\d{6}", first[3])
    assert first[3] != second[3]


@pytest.mark.parametrize(
    "argv", [["train.py", "seed=0"], ["train.py", "-m", "sweep=lr"], ["train.py", "--cfg", "job"]]
)
def test_a_single_run_and_a_named_sweep_stay_as_they_are(argv: list[str]) -> None:
    assert cli.assign_sweep_name(argv) == argv


@pytest.mark.parametrize(
    "name", ["", "../x", "/tmp/x", ".hidden", "a b", "a/b", "$(x)", "-x", "x" * 101, "ä", "a\n"]
)
def test_a_name_that_is_no_plain_name_of_a_directory_is_refused(name: str) -> None:
    with pytest.raises(RunError, match="a name is of letters, digits"):
        cli.assign_sweep_name(["train.py", "-m", f"sweep={name}"])


def test_a_package_that_is_not_installed_is_named_with_the_command_that_installs_it() -> None:
    error = HydraException("Error locating target")
    error.__cause__ = ModuleNotFoundError("No module named 'optuna'", name="optuna")
    assert errors.format_error(error) == ("optuna is not installed: pip install -e '.[sweeps]'")


def test_a_package_that_no_sweep_needs_is_not_said_to_be_one_of_sweeps() -> None:
    error = ModuleNotFoundError("No module named 'tensorboard.summary'", name="tensorboard.summary")
    assert errors.format_error(error) == "tensorboard.summary is not installed: pip install -e '.'"


def test_errors_that_are_each_other_s_cause_come_to_an_end() -> None:
    first, second = OSError("full"), OSError("still full")
    first.__context__, second.__context__ = second, first
    assert errors.format_error(first) == "full"


@pytest.mark.parametrize("kind", [UserError, ConfigError, DataError, RunError])
def test_a_user_s_mistake_is_told_in_its_own_words(kind: type[UserError]) -> None:
    assert errors.format_error(kind("data.lr=0: must be more")) == "data.lr=0: must be more"


def test_several_mistakes_keep_a_line_each() -> None:
    assert errors.format_error(ConfigError("a=1: wrong\nb=2: wrong")) == "a=1: wrong\nb=2: wrong"


def composed(*overrides: str) -> str:
    with pytest.raises(HydraException) as caught:
        compose_config(overrides)
    return errors.format_error(caught.value)


def test_an_unknown_choice_is_told_with_the_nearest_and_all_there_are() -> None:
    assert (
        composed("optimizer=sdg")
        == "optimizer=sdg: unknown; did you mean 'sgd'? Choose from adam, sgd, sgd_scratch"
    )


def test_an_unknown_key_is_told_with_the_nearest_and_all_there_are() -> None:
    line = composed("data.batchsize=3")
    assert line.startswith("data.batchsize: unknown; did you mean 'batch_size'? Choose from _target_, ")
    assert "val_size" in line


def test_a_key_below_a_key_that_does_not_exist_is_told() -> None:
    assert composed("modle.dropout=0.5").startswith("modle: unknown; did you mean 'model'? Choose from ")


@pytest.mark.parametrize("override", ["optimizer.lr", "model.num_hiddens=[1", "a=b=c=[", "~nothing", "+seed=1"])
def test_whatever_hydra_does_not_understand_is_one_line(override: str) -> None:
    line = composed(override)
    assert line == " ".join(line.split())
    assert line


def test_an_error_of_the_system_names_the_file() -> None:
    assert (
        errors.format_error(PermissionError(13, "Permission denied", "/root/run"))
        == "/root/run: Permission denied"
    )


def test_an_error_of_the_system_without_a_file_is_told_as_it_is() -> None:
    assert errors.format_error(OSError(28, "No space left on device")) == "[Errno 28] No space left on device"


def test_a_cause_is_told_with_its_error_in_one_line() -> None:
    error = HydraException("cannot\n  build it")
    error.__cause__ = ValueError("too\nlarge")
    assert errors.format_error(error) == "cannot build it too large"


@pytest.mark.parametrize(
    "words", [[], ["model=mlp"], ["resume=null"], ["resume="], ["resumed=x", "model.resume=x"]]
)
def test_without_resume_the_command_stays_as_it_is(words: list[str]) -> None:
    assert cli.expand_resume(["train.py", *words]) == ["train.py", *words]


@pytest.fixture(params=["run", "a run's", "läuf=1,2"])
def run(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A run's directory, its name plain or not."""
    directory = tmp_path / request.param
    directory.mkdir()
    (directory / "config.yaml").write_text("seed: 0\n")
    return directory


def test_resume_reads_the_recorded_configuration_and_stays_in_the_directory(run: Path) -> None:
    expanded = cli.expand_resume(["train.py", "seed=1", f"resume={run}", "trainer.max_epochs=9"])
    assert expanded[0] == "train.py"
    assert {f"--config-path={run}", "--config-name=config", "hydra.output_subdir=null"} <= set(expanded)
    assert [word for word in expanded if word in ("seed=1", "trainer.max_epochs=9")] == expanded[3:5]
    overrides = OverridesParser.create().parse_overrides(
        [word for word in expanded[1:] if not word.startswith("--")]
    )
    values = {override.key_or_group: override.value() for override in overrides}
    assert len(values) == len(overrides)
    for key in ("resume", "hydra.run.dir"):
        assert str(values[key]) == str(run)


def test_what_is_spelled_out_stays_as_it_is_for_further_processes_of_a_run(run: Path) -> None:
    expanded = cli.expand_resume(["train.py", f"resume={run}", "callbacks=null"])
    assert cli.expand_resume(cli.validate_argv([*expanded, "hydra.job.name=train_ddp_process_1"])) == [
        *expanded,
        "hydra.job.name=train_ddp_process_1",
    ]


def test_resume_takes_a_path_relative_to_where_one_is(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(run.parent)
    assert f"--config-path={run}" in cli.expand_resume(["train.py", f"resume={run.name}"])


def test_resume_of_a_directory_without_a_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(
        RunError, match=f"^resume={tmp_path}: there is no run, {tmp_path}/config.yaml does not exist$"
    ):
        cli.expand_resume(["train.py", f"resume={tmp_path}"])


@pytest.mark.parametrize(
    "text",
    [
        "hydra:\n  callbacks: {}\n",
        "defaults: []\n",
        "<<: {hydra: {}}\n",
        "# @package hydra\ncallbacks: {}\n",
        "# a comment\n#@package hydra\ncallbacks: {}\n",
        "- seed\n",
        "",
    ],
)
def test_a_record_that_hydra_would_act_on_is_refused(text: str, tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text(text)
    with pytest.raises(RunError, match=r"config\.yaml is not the record of a run$"):
        cli.expand_resume(["train.py", f"resume={tmp_path}"])


@pytest.mark.parametrize("text", [b"a: [\n", b"\xff\xfe\x00", b"a: !!python/object/apply:os.system [true]\n"])
def test_a_damaged_record_is_refused_in_one_line(text: bytes, tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_bytes(text)
    with pytest.raises(RunError, match=r"^[^\n]*config\.yaml is damaged \([^\n]*\)$"):
        cli.expand_resume(["train.py", f"resume={tmp_path}"])


def test_a_run_with_links_is_refused(run: Path) -> None:
    (run / "checkpoints").mkdir()
    (run / "checkpoints" / "last.ckpt").symlink_to("/nowhere")
    with pytest.raises(RunError, match=r"checkpoints/last\.ckpt is a link; the files of a run are its own$"):
        cli.expand_resume(["train.py", f"resume={run}"])


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
def test_a_mistake_ends_the_program_with_its_line(error: Exception, line: str) -> None:
    with pytest.raises(SystemExit) as caught:
        cli.main_guard(raising(error))
    assert caught.value.code == line


@pytest.mark.usefixtures("full_error_off")
def test_a_bug_keeps_its_traceback() -> None:
    bug = ZeroDivisionError("ours")
    with pytest.raises(ZeroDivisionError) as caught:
        cli.main_guard(raising(bug))
    assert caught.value is bug


def test_every_error_keeps_its_traceback_where_that_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")
    with pytest.raises(DataError, match="no files"):
        cli.main_guard(raising(DataError("no files")))


@pytest.mark.usefixtures("full_error_off")
def test_resume_is_spelled_out_for_hydra(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("seed: 0\n")
    monkeypatch.setattr(sys, "argv", ["train.py", f"resume={tmp_path}"])
    seen: list[list[str]] = []
    cli.main_guard(lambda: seen.append(sys.argv))
    assert seen == [cli.expand_resume(["train.py", f"resume={tmp_path}"])]


def in_mode(monkeypatch: pytest.MonkeyPatch, mode: RunMode) -> Any:
    """Pretend that Hydra has started a job, and return what it then tells."""
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
def test_a_mistake_in_a_single_run_passes_what_catches_every_exception(monkeypatch: pytest.MonkeyPatch) -> None:
    in_mode(monkeypatch, RunMode.RUN)
    job = cli.job_guard(raising_job)

    def main() -> None:
        try:
            job({"resume": None})
        except Exception:
            pytest.fail("Hydra would have caught it, and added a line of its own")

    with pytest.raises(SystemExit) as caught:
        cli.main_guard(main)
    assert caught.value.code == "error: no files"


def test_a_mistake_in_a_sweep_is_left_to_hydra(monkeypatch: pytest.MonkeyPatch) -> None:
    in_mode(monkeypatch, RunMode.MULTIRUN)
    with pytest.raises(DataError, match="no files"):
        cli.job_guard(raising_job)({"resume": None})


def raising_job(config: object) -> None:
    raise DataError("no files")


def test_a_job_keeps_its_result_and_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    in_mode(monkeypatch, RunMode.RUN)

    @cli.job_guard
    def double(config: int) -> int:
        return 2 * config

    assert (double(21), double.__name__) == (42, "double")


def test_a_job_of_a_sweep_looks_like_the_command_that_runs_it_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    hydra = in_mode(monkeypatch, RunMode.MULTIRUN)
    monkeypatch.setattr(sys, "argv", ["train.py", "-m", "seed=0,1", "sweep=lr"])

    @cli.job_guard
    def seen(config: object) -> tuple[list[str], str]:
        return sys.argv, hydra.run.dir

    assert seen({"resume": None}) == (["train.py", "seed=1"], "multirun/lr/seed=1")
    assert seen({"resume": "here"}) == (["train.py", "seed=1", "resume=here"], "multirun/lr/seed=1")
    assert sys.argv == ["train.py", "-m", "seed=0,1", "sweep=lr"]


# In processes of their own.


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_costs_one_line(name: str, background: Background) -> None:
    done, (_, line) = background[name], MISTAKES[name]
    assert done.returncode != 0
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1, done.stderr
    assert re.fullmatch(f"error: {line.replace('{tmp}', re.escape(str(background.tmp)))}\n", done.stderr), (
        done.stderr
    )


def test_a_run_that_was_refused_leaves_no_directory(background: Background) -> None:
    for name in ("misspelled_key", "empty_batch"):
        assert background[name].returncode != 0
        assert not (background.tmp / "run" / name).exists()


def test_the_traceback_is_there_for_who_wants_it(background: Background) -> None:
    done = background["full_error"]
    assert done.returncode != 0
    assert done.stderr.startswith("Traceback (most recent call last):")
    assert "MissingConfigException" in done.stderr


def imported(done: Finished) -> set[str]:
    """The modules that a process has told of."""
    return {
        line.rpartition("|")[2].strip() for line in done.stderr.splitlines() if line.startswith("import time:")
    }


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("--cfg", "_target_: dive.models.MLP"),
        ("--help", "model: linear_"),
        ("--info", "_target_: dive.models.MLP"),
        ("-sc", "model=mlp"),
    ],
)
def test_what_trains_nothing_does_not_wait_for_torch(name: str, shown: str, background: Background) -> None:
    done = background[name]
    assert done.returncode == 0
    assert shown in done.stdout
    assert {"dive.cli", "hydra"} <= imported(done)
    assert {"torch", "pytorch_lightning", "numpy", "dive.training.instantiate"}.isdisjoint(imported(done))


def test_what_trains_does_not_wait_for_what_it_does_not_use(background: Background) -> None:
    done = background["trained"]
    assert done.returncode == 0
    assert {"torch", "pytorch_lightning", "tensorboard"} <= imported(done)
    unused = {"pandas", "torchvision", "scipy", "torchmetrics.functional"}
    compiler = {"torch._dynamo.eval_frame", "torch._inductor", "torch.distributed.tensor", "sympy"}
    assert (unused | compiler).isdisjoint(imported(done))


@pytest.mark.parametrize("words", [["-m", "resume=outputs/a"], ["resume=outputs/a,outputs/b", "--multirun"]])
def test_a_sweep_does_not_go_on_with_a_run(words: list[str]) -> None:
    with pytest.raises(RunError, match="a sweep goes on when it is said again"):
        cli.assign_sweep_name(["train.py", *words])


def test_that_it_is_a_sweep_may_be_said_anywhere() -> None:
    told = cli.assign_sweep_name(["train.py", "model=mlp", "seed=0,1", "-m", "sweep=a"])
    assert told == ["train.py", "-m", "model=mlp", "seed=0,1", "sweep=a"]
