"""Loading a run from its directory and evaluating it: the recorded metrics are reproduced bit for bit."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from tests.short_runs import shortened, train_short

from dive.config.groups import CONFIG_DIR
from dive.errors import ConfigError, DataError, RunError
from dive.evaluation.evaluate import metric_deviations
from dive.evaluation.loaded_run import load_run
from dive.evaluation.rebuild import replace_data
from dive.runs.record import Config
from dive.visualization.predictions import predict_outputs

Train = Callable[..., Any]
# These experiments run only code that the others run, too.
SIMILAR = (
    *("linear_regression_scratch", "linear_regression_zero_init", "mlp_deeper"),
    *("softmax_regression", "weight_decay"),
)
HOUSES = ("experiment=house_tiny", "trainer=cpu", "data.path=mine.csv")


def read_config(run: Path) -> dict[str, Any]:
    return yaml.safe_load((run / "config.yaml").read_text())


@pytest.mark.parametrize(
    "experiment",
    [
        pytest.param(path.stem, marks=pytest.mark.slow) if path.stem in SIMILAR else path.stem
        for path in sorted((CONFIG_DIR / "experiment").glob("*.yaml"))
    ],
)
def test_the_metrics_of_every_experiment_are_reproduced_exactly(experiment: str, train_once: Train) -> None:
    run, result = train_once(*shortened(experiment))
    for checkpoint, row in (("best", "best"), ("last", "final")):
        loaded = load_run(run, checkpoint=checkpoint)
        assert not loaded.original_device
        for split in ("val", "test") if loaded.data.has_test else ("val",):
            recorded = {k: v for k, v in result["metrics"][row].items() if k.startswith(f"{split}/")}
            metrics = loaded.metrics(split)
            assert metrics.keys() == {f"{split}/{name}" for name in loaded.task.metrics}
            assert loaded.recorded(split) == recorded
            assert not metric_deviations(metrics, recorded)
            assert recorded or (split, checkpoint) == ("test", "last")


@pytest.mark.parametrize("threads", [1, 2])
def test_the_recorded_number_of_threads_is_used(
    threads: int, train_once: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = train_once(*shortened("mlp")).directory
    environment = json.loads((run / "environment.json").read_text())
    (run / "environment.json").write_text(json.dumps(environment | {"torch_threads": threads}))
    loaded = load_run(run)
    used: list[int] = []
    loaded.task.model.register_forward_hook(lambda *_: used.append(torch.get_num_threads()))
    before = torch.get_num_threads()
    loaded.metrics("test")
    with loaded.inference_mode() as task:
        task(loaded.examples("test").inputs[:2])
    assert set(used) == {threads}
    assert len(used) == 2
    assert torch.get_num_threads() == before


@pytest.mark.parametrize(
    "overrides",
    [
        ("trainer.precision=64-true",),
        ("trainer.precision=bf16-mixed",),
        ("trainer.compile={backend: eager}",),
        ("trainer.limit_test_batches=1", "trainer.limit_val_batches=1", "data.num_test=2000"),
        ("callbacks.best=null",),
        ("callbacks.best=null", "trainer.check_val_every_n_epoch=2"),
        (
            *("data.val_size=0", "optimizer._target_=torch.optim.RMSprop"),
            "scheduler={_target_: torch.optim.lr_scheduler.CosineAnnealingLR, _partial_: true, T_max: 3}",
        ),
    ],
    ids=str,
)
def test_the_metrics_of_other_settings_are_reproduced(overrides: tuple[str, ...], tmp_path: Path) -> None:
    loaded = load_run(train_short(tmp_path / "run", "mlp", *overrides))
    compiled = loaded.task.model._compiled_call_impl is not None
    assert compiled is ("trainer.compile={backend: eager}" in overrides)
    assert loaded.checkpoint == ("last" if "callbacks.best=null" in overrides else "best")
    for split in ("val", "test"):
        if recorded := loaded.recorded(split):
            assert not metric_deviations(loaded.metrics(split), recorded)
        else:
            assert (split, "val_every" in overrides[-1]) == ("val", True)
    with loaded.inference_mode() as task:
        examples = loaded.examples("test")
        correct = predict_outputs(task, examples.inputs).argmax(1) == examples.targets
    if "trainer.limit_test_batches=1" not in overrides:
        assert correct.float().mean() == pytest.approx(loaded.metrics("test")["test/acc"])


def test_the_last_checkpoint_of_a_resumed_run_has_its_final_metrics(train: Train, train_once: Train) -> None:
    run = train_once(*shortened("mlp")).directory
    resumed = train(f"resume={run}", "trainer.max_epochs=4", directory=run)
    loaded = load_run(run, checkpoint="last")
    assert loaded.recorded("val")["val/acc"] == resumed.result["metrics"]["final"]["val/acc"]
    assert not metric_deviations(loaded.metrics("val"), loaded.recorded("val"))


def test_other_data_are_resized_for_the_model_and_have_no_recorded_metrics(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = train_short(tmp_path / "run", "mlp", "data.resize=[14,14]")
    few = {"num_train": 8, "num_test": 40, "val_size": 4}

    def replace(config: Config, name: str) -> Config:
        return config | {"data": replace_data(config, name)["data"] | few}

    monkeypatch.setattr("dive.evaluation.loaded_run.replace_data", replace)
    other = load_run(run, "garments")
    assert len(other.examples("test")) == 40
    assert other.examples("test").inputs.shape[1:] == (1, 14, 14)
    assert other.recorded("test") == {}


def test_changed_weights_deviate_from_the_recorded_metrics(train_once: Train) -> None:
    run = train_once(*shortened("mlp")).directory
    loaded = load_run(run)
    with torch.no_grad():
        next(loaded.task.parameters()).add_(0.01)
    (deviation,) = [
        line for line in metric_deviations(loaded.metrics("test"), loaded.recorded("test")) if "loss" in line
    ]
    assert deviation.startswith("test/loss differs by 0.")


def test_metrics_are_compared_as_float32() -> None:
    assert not metric_deviations({"a": float(torch.tensor(0.1))}, {"a": 0.1})
    assert metric_deviations({"a": 0.1}, {"a": 0.10000001}) == ["a differs by 7.45e-09"]
    assert metric_deviations({"a": float("nan")}, {"a": 0.5}) == ["a differs by nan"]
    assert metric_deviations({}, {"a": 0.5}) == ["a is no longer computed"]
    assert not metric_deviations({"a": 0.5005}, {"a": 0.5}, tolerance=1e-3)


@pytest.mark.parametrize("devices", [2, [0, 1]])
def test_a_run_on_several_devices_is_evaluated_on_one(devices: Any, train_once: Train) -> None:
    run = train_once(*shortened("linear_regression")).directory
    config = read_config(run)
    config["trainer"] |= {"devices": devices, "strategy": "ddp"}
    (run / "config.yaml").write_text(yaml.safe_dump(config))
    loaded = load_run(run)
    assert loaded.original_device == f"on cpu, devices={devices}"
    assert loaded.trainer.world_size == 1


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_a_run_on_an_unavailable_device_can_be_evaluated_on_another(tmp_path: Path) -> None:
    run = train_short(tmp_path / "run", "linear_regression", "trainer.accelerator=auto")
    environment = json.loads((run / "environment.json").read_text())
    (run / "environment.json").write_text(json.dumps(environment | {"gpus": ["H200"]}))
    with pytest.raises(RunError, match=r"^trainer.accelerator=gpu: .* --accelerator cpu$"):
        load_run(run)
    loaded = load_run(run, accelerator="cpu")
    assert loaded.original_device == "on gpu, devices=1"
    assert not metric_deviations(loaded.metrics("val"), loaded.recorded("val"), tolerance=1e-3)


def damage(run: Path, kind: str) -> None:
    config = read_config(run)
    if kind == "no config":
        (run / "config.yaml").unlink()
    elif kind == "invalid yaml":
        (run / "config.yaml").write_text("a: [")
    elif kind == "another file":
        (run / "config.yaml").write_text("a: 1")
    elif kind == "binary":
        (run / "config.yaml").write_bytes(b"\xff\xfe\xff")
    elif kind == "code":
        (run / "config.yaml").write_text(yaml.safe_dump(config | {"model": {"_target_": "os.system"}}))
    elif kind == "code in an interpolation":  # which Hydra would resolve when it instantiates
        config["model"]["activation"] = "${oc.create:{_target_:torch.utils.collect_env.run,command:id}}"
        (run / "config.yaml").write_text(yaml.safe_dump(config))
    elif kind == "no checkpoint":
        for path in (run / "checkpoints").iterdir():
            path.unlink()
    elif kind == "no best":
        (run / "checkpoints" / "best.ckpt").unlink()
    elif kind == "corrupt best":
        (run / "checkpoints" / "best.ckpt").write_bytes(b"PK")
    elif kind == "another model":
        config["model"]["num_hiddens"] = [8]
        (run / "config.yaml").write_text(yaml.safe_dump(config))


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("no config", "not a run directory"),
        ("invalid yaml", "config.yaml is corrupt"),
        ("another file", "is not the recorded configuration of a run: it has no seed, monitor"),
        ("binary", "config.yaml is corrupt: it is not UTF-8 text"),
        ("code", "model._target_=os.system: not allowed"),
        ("code in an interpolation", r"^model.activation=.*: must not contain \$\{"),
        ("no checkpoint", "best.ckpt does not exist; the run has saved no checkpoint"),
        ("no best", "best.ckpt does not exist; choose --checkpoint last"),
        ("corrupt best", "best.ckpt is corrupt: .*; choose --checkpoint last"),
        ("another model", "does not fit the model of"),
    ],
)
def test_a_damaged_run_is_a_one_line_error(kind: str, message: str, train_once: Train) -> None:
    run = train_once(*shortened("mlp")).directory
    damage(run, kind)
    with pytest.raises((RunError, ConfigError), match=message) as error:
        load_run(run, checkpoint="best")
    assert "\n" not in str(error.value)


def test_packages_of_loggers_need_not_be_installed(train_once: Train, monkeypatch: pytest.MonkeyPatch) -> None:
    run = train_once(*shortened("mlp")).directory
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
def test_damaged_records_are_ignored(file: str, content: bytes, train_once: Train) -> None:
    run = train_once(*shortened("mlp")).directory
    (run / file).write_bytes(content)
    loaded = load_run(run)
    assert loaded.metrics("val")["val/loss"] > 0
    assert bool(loaded.recorded("test")) == (file != "result.json")
    assert bool(loaded.recorded("val")) == (file != "metrics.csv")


def test_missing_data_are_reported_by_their_key(train: Train, tmp_path: Path) -> None:
    table = tmp_path / "mine.csv"
    table.write_text("size,Price\n" + "".join(f"{i},{3 * i}\n" for i in range(8)))
    run = train(*HOUSES).directory
    moved = table.rename(tmp_path / "moved.csv")
    with pytest.raises(DataError, match=r"^data.path=mine.csv: there is no such file; .*: --data-at PATH$"):
        load_run(run)
    loaded = load_run(run, data_at=moved)
    assert loaded.recorded("val")
    assert not metric_deviations(loaded.metrics("val"), loaded.recorded("val"))


def test_changed_data_are_reported_if_the_weights_do_not_fit_them(train: Train, tmp_path: Path) -> None:
    table = tmp_path / "mine.csv"
    rows = "".join(f"{i},{'ab'[i % 2]},{3 * i}\n" for i in range(8))
    table.write_text(f"size,kind,Price\n{rows}")
    run = train(*HOUSES).directory
    table.write_text(f"size,kind,Price\n{rows.replace('a', 'c', 1)}8,d,1\n")
    with pytest.raises(RunError, match=r"; the train.* split of mine differs from the run's: "):
        load_run(run)


def test_generated_data_cannot_be_relocated(train_once: Train, tmp_path: Path) -> None:
    run = train_once(*shortened("linear_regression")).directory
    with pytest.raises(RunError, match=f"^--data-at {tmp_path}: this data set is not read from files"):
        load_run(run, data_at=tmp_path)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "synthetic_regression",
            "data=synthetic_regression: has 2 inputs and 1 outputs, but the model has 784 and 10",
        ),
        ("garment", "data=garment: unknown; did you mean 'garments'?"),
    ],
)
def test_other_data_must_fit_the_model(name: str, message: str, train_once: Train) -> None:
    run = train_once(*shortened("mlp")).directory
    with pytest.raises((RunError, ConfigError), match=message):
        load_run(run, name)


def test_a_path_that_is_not_a_run_is_described(tmp_path: Path) -> None:
    (tmp_path / "sweep").mkdir()
    (tmp_path / "sweep" / "sweep.json").write_text("{}")
    (tmp_path / "file").write_text("")
    tuner = train_short(tmp_path / "tuner", "linear_regression", "find_lr=true")
    for path, reason in (
        (tmp_path / "sweep", "is a sweep; pass the directory of one of its jobs"),
        (tmp_path / "file", "is a file; pass a run directory"),
        (tuner, r"is a tuner run \(find_lr=true\), which has no trained weights"),
    ):
        with pytest.raises(RunError, match=f"^{path}: {reason}$"):
            load_run(path)
