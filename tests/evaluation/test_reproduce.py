"""Repeating a run: the results are identical bit for bit, or the differences are listed."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from tests.short_runs import shortened

from dive.callbacks import LearningRateMonitor
from dive.config.groups import CONFIG_DIR
from dive.errors import ConfigError, RunError
from dive.evaluation.reproduce import reproduce
from dive.runs import checkpoint_io

ROOT = Path(__file__).parents[2]
Train = Callable[..., Any]
IDENTICAL, DIFFERENT = True, False
LINEAR = ("experiment=linear_regression", "trainer=cpu")
HOUSES = ("experiment=house_tiny", "trainer=cpu", "data.path=mine.csv")

requires_git_checkout = pytest.mark.skipif(
    subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True).returncode != 0,
    reason="not a git checkout",
)


def change_json(file: Path, **changed: Any) -> None:
    file.write_text(json.dumps(json.loads(file.read_text()) | changed))


def change_config(run: Path, **changed: Any) -> None:
    config = yaml.safe_load((run / "config.yaml").read_text())
    (run / "config.yaml").write_text(yaml.safe_dump(config | changed))


@pytest.mark.slow
@pytest.mark.parametrize("experiment", sorted(path.stem for path in (CONFIG_DIR / "experiment").glob("*.yaml")))
def test_every_experiment_is_reproduced_bit_for_bit(
    experiment: str,
    train: Train,
    differences: Callable[[Path, Path], list[str]],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    run = train(*shortened(experiment)).directory
    assert reproduce(run, tmp_path / "again") is IDENTICAL
    output = capsys.readouterr().out
    assert "metrics, weights of best.ckpt and last.ckpt" in output
    assert "not identical" not in output
    assert not differences(run, tmp_path / "again")


def test_a_resumed_run_is_reproduced_in_one_go(
    train: Train, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = train(*shortened("mlp"), "scheduler=step", "scheduler.step_size=2").directory
    train(f"resume={run}", "trainer.max_epochs=5", directory=run)
    capsys.readouterr()
    assert reproduce(run, tmp_path / "again") is IDENTICAL
    output = capsys.readouterr().out
    assert output.count("resumed: ") == 1
    assert json.loads((tmp_path / "again" / "result.json").read_text())["epochs"] == 5
    assert yaml.safe_load((tmp_path / "again" / "config.yaml").read_text())["resume"] is None


def test_resuming_is_listed_as_a_possible_cause(
    train: Train, train_once: Train, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = train_once(*shortened("mlp")).directory
    train(f"resume={run}", "trainer.max_epochs=4", "trainer.gradient_clip_val=0.01", directory=run)
    with (run / "command.txt").open("a") as file:
        file.write("\x1b[31mred\n")
    capsys.readouterr()
    assert reproduce(run, tmp_path / "again") is DIFFERENT
    output = capsys.readouterr().out
    assert "\x1b" not in output
    causes = output.partition("possible causes:\n")[2]
    assert causes.count("resumed, possibly with other settings: ") == 2


def test_a_job_of_a_sweep_can_be_reproduced(train: Train, tmp_path: Path) -> None:
    run = train(*LINEAR, "sweep=lr", "optimizer.lr=0.01").directory
    assert reproduce(run, tmp_path / "again") is IDENTICAL


@pytest.mark.parametrize("threads", [1, 2])
def test_the_recorded_number_of_threads_is_used(threads: int, train_once: Train, tmp_path: Path) -> None:
    run = train_once(*LINEAR).directory
    change_json(run / "environment.json", torch_threads=threads)
    before = torch.get_num_threads()
    reproduce(run, tmp_path / "again")
    assert json.loads((tmp_path / "again" / "environment.json").read_text())["torch_threads"] == threads
    assert torch.get_num_threads() == before


def test_a_changed_seed_is_listed(train_once: Train, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = train_once(*LINEAR).directory
    change_config(run, seed=1)
    assert reproduce(run, tmp_path / "again") is DIFFERENT
    output = capsys.readouterr().out
    assert "config.yaml was edited: seed: 0 -> 1" in output
    assert "best.ckpt: model.net.weight differs by up to" in output
    assert "best val/loss: 0." in output


def test_changed_weights_are_listed(train: Train, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = train(*LINEAR).directory  # recorded now: its code version is compared
    path = run / "checkpoints" / "last.ckpt"
    saved = checkpoint_io.load_checkpoint(path)
    saved["state_dict"]["model.net.bias"] += 0.25
    checkpoint_io.save_checkpoint(saved, path)
    assert reproduce(run, tmp_path / "again") is DIFFERENT
    output = capsys.readouterr().out
    assert "last.ckpt: model.net.bias differs by up to 0.25" in output
    assert "best.ckpt:" not in output
    assert "possible causes:\n  no difference is recorded\n" in output


def test_a_changed_metric_is_listed_and_timings_are_not(
    train_once: Train, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, result = train_once(*LINEAR)
    metrics = result["metrics"]
    metrics["final"] |= {"val/mse": 7.0, "train/samples_per_second": 1.0}
    change_json(run / "result.json", metrics=metrics, seconds=1e9, train_seconds=1e9, samples_per_second=1)
    assert reproduce(run, tmp_path / "again") is DIFFERENT
    lines = capsys.readouterr().out.partition("not identical:\n")[2].splitlines()
    assert lines[0].startswith("  final val/mse: 7.0 -> ")
    assert lines[1] == "possible causes:"


def test_changed_code_is_listed(
    train_once: Train, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = train_once(*LINEAR).directory
    with (run / "code.diff").open("a") as diff:
        diff.write("untracked: mine.py\n")

    def disturb(self: Any, trainer: Any, pl_module: Any) -> None:
        with torch.no_grad():
            pl_module.model.net.bias.add_(1e-3)

    monkeypatch.setattr(LearningRateMonitor, "on_train_start", disturb)
    assert reproduce(run, tmp_path / "again") is DIFFERENT
    output = capsys.readouterr().out
    assert "not identical:\n  best.ckpt: model.net.weight differs by up to" in output
    _, _, causes = output.partition("possible causes:\n")
    assert causes.startswith("  code: ")
    assert "use --at-revision to run the recorded code" in output


def test_differing_versions_and_machine_are_listed_although_results_are_identical(
    train_once: Train, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = train_once(*LINEAR).directory
    environment = json.loads((run / "environment.json").read_text())
    then = environment["packages"] | {"torch": "1.0"}
    change_json(run / "environment.json", packages=then, gpus=["H200"], host="there")
    assert reproduce(run, tmp_path / "again") is IDENTICAL
    _, _, output = capsys.readouterr().out.partition("differences that did not change the results:\n")
    assert f"packages.torch: 1.0 -> {environment['packages']['torch']}" in output
    assert "gpus: ['H200'] -> " in output
    assert "host: there -> " in output


def test_differing_data_are_listed(train: Train, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = tmp_path / "mine.csv"
    rows = [f"{i},{3 * i}\n" for i in range(8)]
    table.write_text("size,Price\n" + "".join(rows))
    run = train(*HOUSES).directory
    assert reproduce(run, tmp_path / "again") is IDENTICAL
    table.write_text("size,Price\n" + "".join(reversed(rows)))
    assert reproduce(run, tmp_path / "once more") is DIFFERENT
    assert "data_crc32.train: " in capsys.readouterr().out


def test_missing_checksums_are_reported(
    train_once: Train, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, result = train_once(*LINEAR)
    del result["data_crc32"]
    (run / "result.json").write_text(json.dumps(result | {"steps": 1}))
    assert reproduce(run, tmp_path / "again") is DIFFERENT
    output = capsys.readouterr().out
    assert "steps: 1 -> " in output
    assert "the data may differ: the run recorded no checksums" in output
    assert "data_crc32" not in output


@pytest.mark.parametrize(
    ("result", "message"),
    [
        (
            {"status": "interrupted"},
            "has no result to compare: its status is interrupted; resume it first: .*resume=",
        ),
        (None, "has no result to compare: its status is interrupted; resume it first"),
        ({"status": "failed", "error": "no memory"}, "has no result to compare: its status is failed: no memory$"),
    ],
)
def test_an_unfinished_run_cannot_be_reproduced(
    result: dict[str, str] | None, message: str, train_once: Train, tmp_path: Path
) -> None:
    run = train_once(*LINEAR).directory
    (run / "result.json").unlink() if result is None else (run / "result.json").write_text(json.dumps(result))
    with pytest.raises(RunError, match=message) as error:
        reproduce(run, tmp_path / "again")
    assert "\n" not in str(error.value)
    assert not (tmp_path / "again").exists()


def test_an_existing_directory_is_refused(train_once: Train, tmp_path: Path) -> None:
    run = train_once(*LINEAR).directory
    before = sorted(run.rglob("*"))
    for existing in (run, run / "result.json"):
        with pytest.raises(RunError, match="already exists; choose another directory with --into"):
            reproduce(run, existing)
    assert sorted(run.rglob("*")) == before


@pytest.mark.parametrize("key", ["hydra", "defaults"])
def test_a_record_with_keys_of_hydra_is_refused(key: str, train_once: Train, tmp_path: Path) -> None:
    run = train_once(*LINEAR).directory
    change_config(run, **{key: ["model: mlp"]})
    with pytest.raises(RunError, match=f"is not the recorded configuration of a run: it has {key}"):
        reproduce(run, tmp_path / "again")


def test_a_record_with_a_target_that_is_not_allowed_is_refused(train_once: Train, tmp_path: Path) -> None:
    run = train_once(*LINEAR).directory
    change_config(run, model={"_target_": "os.system", "command": "true"})
    with pytest.raises(ConfigError, match=r"model._target_=os.system: not allowed"):
        reproduce(run, tmp_path / "again")


def test_a_missing_checkpoint_is_listed(
    train_once: Train, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = train_once(*LINEAR).directory
    (run / "checkpoints" / "best.ckpt").unlink()
    assert reproduce(run, tmp_path / "again") is DIFFERENT
    assert "best.ckpt: saved by only one of the runs" in capsys.readouterr().out


@pytest.mark.slow
def test_a_run_on_several_processes_is_reproduced_on_several(
    train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = train(*LINEAR, "data.num_train=64", "trainer.max_epochs=1").directory
    config = yaml.safe_load((run / "config.yaml").read_text())
    change_config(run, trainer=config["trainer"] | {"devices": 2, "strategy": "ddp"})
    monkeypatch.chdir(tmp_path)
    reproduce(run, tmp_path / "it's two")
    assert yaml.safe_load((tmp_path / "it's two" / "config.yaml").read_text())["trainer"]["devices"] == 2
    assert "MEMBER: 1/2" in (tmp_path / "it's two" / "train.log").read_text()
    one, two = (
        checkpoint_io.load_checkpoint(path / "checkpoints" / "last.ckpt") for path in (run, tmp_path / "it's two")
    )
    torch.testing.assert_close(one["state_dict"], two["state_dict"], rtol=0, atol=1e-5)


def test_external_loggers_are_skipped_and_need_not_be_installed(
    train_once: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run = train_once(*LINEAR).directory
    loggers = yaml.safe_load((run / "config.yaml").read_text())["logger"]
    change_config(
        run, logger=loggers | {"external": {"_target_": "dive.loggers.MLFlowLogger", "experiment": "dive"}}
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("dive.loggers.MLFlowLogger.requires", "no_such_package")
    assert reproduce(run, tmp_path / "again") is IDENTICAL
    assert yaml.safe_load((tmp_path / "again" / "config.yaml").read_text())["logger"] == loggers
    assert not (tmp_path / "mlruns").exists()
    output = capsys.readouterr().out
    assert "logger.external: skipped, since it logs to an external service\n" in output
    assert "configuration: logger.external" not in output


def test_data_may_be_relocated(train: Train, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = tmp_path / "mine.csv"
    table.write_text("size,Price\n" + "".join(f"{i},{3 * i}\n" for i in range(8)))
    run = train(*HOUSES).directory
    moved = table.rename(tmp_path / "moved.csv")
    assert reproduce(run, tmp_path / "again", data_at=moved) is IDENTICAL
    assert f"configuration: data.path: mine.csv -> {moved}" in capsys.readouterr().out


@pytest.fixture
def recorded_patch(tmp_path: Path) -> bytes:
    """A diff of a working tree against HEAD."""
    git = ["git", "-c", "advice.detachedHead=false"]
    subprocess.run([*git, "clone", "--quiet", "--shared", str(ROOT), str(tmp_path / "clone")], check=True)
    losses = tmp_path / "clone" / "src" / "dive" / "tasks" / "losses.py"
    losses.write_text(losses.read_text() + "\n# one more line, ä\n")
    return subprocess.run(
        ["git", "diff", "--binary", "HEAD"], cwd=tmp_path / "clone", capture_output=True, check=True
    ).stdout


@pytest.mark.slow
@requires_git_checkout
def test_at_revision_runs_the_recorded_code(
    recorded_patch: bytes, train_once: Train, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    run = train_once(*LINEAR).directory
    head = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True).stdout.strip()
    change_json(run / "environment.json", git_revision=head)
    (run / "code.diff").write_bytes(recorded_patch + b"untracked: mine.py\n")
    trees = subprocess.run(["git", "worktree", "list"], cwd=ROOT, capture_output=True).stdout
    reproduce(run, tmp_path / "again", at_revision=True)
    assert (tmp_path / "again" / "code.diff").read_bytes() == recorded_patch
    assert json.loads((tmp_path / "again" / "environment.json").read_text())["git_revision"] == head
    assert "not available (untracked files are not recorded): mine.py" in capfd.readouterr().out
    assert subprocess.run(["git", "worktree", "list"], cwd=ROOT, capture_output=True).stdout == trees
    weights = [
        checkpoint_io.load_checkpoint(path / "checkpoints" / "last.ckpt")["state_dict"]
        for path in (run, tmp_path / "again")
    ]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])


@requires_git_checkout
@pytest.mark.parametrize(
    ("revision", "diff", "message"),
    [
        (None, b"", "--at-revision: .*environment.json records no git revision"),
        ("--output=x", b"", "--at-revision: .*environment.json records no git revision"),
        ("0" * 40, b"", "^revision 0000000: fatal: "),
        ("HEAD", b"--- a/train.py\n+++ b/train.py\n@@ -1 +1 @@\n-nothing\n+all\n", "^code.diff does not apply: "),
    ],
)
def test_an_unavailable_revision_is_a_one_line_error(
    revision: str | None, diff: bytes, message: str, train_once: Train, tmp_path: Path
) -> None:
    run = train_once(*LINEAR).directory
    head = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True).stdout.strip()
    change_json(run / "environment.json", git_revision=head if revision == "HEAD" else revision)
    (run / "code.diff").write_bytes(diff)
    trees = subprocess.run(["git", "worktree", "list"], cwd=ROOT, capture_output=True).stdout
    with pytest.raises(RunError, match=message) as error:
        reproduce(run, tmp_path / "again", at_revision=True)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "again").exists()
    assert subprocess.run(["git", "worktree", "list"], cwd=ROOT, capture_output=True).stdout == trees
