"""A run, rebuilt from its record: the recorded metrics again, bit for bit."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from tests.short import FEW_IMAGES, shortened

from dive.config.compose import compose_resolved
from dive.config.groups import CONFIG_DIR
from dive.errors import ConfigError, DataError, RunError
from dive.evaluation.evaluate import metric_deviations
from dive.evaluation.loaded_run import load_run
from dive.visualization.predictions import predict_outputs

Train = Callable[..., Any]


def config_of(run: Path) -> dict[str, Any]:
    return yaml.safe_load((run / "config.yaml").read_text())


@pytest.mark.parametrize("experiment", sorted(path.stem for path in (CONFIG_DIR / "experiment").glob("*.yaml")))
def test_every_experiment_s_metrics_come_out_again_exactly(experiment: str, train: Train) -> None:
    run, result = train(*shortened(experiment))
    for checkpoint, row in (("best", "best"), ("last", "final")):
        again = load_run(run, checkpoint=checkpoint)
        assert not again.elsewhere
        for split in ("val", "test") if again.data.has_test else ("val",):
            recorded = {k: v for k, v in result["metrics"][row].items() if k.startswith(f"{split}/")}
            found = again.metrics(split)
            assert found.keys() == {f"{split}/{name}" for name in again.task.metrics}
            assert again.recorded(split) == recorded
            assert not metric_deviations(found, recorded)
            assert recorded or (split, checkpoint) == ("test", "last")


@pytest.mark.parametrize("threads", [1, 2])
def test_the_threads_are_those_of_the_run(threads: int, train: Train, monkeypatch: pytest.MonkeyPatch) -> None:
    run = train(*shortened("mlp")).directory
    environment = json.loads((run / "environment.json").read_text())
    (run / "environment.json").write_text(json.dumps(environment | {"torch_threads": threads}))
    again = load_run(run)
    seen: list[int] = []
    again.task.model.register_forward_hook(lambda *_: seen.append(torch.get_num_threads()))
    before = torch.get_num_threads()
    again.metrics("test")
    with again.inference_mode() as task:
        task(again.examples("test").inputs[:2])
    assert set(seen) == {threads}
    assert len(seen) == 2
    assert torch.get_num_threads() == before


@pytest.mark.parametrize(
    "words",
    [
        ("trainer.precision=64-true",),
        ("trainer.precision=bf16-mixed",),
        ("trainer.compile={backend: eager}",),
        ("+trainer.limit_test_batches=1", "trainer.limit_val_batches=1", "data.num_test=2000"),
        ("callbacks.best=null",),
        ("callbacks.best=null", "+trainer.check_val_every_n_epoch=2"),
        ("data.val_size=0", "optimizer=adamw", "scheduler=cosine"),
    ],
    ids=str,
)
def test_so_do_those_of_other_settings(words: tuple[str, ...], train: Train) -> None:
    run = train(*shortened("mlp"), *words).directory
    again = load_run(run)
    compiled = again.task.model._compiled_call_impl is not None
    assert compiled is ("trainer.compile={backend: eager}" in words)
    assert again.checkpoint == ("last" if "callbacks.best=null" in words else "best")
    for split in ("val", "test"):
        if recorded := again.recorded(split):
            assert not metric_deviations(again.metrics(split), recorded)
        else:
            assert (split, "val_every" in words[-1]) == ("val", True)
    with again.inference_mode() as task:
        examples = again.examples("test")
        right = predict_outputs(task, examples.inputs).argmax(1) == examples.targets
    if "+trainer.limit_test_batches=1" not in words:
        assert right.float().mean() == pytest.approx(again.metrics("test")["test/acc"])


def test_a_run_that_went_on_is_scored_as_it_ended(train: Train) -> None:
    run = train(*shortened("mlp")).directory
    longer = train(f"resume={run}", "trainer.max_epochs=4", directory=run)
    again = load_run(run, checkpoint="last")
    assert again.recorded("val")["val/acc"] == longer.result["metrics"]["final"]["val/acc"]
    assert not metric_deviations(again.metrics("val"), again.recorded("val"))


def test_other_data_are_of_the_model_s_size_and_nothing_of_them_is_recorded(train: Train) -> None:
    run = train(*shortened("mlp"), "data.resize=[14,14]").directory
    other = load_run(run, "garments")
    assert len(other.examples("test")) == compose_resolved("data=garments")["data"]["num_test"]
    assert other.examples("test").inputs.shape[1:] == (1, 14, 14)
    assert other.recorded("test") == {}


def test_weights_that_were_changed_do_not_score_as_recorded(train: Train) -> None:
    run = train(*shortened("mlp")).directory
    again = load_run(run)
    with torch.no_grad():
        next(again.task.parameters()).add_(0.01)
    (told,) = [line for line in metric_deviations(again.metrics("test"), again.recorded("test")) if "loss" in line]
    assert told.startswith("test/loss differs by 0.")


def test_metrics_are_compared_as_the_float32_that_they_are() -> None:
    assert not metric_deviations({"a": float(torch.tensor(0.1))}, {"a": 0.1})
    assert metric_deviations({"a": 0.1}, {"a": 0.10000001}) == ["a differs by 7.45e-09"]
    assert metric_deviations({"a": float("nan")}, {"a": 0.5}) == ["a differs by nan"]
    assert metric_deviations({}, {"a": 0.5}) == ["a is not measured any more"]
    assert not metric_deviations({"a": 0.5005}, {"a": 0.5}, allowed=1e-3)


@pytest.mark.parametrize("devices", [2, [0, 1]])
def test_a_run_on_several_devices_is_scored_on_one_and_says_so(devices: Any, train: Train) -> None:
    run = train(*shortened("linear_regression")).directory
    config = config_of(run)
    config["trainer"] |= {"devices": devices, "strategy": "ddp"}
    (run / "config.yaml").write_text(yaml.safe_dump(config))
    again = load_run(run)
    assert again.elsewhere == f"on cpu, devices={devices}"
    assert again.trainer.world_size == 1


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_a_run_on_a_device_that_is_not_here_can_be_scored_on_another(train: Train) -> None:
    run = train(*shortened("linear_regression"), "trainer=auto").directory
    environment = json.loads((run / "environment.json").read_text())
    (run / "environment.json").write_text(json.dumps(environment | {"gpus": ["H200"]}))
    with pytest.raises(RunError, match=r"^trainer.accelerator=gpu: .* --accelerator cpu$"):
        load_run(run)
    again = load_run(run, accelerator="cpu")
    assert again.elsewhere == "on gpu, devices=1"
    assert not metric_deviations(again.metrics("val"), again.recorded("val"), allowed=1e-3)


def broken(run: Path, how: str) -> None:
    config = config_of(run)
    if how == "nothing":
        (run / "config.yaml").unlink()
    elif how == "damaged":
        (run / "config.yaml").write_text("a: [")
    elif how == "another file":
        (run / "config.yaml").write_text("a: 1")
    elif how == "no text":
        (run / "config.yaml").write_bytes(b"\xff\xfe\xff")
    elif how == "code":
        (run / "config.yaml").write_text(yaml.safe_dump(config | {"model": {"_target_": "os.system"}}))
    elif how == "code, later":  # what Hydra would resolve when it builds
        config["model"]["activation"] = "${oc.create:{_target_:torch.utils.collect_env.run,command:id}}"
        (run / "config.yaml").write_text(yaml.safe_dump(config))
    elif how == "no checkpoint":
        for path in (run / "checkpoints").iterdir():
            path.unlink()
    elif how == "no best":
        (run / "checkpoints" / "best.ckpt").unlink()
    elif how == "damaged best":
        (run / "checkpoints" / "best.ckpt").write_bytes(b"PK")
    elif how == "another model":
        config["model"]["num_hiddens"] = [8]
        (run / "config.yaml").write_text(yaml.safe_dump(config))


@pytest.mark.parametrize(
    ("how", "says"),
    [
        ("nothing", "not a run directory"),
        ("damaged", "config.yaml is corrupt"),
        ("another file", "is not the record of a run: it has no seed, monitor"),
        ("no text", "config.yaml cannot be read"),
        ("code", "model._target_=os.system: not allowed"),
        ("code, later", r"^model.activation=.*: must not contain \$\{"),
        ("no checkpoint", "best.ckpt does not exist, nor does another"),
        ("no best", "best.ckpt does not exist; choose --checkpoint last"),
        ("damaged best", "best.ckpt is corrupt: .*; choose --checkpoint last"),
        ("another model", "does not fit the model of"),
    ],
)
def test_what_cannot_be_rebuilt_is_told_in_a_line(how: str, says: str, train: Train) -> None:
    run = train(*shortened("mlp")).directory
    broken(run, how)
    with pytest.raises((RunError, ConfigError), match=says) as told:
        load_run(run, checkpoint="best")
    assert "\n" not in str(told.value)


def test_what_is_not_built_again_need_not_be_installed(train: Train, monkeypatch: pytest.MonkeyPatch) -> None:
    run = train(*shortened("mlp")).directory
    monkeypatch.setattr("dive.loggers.TensorBoardLogger.requires", "no_such_package", raising=False)
    assert not metric_deviations(load_run(run).metrics("test"), load_run(run).recorded("test"))


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("result.json", b"{}"),
        ("result.json", b"\xff\xfe"),
        ("result.json", b'{"status": "finished", "metrics": null}'),
        ("result.json", b'{"status": "finished", "metrics": {"best": 1}}'),
        ("environment.json", b"\xff\xfe"),
        ("environment.json", b'{"torch_threads": true}'),
        ("metrics.csv", b"step,val/loss\n1,much\n"),
        ("metrics.csv", b"val/loss\n1\n"),
    ],
)
def test_damaged_records_are_taken_for_none(file: str, content: bytes, train: Train) -> None:
    run = train(*shortened("mlp")).directory
    (run / file).write_bytes(content)
    again = load_run(run)
    assert again.metrics("val")["val/loss"] > 0
    assert bool(again.recorded("test")) == (file != "result.json")
    assert bool(again.recorded("val")) == (file != "metrics.csv")


def test_data_that_are_gone_are_named_by_their_key(train: Train, tmp_path: Path) -> None:
    table = tmp_path / "mine.csv"
    table.write_text("size,Price\n" + "".join(f"{i},{3 * i}\n" for i in range(8)))
    run = train("experiment=house_tiny", "trainer=cpu", f"data.path={table}").directory
    moved = table.rename(tmp_path / "moved.csv")
    with pytest.raises(DataError, match=f"^data.path={table}: there is no such file; .*: --data-at PATH$"):
        load_run(run)
    again = load_run(run, data_at=moved)
    assert again.recorded("val")
    assert not metric_deviations(again.metrics("val"), again.recorded("val"))


def test_data_that_changed_are_named_where_the_weights_do_not_fit_them(train: Train, tmp_path: Path) -> None:
    table = tmp_path / "mine.csv"
    rows = "".join(f"{i},{'ab'[i % 2]},{3 * i}\n" for i in range(8))
    table.write_text(f"size,kind,Price\n{rows}")
    run = train("experiment=house_tiny", "trainer=cpu", f"data.path={table}").directory
    table.write_text(f"size,kind,Price\n{rows.replace('a', 'c', 1)}8,d,1\n")
    with pytest.raises(RunError, match=r"; the train.* split of mine is not the one of the run: "):
        load_run(run)


def test_data_that_are_drawn_are_nowhere_else(train: Train, tmp_path: Path) -> None:
    run = train("model=linear_regression", "trainer=cpu").directory
    with pytest.raises(RunError, match=f"^--data-at {tmp_path}: these data are not read from anywhere"):
        load_run(run, data_at=tmp_path)


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("synthetic_regression", "data=synthetic_regression: has 2 inputs and 1 outputs, the model 784 and 10"),
        ("garment", "data=garment: unknown; did you mean 'garments'?"),
    ],
)
def test_other_data_must_fit(name: str, says: str, train: Train) -> None:
    run = train("model=mlp", *FEW_IMAGES).directory
    with pytest.raises((RunError, ConfigError), match=says):
        load_run(run, name)


def test_what_is_no_run_is_told_for_what_it_is(train: Train, tmp_path: Path) -> None:
    (tmp_path / "sweep").mkdir()
    (tmp_path / "sweep" / "sweep.json").write_text("{}")
    (tmp_path / "file").write_text("")
    search = train("model=linear_regression", "trainer=cpu", "find_lr=true").directory
    for path, why in (
        (tmp_path / "sweep", "is a sweep; pass the directory of one of its jobs"),
        (tmp_path / "file", "is a file; pass a run directory"),
        (search, r"is a search \(find_lr=true\), and has trained nothing"),
    ):
        with pytest.raises(RunError, match=f"^{path}: {why}$"):
            load_run(path)
