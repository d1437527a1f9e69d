"""What callbacks show in TensorBoard, read back from the event files; and that training does not notice."""

import io
import json
import re
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from matplotlib.image import imread
from pytorch_lightning.utilities import rank_zero_only
from tensorboard.backend.event_processing.event_accumulator import HISTOGRAMS, EventAccumulator
from tensorboard.plugins.custom_scalar.layout_pb2 import Layout
from tensorboard.util.tensor_util import make_ndarray
from torch import Tensor, nn

from dive.callbacks import GradNormMonitor, PRCurves
from dive.callbacks.first_layer_weights import first_layer_weights
from dive.callbacks.grad_norm_monitor import total_norm
from dive.callbacks.histograms import add_histogram
from dive.config.groups import CONFIG_DIR
from dive.training import instantiate
from dive.visualization import plots
from dive.visualization.predictions import Predictions, predict

GARMENTS = ("data=garments", "data.num_train=96", "data.num_test=32", "data.val_size=48", "data.batch_size=16")
SOFTMAX = ("model=softmax_regression", *GARMENTS, "trainer.max_epochs=1", "callbacks=default")
LINEAR = ("model=linear_regression", "data.num_train=100", "data.num_val=50", "callbacks=default")
IMAGES = ("validation/samples", "validation/mistakes", "validation/confusion matrix", "first layer")


def shown(folder: Path) -> EventAccumulator:
    return EventAccumulator(str(folder), size_guidance={HISTOGRAMS: 0}).Reload()  # all of them, not the last


def tags(folder: Path) -> set[str]:
    """All that is shown but scalars."""
    told = shown(folder).Tags()
    names = {*told["images"], *told["histograms"], *told["tensors"], *(["graph"] if told["graph"] else [])}
    return {re.sub(r"^(weights|gradients|precision and recall)/.*", r"\1", name) for name in names}


def test_a_classification_of_images_shows_everything(fit: Callable[..., Any], tmp_path: Path) -> None:
    fit(*SOFTMAX)
    assert tags(tmp_path) == {
        *IMAGES, "weights", "gradients", "precision and recall", "graph", "custom_scalars__config__",
    }  # fmt: skip


@pytest.mark.parametrize("precision", ["64-true", "bf16-true", "16-true", "bf16-mixed"])
def test_a_model_of_another_precision_is_shown(precision: str, fit: Callable[..., Any], tmp_path: Path) -> None:
    fit(*SOFTMAX, f"trainer.precision={precision}")
    assert {*IMAGES, "weights", "gradients", "precision and recall", "graph"} <= tags(tmp_path)


@pytest.mark.parametrize("value", [0.0, 1.0, -7e13, 1e30, 3e38])
def test_a_histogram_of_numbers_that_are_all_the_same_has_all_of_them(value: float, tmp_path: Path) -> None:
    from torch.utils.tensorboard import SummaryWriter

    with SummaryWriter(str(tmp_path)) as writer:
        add_histogram(writer, "weights/x", torch.full((7,), value), 0)
    (drawn,) = shown(tmp_path).Histograms("weights/x")
    assert sum(drawn.histogram_value.bucket) == 7


def test_a_regression_shows_what_it_has(fit: Callable[..., Any], tmp_path: Path) -> None:
    fit(*LINEAR)
    assert tags(tmp_path) == {"weights", "gradients", "graph", "custom_scalars__config__"}
    assert sorted(shown(tmp_path).Tags()["histograms"]) == [
        "gradients/net.bias", "gradients/net.weight", "weights/net.bias", "weights/net.weight",
    ]  # fmt: skip


SHOWS = {
    "charts": {"custom_scalars__config__"},
    "model_graph": {"graph"},
    "histograms": {"weights", "gradients"},
    "samples": {"validation/samples"},
    "mistakes": {"validation/mistakes"},
    "confusion_matrix": {"validation/confusion matrix"},
    "pr_curves": {"precision and recall"},
    "first_layer": {"first layer"},
    "run_record": {f"run/{name}/text_summary" for name in ("config", "command", "environment")},
}


def test_each_of_them_is_switched_by_itself(train: Callable[..., Any]) -> None:
    configured = yaml.safe_load((CONFIG_DIR / "callbacks" / "base" / "inspection.yaml").read_text())
    assert SHOWS.keys() == configured.keys()
    for name, alone in SHOWS.items():
        others = [f"callbacks.{other}=null" for other in SHOWS if other != name]
        assert tags(train(*SOFTMAX, *others).directory) == alone


