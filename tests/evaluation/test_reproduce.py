"""A run, run again: identical to the bit, or what differs is named."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from tests.short import FEW_IMAGES, shortened

from dive.callbacks import LearningRateMonitor
from dive.config.groups import CONFIG_DIR
from dive.errors import ConfigError, RunError
from dive.evaluation.reproduce import reproduce
from dive.runs import checkpoint_io

ROOT = Path(__file__).parents[2]
Train = Callable[..., Any]
SAME, OTHER = True, False
LINEAR = ("experiment=linear_regression", "trainer=cpu")

in_a_checkout = pytest.mark.skipif(
    subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True).returncode != 0,
    reason="these files are no git checkout",
)


def change(file: Path, **changed: Any) -> None:
    file.write_text(json.dumps(json.loads(file.read_text()) | changed))


def change_config(run: Path, **changed: Any) -> None:
    config = yaml.safe_load((run / "config.yaml").read_text())
    (run / "config.yaml").write_text(yaml.safe_dump(config | changed))


@pytest.mark.parametrize("experiment", sorted(path.stem for path in (CONFIG_DIR / "experiment").glob("*.yaml")))
def test_every_experiment_is_identical_when_it_is_run_again(
    experiment: str,
    train: Train,
    differences: Callable[[Path, Path], list[str]],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    run = train(*shortened(experiment)).directory
    assert reproduce(run, tmp_path / "again") is SAME
    said = capsys.readouterr().out
    assert "metrics, weights of best.ckpt and last.ckpt" in said
    assert "not identical" not in said
    assert not differences(run, tmp_path / "again")  # what the tests know of two runs, beside


def test_a_run_that_went_on_is_compared_as_a_whole(
    train: Train, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = train(*shortened("mlp"), "scheduler=cosine").directory
    train(f"resume={run}", "trainer.max_epochs=5", directory=run)
    capsys.readouterr()
    assert reproduce(run, tmp_path / "again") is SAME
    said = capsys.readouterr().out
    assert said.count("and then: ") == 1
    assert json.loads((tmp_path / "again" / "result.json").read_text())["epochs"] == 5
    assert yaml.safe_load((tmp_path / "again" / "config.yaml").read_text())["resume"] is None


def test_that_it_went_on_may_be_why_it_differs(
    train: Train, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = train(*shortened("mlp")).directory
    train(f"resume={run}", "trainer.max_epochs=4", "trainer.gradient_clip_val=0.01", directory=run)
    with (run / "command.txt").open("a") as file:
        file.write("\x1b[31mred\n")
    capsys.readouterr()
    assert reproduce(run, tmp_path / "again") is OTHER
    said = capsys.readouterr().out
    assert "\x1b" not in said
    assert (
        said.partition("how they came about:\n")[2].count("it was gone on with, perhaps with other settings: ")
        == 2
    )


def test_a_job_of_a_sweep_can_be_run_again(train: Train, tmp_path: Path) -> None:
    run = train(*LINEAR, "sweep=lr", "optimizer.lr=0.01").directory
    assert reproduce(run, tmp_path / "again") is SAME


@pytest.mark.parametrize("threads", [1, 2])
def test_it_runs_with_the_recorded_number_of_threads(threads: int, train: Train, tmp_path: Path) -> None:
    run = train(*LINEAR).directory
    change(run / "environment.json", torch_threads=threads)
    before = torch.get_num_threads()
    reproduce(run, tmp_path / "again")
    assert json.loads((tmp_path / "again" / "environment.json").read_text())["torch_threads"] == threads
    assert torch.get_num_threads() == before


def test_a_seed_that_was_changed_is_named(
    train: Train, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = train(*LINEAR).directory
    change_config(run, seed=1)
    assert reproduce(run, tmp_path / "again") is OTHER
    said = capsys.readouterr().out
    assert "config.yaml was changed since: seed: 0 -> 1" in said
    assert "best.ckpt: model.net.weight differs by up to" in said
    assert "best val/loss: 0." in said


def test_weights_that_were_changed_are_named(
    train: Train, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = train(*LINEAR).directory
    path = run / "checkpoints" / "last.ckpt"
    saved = checkpoint_io.load_checkpoint(path)
    saved["state_dict"]["model.net.bias"] += 0.25
    checkpoint_io.save_checkpoint(saved, path)
    assert reproduce(run, tmp_path / "again") is OTHER
    said = capsys.readouterr().out
    assert "last.ckpt: model.net.bias differs by up to 0.25" in said
    assert "best.ckpt:" not in said
    assert "what differs of how they came about:\n  nothing that is recorded\n" in said


def test_a_metric_that_was_changed_is_named_and_clocks_are_not(
    train: Train, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, result = train(*LINEAR)
    metrics = result["metrics"]
    metrics["final"] |= {"val/mse": 7.0, "train/samples_per_second": 1.0}
    change(run / "result.json", metrics=metrics, seconds=1e9, train_seconds=1e9, samples_per_second=1)
    assert reproduce(run, tmp_path / "again") is OTHER
    told = capsys.readouterr().out.partition("not identical:\n")[2].splitlines()
    assert told[0].startswith("  final val/mse: 7.0 -> ")
    assert told[1].startswith("what differs")


def test_code_of_a_callback_that_was_changed_is_named(
    train: Train, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = train(*LINEAR).directory
    with (run / "code.diff").open("a") as diff:
        diff.write("untracked: mine.py\n")

    def disturb(self: Any, trainer: Any, pl_module: Any) -> None:
        with torch.no_grad():
            pl_module.model.net.bias.add_(1e-3)

    monkeypatch.setattr(LearningRateMonitor, "on_train_start", disturb)
    assert reproduce(run, tmp_path / "again") is OTHER
    said = capsys.readouterr().out
    assert "not identical:\n  best.ckpt: model.net.weight differs by up to" in said
    _, _, why = said.partition("what differs of how they came about:\n")
    assert why.startswith("  code: ")
    assert "--at-revision runs that of then" in said


def test_versions_and_machine_that_differ_are_named_though_the_result_is_the_same(
    train: Train, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = train(*LINEAR).directory
    environment = json.loads((run / "environment.json").read_text())
    then = environment["packages"] | {"torch": "1.0"}
    change(run / "environment.json", packages=then, gpus=["H200"], host="there")
    assert reproduce(run, tmp_path / "again") is SAME
    _, _, said = capsys.readouterr().out.partition("although these differ:\n")
    assert f"packages.torch: 1.0 -> {environment['packages']['torch']}" in said
    assert "gpus: ['H200'] -> " in said
    assert "host: there -> " in said


def test_data_that_differ_are_named(train: Train, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = tmp_path / "mine.csv"
    rows = [f"{i},{3 * i}\n" for i in range(8)]
    table.write_text("size,Price\n" + "".join(rows))
    run = train("experiment=house_tiny", "trainer=cpu", f"data.path={table}").directory
    assert reproduce(run, tmp_path / "again") is SAME
    table.write_text("size,Price\n" + "".join(reversed(rows)))
    assert reproduce(run, tmp_path / "once more") is OTHER
    assert "data_crc32.train: " in capsys.readouterr().out


def test_where_data_were_not_recorded_that_is_said(
    train: Train, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, result = train(*LINEAR)
    del result["data_crc32"]
    (run / "result.json").write_text(json.dumps(result | {"steps": 1}))
    assert reproduce(run, tmp_path / "again") is OTHER
    said = capsys.readouterr().out
    assert "steps: 1 -> " in said
    assert "whether the data are the same was not recorded" in said
    assert "data_crc32" not in said


@pytest.mark.parametrize(
    ("result", "says"),
    [
        (
            {"status": "interrupted"},
            "was interrupted, and has no result to compare; go on with it first: .*resume=",
        ),
        (None, "was interrupted, and has no result to compare; go on with it first"),
        ({"status": "failed", "error": "no memory"}, "has failed, and there is nothing to compare: no memory$"),
    ],
)
def test_a_run_that_has_not_finished_cannot_be_compared(
    result: dict[str, str] | None, says: str, train: Train, tmp_path: Path
) -> None:
    run = train(*LINEAR).directory
    (run / "result.json").unlink() if result is None else (run / "result.json").write_text(json.dumps(result))
    with pytest.raises(RunError, match=says) as told:
        reproduce(run, tmp_path / "again")
    assert "\n" not in str(told.value)
    assert not (tmp_path / "again").exists()


def test_a_folder_that_is_taken_is_refused(train: Train, tmp_path: Path) -> None:
    run = train(*LINEAR).directory
    before = sorted(run.rglob("*"))
    for taken in (run, run / "result.json"):
        with pytest.raises(RunError, match="is there already; choose another folder with --into"):
            reproduce(run, taken)
    assert sorted(run.rglob("*")) == before


@pytest.mark.parametrize("key", ["hydra", "defaults"])
def test_a_record_on_which_hydra_would_act_is_refused(key: str, train: Train, tmp_path: Path) -> None:
    run = train(*LINEAR).directory
    change_config(run, **{key: ["model: mlp"]})
    with pytest.raises(RunError, match=f"is not the record of a run: it has {key}"):
        reproduce(run, tmp_path / "again")


def test_a_record_that_names_other_code_is_refused(train: Train, tmp_path: Path) -> None:
    run = train(*LINEAR).directory
    change_config(run, model={"_target_": "os.system", "command": "true"})
    with pytest.raises(ConfigError, match=r"model._target_=os.system: not allowed"):
        reproduce(run, tmp_path / "again")


def test_checkpoints_that_only_one_has_are_told(
    train: Train, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = train("model=mlp", *FEW_IMAGES).directory
    (run / "checkpoints" / "best.ckpt").unlink()
    assert reproduce(run, tmp_path / "again") is OTHER
    assert "best.ckpt: kept by one of them only" in capsys.readouterr().out


def test_several_processes_run_again_as_several(
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


def test_others_are_not_told_of_it_again_and_their_packages_need_not_be_there(
    train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run = train(*LINEAR).directory
    loggers = yaml.safe_load((run / "config.yaml").read_text())["logger"]
    change_config(
        run, logger=loggers | {"theirs": {"_target_": "dive.loggers.MLFlowLogger", "experiment": "dive"}}
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("dive.loggers.MLFlowLogger.requires", "no_such_package")
    assert reproduce(run, tmp_path / "again") is SAME
    assert yaml.safe_load((tmp_path / "again" / "config.yaml").read_text())["logger"] == loggers
    assert not (tmp_path / "mlruns").exists()
    said = capsys.readouterr().out
    assert "left out, as it would tell others of this run: logger.theirs\n" in said
    assert "configuration: logger.theirs" not in said


def test_data_may_be_elsewhere_by_now(train: Train, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = tmp_path / "mine.csv"
    table.write_text("size,Price\n" + "".join(f"{i},{3 * i}\n" for i in range(8)))
    run = train("experiment=house_tiny", "trainer=cpu", f"data.path={table}").directory
    moved = table.rename(tmp_path / "moved.csv")
    assert reproduce(run, tmp_path / "again", data_at=moved) is SAME
    assert f"configuration: data.path: {table} -> {moved}" in capsys.readouterr().out


@pytest.fixture
def recorded_patch(tmp_path: Path) -> bytes:
    """What a working tree may change against HEAD."""
    git = ["git", "-c", "advice.detachedHead=false"]
    subprocess.run([*git, "clone", "--quiet", "--shared", str(ROOT), str(tmp_path / "clone")], check=True)
    losses = tmp_path / "clone" / "src" / "dive" / "losses.py"
    losses.write_text(losses.read_text() + "\n# one more line, ä\n")
    return subprocess.run(
        ["git", "diff", "--binary", "HEAD"], cwd=tmp_path / "clone", capture_output=True, check=True
    ).stdout


@in_a_checkout
def test_at_its_revision_the_recorded_code_runs(
    recorded_patch: bytes, train: Train, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    run = train(*LINEAR).directory
    head = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True).stdout.strip()
    change(run / "environment.json", git_revision=head)
    (run / "code.diff").write_bytes(recorded_patch + b"untracked: mine.py\n")
    trees = subprocess.run(["git", "worktree", "list"], cwd=ROOT, capture_output=True).stdout
    reproduce(run, tmp_path / "again", at_revision=True)
    assert (tmp_path / "again" / "code.diff").read_bytes() == recorded_patch
    assert json.loads((tmp_path / "again" / "environment.json").read_text())["git_revision"] == head
    assert "since git did not know them: mine.py" in capfd.readouterr().out
    assert subprocess.run(["git", "worktree", "list"], cwd=ROOT, capture_output=True).stdout == trees
    weights = [
        checkpoint_io.load_checkpoint(path / "checkpoints" / "last.ckpt")["state_dict"]
        for path in (run, tmp_path / "again")
    ]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])


@in_a_checkout
@pytest.mark.parametrize(
    ("revision", "diff", "says"),
    [
        (None, b"", "--at-revision: .*environment.json tells no revision of the code"),
        ("0" * 40, b"", "^revision 0000000: fatal: "),
        ("HEAD", b"--- a/train.py\n+++ b/train.py\n@@ -1 +1 @@\n-nothing\n+all\n", "^code.diff does not apply: "),
    ],
)
def test_a_revision_that_cannot_be_had_is_told_in_a_line(
    revision: str | None, diff: bytes, says: str, train: Train, tmp_path: Path
) -> None:
    run = train(*LINEAR).directory
    change(run / "environment.json", git_revision=revision)
    (run / "code.diff").write_bytes(diff)
    trees = subprocess.run(["git", "worktree", "list"], cwd=ROOT, capture_output=True).stdout
    with pytest.raises(RunError, match=says) as told:
        reproduce(run, tmp_path / "again", at_revision=True)
    assert "\n" not in str(told.value)
    assert not (tmp_path / "again").exists()
    assert subprocess.run(["git", "worktree", "list"], cwd=ROOT, capture_output=True).stdout == trees