@pytest.mark.parametrize("model", ["mlp", "softmax_regression_scratch"])
def test_training_is_the_same_whether_anybody_looks_or_not(model: str, fit: Callable[..., Any]) -> None:
    dropout = ["model.dropout=0.5"] if model == "mlp" else []
    ends = []
    for callbacks in ("lean", "default"):
        often = ["callbacks.top_losses.every_n_epochs=1"] if callbacks == "default" else []
        fitted = fit(
            f"model={model}", *dropout, *GARMENTS, "trainer.max_epochs=3", f"callbacks={callbacks}", *often
        )
        ends.append({**fitted.task.state_dict(), "random": torch.get_rng_state()})
    assert all(torch.equal(ends[0][name], ends[1][name]) for name in ends[0])


class Noisy(nn.Module):
    """Draws random numbers in evaluation, too."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(784, 10)

    def forward(self, X: Tensor) -> Tensor:
        """Logits and noise."""
        return self.linear(X.flatten(1)) + torch.rand(10)


def test_random_numbers_that_showing_takes_are_given_back(fit: Callable[..., Any]) -> None:
    fitted = fit(*SOFTMAX)
    fitted.task.model = Noisy()
    before = torch.get_rng_state()
    for callback in fitted.trainer.callbacks:
        callback._shown_at = -1
        callback.on_train_end(fitted.trainer, fitted.task)
    assert torch.equal(torch.get_rng_state(), before)


def test_it_is_shown_every_so_many_epochs_and_at_the_end(fit: Callable[..., Any], tmp_path: Path) -> None:
    fit(*LINEAR, "trainer.max_epochs=5", "callbacks.histograms.every_n_epochs=2")
    assert [event.step for event in shown(tmp_path).Histograms("weights/net.weight")] == [7, 15, 19]


def test_the_last_epoch_is_shown_once(fit: Callable[..., Any], tmp_path: Path) -> None:
    fit(*LINEAR, "trainer.max_epochs=4", "callbacks.histograms.every_n_epochs=2")
    assert [event.step for event in shown(tmp_path).Histograms("weights/net.weight")] == [7, 15]


def test_pictures_are_those_of_the_last_weights(fit: Callable[..., Any], tmp_path: Path) -> None:
    fitted = fit(*SOFTMAX, "callbacks.sample_predictions.num_images=5", "callbacks.top_losses.num_images=3")
    data = fitted.trainer.datamodule
    said = predict(fitted.task, data.splits.val)
    expected = {
        "validation/samples": plots.plot_predictions(said, torch.arange(5), data.class_names),
        "validation/mistakes": plots.plot_predictions(said, said.most_confident_errors(3), data.class_names),
        "validation/confusion matrix": plots.plot_confusion_matrix(said.confusion(), data.class_names),
        "first layer": plots.plot_weights(fitted.task.model.net[1].weight.reshape(10, 28, 28), data.class_names),
    }
    events = shown(tmp_path)
    assert set(events.Tags()["images"]) == set(expected)
    for tag, figure in expected.items():
        (event,) = events.Images(tag)
        drawn = imread(io.BytesIO(event.encoded_image_string))
        assert np.array_equal((drawn * 255).round(), plots.figure_to_array(figure))


def test_precision_and_recall_of_a_class_at_each_threshold(fit: Callable[..., Any], tmp_path: Path) -> None:
    fitted = fit(*SOFTMAX)
    said = predict(fitted.task, fitted.trainer.datamodule.splits.val)
    (event,) = shown(tmp_path).Tensors("precision and recall/coat")
    *_, precision, recall = make_ndarray(event.tensor_proto)
    is_coat, probability = said.targets == 4, said.probabilities[:, 4]
    thresholds = torch.linspace(0, 1, len(precision))
    for i in (0, 20, 40):
        chosen = probability >= thresholds[i]
        assert recall[i] == pytest.approx(float((chosen & is_coat).sum() / is_coat.sum()), abs=1e-6)
        if chosen.any():
            assert precision[i] == pytest.approx(float((chosen & is_coat).sum() / chosen.sum()), abs=1e-6)


def test_of_many_classes_the_first_have_curves() -> None:
    told: list[str] = []
    writer: Any = SimpleNamespace(add_pr_curve=lambda name, *_: told.append(name))
    data: Any = SimpleNamespace(class_names=[str(i) for i in range(1000)])
    said = Predictions(torch.zeros(4, 1), torch.arange(4), torch.full((4, 1000), 1e-3))
    PRCurves().log_predictions(writer, said, data, 0)
    assert told == [f"precision and recall/{i}" for i in range(50)]


def test_another_fit_of_the_same_task_is_shown_anew(
    fit: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    said: list[Tensor] = []
    monkeypatch.setattr(PRCurves, "log_predictions", lambda _, __, one, *___: said.append(one.probabilities))
    fitted = fit(*SOFTMAX)
    instantiate.instantiate_trainer(fitted.settings, tmp_path).fit(fitted.task, fitted.trainer.datamodule)
    first, second = said
    assert not torch.equal(first, second)


def test_the_model_speaks_once_for_all_that_is_shown_of_it(
    fit: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []
    monkeypatch.setattr("dive.callbacks.prediction_images.predict", lambda *a: asked.append(a) or predict(*a))
    fit(
        *SOFTMAX,
        "trainer.max_epochs=2",
        "callbacks.sample_predictions.every_n_epochs=1",
        "callbacks.pr_curves.every_n_epochs=1",
    )
    assert len(asked) == 2  # epochs


def test_without_tensorboard_nothing_is_computed(fit: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dive.callbacks.prediction_images.predict", pytest.fail)
    monkeypatch.setattr("dive.callbacks.model_graph.copy", None)
    monkeypatch.setattr("dive.visualization.plots.figure_to_array", pytest.fail)
    fit(*SOFTMAX, "logger.tensorboard=null")


def test_processes_of_other_ranks_show_nothing(
    fit: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(rank_zero_only, "rank", 1)
    monkeypatch.setattr("dive.callbacks.prediction_images.predict", pytest.fail)
    fit(*SOFTMAX)
    assert not list(tmp_path.glob("events.*"))


def test_a_model_that_cannot_be_traced_is_told_and_trained(
    fit: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise RuntimeError("no such operator\nand a long list of what there is")

    monkeypatch.setattr("torch.jit.trace", refuse)
    fitted = fit(*SOFTMAX)
    assert fitted.trainer.global_step == 3
    assert "graph" not in tags(tmp_path)
    told = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert told == ["TensorBoard gets no graph of the model: no such operator"]


def test_a_compiled_model_is_shown_as_any_other(fit: Callable[..., Any], tmp_path: Path) -> None:
    fit(*SOFTMAX, "trainer.compile={backend:eager}")
    assert {"graph", *IMAGES} <= tags(tmp_path)


class Writer:
    """Keeps what it is handed."""

    def __init__(self) -> None:
        self.told: dict[str, Tensor] = {}

    def add_histogram(self, name: str, values: Tensor, step: int, bins: int) -> None:
        """Keep the values."""
        self.told[name] = values


def test_histograms_leave_out_what_is_no_number_and_take_huge_ones(tmp_path: Path) -> None:
    from torch.utils.tensorboard import SummaryWriter

    writer = Writer()
    add_histogram(writer, "some", torch.tensor([[1.0, torch.nan], [torch.inf, 2.0]]), 0)
    add_histogram(writer, "none", torch.tensor([torch.nan]), 0)
    assert {name: values.tolist() for name, values in writer.told.items()} == {"some": [1.0, 2.0]}
    with SummaryWriter(str(tmp_path)) as real:
        add_histogram(real, "huge", torch.tensor([1e30, -1e30]), 0)
    (event,) = shown(tmp_path).Histograms("huge")
    assert event.histogram_value.num == 2


def test_a_histogram_counts_every_weight(fit: Callable[..., Any], tmp_path: Path) -> None:
    fitted = fit(*SOFTMAX)
    (event,) = shown(tmp_path).Histograms("weights/net.1.weight")
    weights = fitted.task.model.net[1].weight
    assert event.histogram_value.num == weights.numel()
    assert event.histogram_value.max == pytest.approx(weights.max().item())
    assert event.histogram_value.sum == pytest.approx(weights.sum().item(), rel=1e-3, abs=1e-3)


def test_norms_are_those_of_all_weights_and_of_the_last_step_s_gradients(fit: Callable[..., Any]) -> None:
    fitted = fit("model=mlp", *GARMENTS, "trainer.max_epochs=2")
    parameters = list(fitted.task.model.parameters())
    logged = fitted.trainer.callback_metrics
    weights = nn.utils.get_total_norm(parameters)
    gradients = nn.utils.get_total_norm([parameter.grad for parameter in parameters])
    torch.testing.assert_close(logged["norm/weights"], weights.detach())
    torch.testing.assert_close(logged["norm/gradients"], gradients)


def test_gradients_are_as_the_optimizer_took_them(fit: Callable[..., Any]) -> None:
    clipped = fit("model=mlp", *GARMENTS, "trainer.max_epochs=1", "trainer.gradient_clip_val=0.001")
    assert clipped.trainer.callback_metrics["norm/gradients"] == pytest.approx(0.001, rel=1e-3)


def test_the_norm_of_gradients_that_are_gone_is_that_of_the_checkpoint() -> None:
    first, second = GradNormMonitor(), GradNormMonitor()
    model: Any = nn.Linear(3, 1)
    model.extra_metrics = {}
    trainer: Any = None
    first.on_train_start(trainer, model)
    assert first.state_dict() == {"gradients": None}
    model(torch.ones(2, 3)).sum().backward()
    state = first.state_dict()
    assert state["gradients"] == pytest.approx(
        total_norm(parameter.grad for parameter in model.parameters()).item()
    )
    model.zero_grad()
    second.on_train_start(trainer, model)
    second.load_state_dict(state)
    second.on_train_epoch_end(trainer, model)
    assert model.extra_metrics["norm/gradients"] == state["gradients"]


def test_a_norm_that_overflows_is_left_out_and_fails_no_run(train: Callable[..., Any]) -> None:
    words = ("model=mlp", "model.activation=tanh", "optimizer.lr=1e+30", "optimizer.momentum=0", *GARMENTS)
    run = train(*words, "trainer.max_epochs=1", "callbacks=default")
    assert run.result["status"] == "finished"
    assert run.result["metrics"]["final"]["val/loss"] > 1e25
    assert "norm/weights" not in run.result["metrics"]["final"]


@pytest.mark.parametrize("model", ["softmax_regression", "softmax_regression_scratch", "mlp", "mlp_scratch"])
def test_first_weights_are_found_a_row_a_unit(model: str, fit: Callable[..., Any]) -> None:
    task = fit(f"model={model}", *GARMENTS, "trainer.max_epochs=1").task
    weights = first_layer_weights(task.model, 784)
    assert weights is not None
    inputs = torch.rand(3, 784)
    first = {"softmax_regression": "net.1", "mlp": "net.1"}.get(model)
    if first:
        assert weights is task.model.get_submodule(first).weight
    else:
        matrix = next(parameter for parameter in task.model.parameters() if parameter.ndim == 2)
        torch.testing.assert_close(inputs @ weights.T, inputs @ matrix)


def test_a_model_without_weights_of_pixels_has_no_first_layer() -> None:
    assert first_layer_weights(nn.Conv2d(1, 3, 5), 784) is None


def test_the_record_of_a_run_is_shown_as_it_lies_in_its_directory(train: Callable[..., Any]) -> None:
    run = train(*LINEAR).directory
    events = shown(run)

    def text(name: str) -> str:
        (event,) = events.Tensors(f"run/{name}/text_summary")
        told: str = make_ndarray(event.tensor_proto)[0].decode()
        found = re.fullmatch(r"```(yaml|sh|json)\n(.*)\n```", told, flags=re.DOTALL)
        assert found
        return found[2]

    assert yaml.safe_load(text("config")) == yaml.safe_load((run / "config.yaml").read_text())
    assert text("command") == (run / "command.txt").read_text()
    assert json.loads(text("environment")) == json.loads((run / "environment.json").read_text())


def test_training_and_validation_are_on_one_chart_for_each_metric(fit: Callable[..., Any], tmp_path: Path) -> None:
    fit(*SOFTMAX)
    events = shown(tmp_path)
    (event,) = events.Tensors("custom_scalars__config__")
    layout = Layout.FromString(make_ndarray(event.tensor_proto).item())
    charts = {chart.title: list(chart.multiline.tag) for category in layout.category for chart in category.chart}
    assert list(charts) == ["loss", "acc", "learning rate", "norms"]
    scalars = events.Tags()["scalars"]
    matched = {title: {s for s in scalars if any(re.search(p, s) for p in tags)} for title, tags in charts.items()}
    assert matched == {
        "loss": {"train/loss", "val/loss"},
        "acc": {"train/acc", "val/acc"},
        "learning rate": {"lr"},
        "norms": {"norm/weights", "norm/gradients"},
    }


def test_a_run_that_goes_on_shows_its_graph_once(train: Callable[..., Any]) -> None:
    first = train(*SOFTMAX)
    train(f"resume={first.directory}", "trainer.max_epochs=2", directory=first.directory)
    files = sorted(first.directory.glob("events.*"))
    assert [bool(EventAccumulator(str(file)).Reload().Tags()["graph"]) for file in files] == [True, False]
