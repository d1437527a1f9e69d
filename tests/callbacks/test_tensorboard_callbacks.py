"""What callbacks log to TensorBoard, read back from the event files; training is not affected."""

import io
import json
import re
import warnings
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import Mock

import numpy as np
import pytest
import torch
import yaml
from matplotlib.image import imread
from pytorch_lightning.utilities import rank_zero_only
from tensorboard.backend.event_processing.event_accumulator import HISTOGRAMS, EventAccumulator
from tensorboard.plugins.custom_scalar.layout_pb2 import Layout
from tensorboard.util.tensor_util import make_ndarray
from tests.short_runs import Fitted, configure, fit_config, train_config
from torch import Tensor, nn

import dive
from dive import models
from dive.callbacks import GradNormMonitor, PRCurves
from dive.callbacks.first_layer_weights import first_layer_weights
from dive.callbacks.histograms import add_histogram
from dive.config.groups import CONFIG_DIR
from dive.lazy.private_api import total_norm
from dive.training import instantiate
from dive.visualization import plots
from dive.visualization.predictions import Predictions, predict

GARMENTS = ("data=garments", "data.num_train=96", "data.num_test=32", "data.val_size=48", "data.batch_size=16")
DEFAULT = (
    *("trainer=cpu", "trainer.max_epochs=1", "callbacks=default"),
    *("callbacks.sample_predictions.num_images=5", "callbacks.top_losses.num_images=3"),
)
SOFTMAX = ("model=softmax_regression", *GARMENTS, *DEFAULT)
MLP = ("model=mlp", *GARMENTS, *DEFAULT)
LINEAR = ("model=linear_regression", "data.num_train=100", "data.num_val=50", *DEFAULT)
IMAGES = ("validation/sample predictions", "validation/top losses", "validation/confusion matrix", "first layer")


def fit(folder: Path, overrides: tuple[str, ...], *changes: str) -> Fitted:
    """Fit with changed keys, without recording a run."""
    return fit_config(configure(overrides, *changes), folder)


@pytest.fixture(scope="module")
def logged(tmp_path_factory: pytest.TempPathFactory) -> Fitted:
    """A softmax regression fitted with all callbacks; tests only read it and its events."""
    return fit(tmp_path_factory.mktemp("logged"), SOFTMAX, "logger.history=null")


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Log one pixel in place of each figure, since drawing takes longer than a short run."""
    monkeypatch.setattr(plots, "figure_to_array", lambda _: np.zeros((1, 1, 3), np.uint8))


def load_events(folder: str | Path) -> EventAccumulator:
    return EventAccumulator(
        str(folder), size_guidance={HISTOGRAMS: 0}
    ).Reload()  # all histograms, not just the last


def tags(folder: str | Path) -> set[str]:
    """All tags except those of scalars."""
    found = load_events(folder).Tags()
    names = {*found["images"], *found["histograms"], *found["tensors"], *(["graph"] if found["graph"] else [])}
    return {re.sub(r"^(weights|gradients|precision and recall)/.*", r"\1", name) for name in names}


def test_image_classification_logs_everything(logged: Fitted) -> None:
    assert tags(logged.trainer.default_root_dir) == {
        *IMAGES, "weights", "gradients", "precision and recall", "graph", "custom_scalars__config__",
    }  # fmt: skip


@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize("precision", ["64-true", "bf16-true", "16-true", "bf16-mixed"])
def test_models_in_any_precision_are_logged(precision: str, tmp_path: Path) -> None:
    fit(tmp_path, SOFTMAX, f"trainer.precision={precision}")
    assert {*IMAGES, "weights", "gradients", "precision and recall", "graph"} <= tags(tmp_path)


@pytest.mark.parametrize("value", [0.0, 1.0, -7e13, 1e30, 3e38])
def test_histogram_of_equal_values_counts_all_of_them(value: float, tmp_path: Path) -> None:
    from torch.utils.tensorboard import SummaryWriter

    with SummaryWriter(str(tmp_path)) as writer:
        add_histogram(writer, "weights/x", torch.full((7,), value), 0)
    (event,) = load_events(tmp_path).Histograms("weights/x")
    assert sum(event.histogram_value.bucket) == 7


def test_regression_logs_weights_gradients_and_graph(tmp_path: Path) -> None:
    fit(tmp_path, LINEAR)
    assert tags(tmp_path) == {"weights", "gradients", "graph", "custom_scalars__config__"}
    assert sorted(load_events(tmp_path).Tags()["histograms"]) == [
        "gradients/net.bias", "gradients/net.weight", "weights/net.bias", "weights/net.weight",
    ]  # fmt: skip


TAGS = {
    "custom_scalars": {"custom_scalars__config__"},
    "model_graph": {"graph"},
    "histograms": {"weights", "gradients"},
    "sample_predictions": {"validation/sample predictions"},
    "top_losses": {"validation/top losses"},
    "confusion_matrix": {"validation/confusion matrix"},
    "pr_curves": {"precision and recall"},
    "first_layer_weights": {"first layer"},
    "run_metadata": {f"run/{name}/text_summary" for name in ("config", "command", "environment")},
}


def only(*names: str) -> list[str]:
    """Changes that disable all other callbacks which log to TensorBoard."""
    return [f"callbacks.{name}=null" for name in TAGS if name not in names]


@pytest.mark.usefixtures("undrawn")
def test_each_callback_can_be_disabled(tmp_path: Path) -> None:
    configured = yaml.safe_load((CONFIG_DIR / "callbacks" / "base" / "tensorboard.yaml").read_text())
    assert TAGS.keys() == configured.keys()
    for name, expected in TAGS.items():
        (tmp_path / name).mkdir()
        for file in ("config.yaml", "command.txt", "environment.json"):
            (tmp_path / name / file).touch()
        fit(tmp_path / name, SOFTMAX, *only(name))
        assert tags(tmp_path / name) == expected


@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize(
    ("overrides", "changes"),
    [(MLP, ("model.dropout=0.5",)), (("model=softmax_regression_scratch", *MLP[1:]), ())],
    ids=["mlp", "softmax_regression_scratch"],
)
def test_logging_does_not_change_training(
    overrides: tuple[str, ...], changes: tuple[str, ...], tmp_path: Path
) -> None:
    states = []
    for callbacks in (only(), ("callbacks.top_losses.every_n_epochs=1",)):
        fitted = fit(tmp_path, overrides, *changes, *callbacks, "trainer.max_epochs=2")
        states.append({**fitted.task.state_dict(), "random": torch.get_rng_state()})
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])


class RandomOutputs(nn.Module):
    """Draws random numbers in evaluation mode, too."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(784, 10)

    def forward(self, X: Tensor) -> Tensor:
        """Compute logits with noise."""
        return self.linear(X.flatten(1)) + torch.rand(10)


@pytest.mark.usefixtures("undrawn")
def test_random_state_is_restored_after_logging(tmp_path: Path) -> None:
    fitted = fit(tmp_path, SOFTMAX)
    fitted.task.model = RandomOutputs()
    before = torch.get_rng_state()
    for callback in fitted.trainer.callbacks:
        callback._logged_at = -1
        callback.on_train_end(fitted.trainer, fitted.task)
    assert torch.equal(torch.get_rng_state(), before)


def test_histograms_are_logged_every_n_epochs_and_at_the_end(tmp_path: Path) -> None:
    fit(tmp_path, LINEAR, "trainer.max_epochs=5", "callbacks.histograms.every_n_epochs=2")
    assert [event.step for event in load_events(tmp_path).Histograms("weights/net.weight")] == [7, 15, 19]


def test_last_epoch_is_logged_once(tmp_path: Path) -> None:
    fit(tmp_path, LINEAR, "trainer.max_epochs=4", "callbacks.histograms.every_n_epochs=2")
    assert [event.step for event in load_events(tmp_path).Histograms("weights/net.weight")] == [7, 15]


def test_images_show_the_final_weights(logged: Fitted) -> None:
    data = logged.trainer.datamodule
    predictions = predict(logged.task, data.splits.val)
    expected = {
        "validation/sample predictions": plots.plot_predictions(predictions, torch.arange(5), data.class_names),
        "validation/top losses": plots.plot_predictions(
            predictions, predictions.most_confident_errors(3), data.class_names
        ),
        "validation/confusion matrix": plots.plot_confusion_matrix(
            predictions.confusion_matrix(), data.class_names
        ),
        "first layer": plots.plot_weights(logged.task.model.net[1].weight.reshape(10, 28, 28), data.class_names),
    }
    events = load_events(logged.trainer.default_root_dir)
    assert set(events.Tags()["images"]) == set(expected)
    for tag, figure in expected.items():
        (event,) = events.Images(tag)
        image = imread(io.BytesIO(event.encoded_image_string))
        assert np.array_equal((image * 255).round(), plots.figure_to_array(figure))


def test_pr_curve_has_precision_and_recall_at_each_threshold(logged: Fitted) -> None:
    predictions = predict(logged.task, logged.trainer.datamodule.splits.val)
    (event,) = load_events(logged.trainer.default_root_dir).Tensors("precision and recall/coat")
    *_, precision, recall = make_ndarray(event.tensor_proto)
    is_coat, probability = predictions.targets == 4, predictions.probabilities[:, 4]
    thresholds = torch.linspace(0, 1, len(precision))
    for i in (0, 20, 40):
        positive = probability >= thresholds[i]
        assert recall[i] == pytest.approx(float((positive & is_coat).sum() / is_coat.sum()), abs=1e-6)
        if positive.any():
            assert precision[i] == pytest.approx(float((positive & is_coat).sum() / positive.sum()), abs=1e-6)


def test_pr_curves_are_limited_to_the_first_classes() -> None:
    tags: list[str] = []
    writer: Any = SimpleNamespace(add_pr_curve=lambda tag, *_: tags.append(tag))
    data: Any = SimpleNamespace(class_names=[str(i) for i in range(1000)])
    predictions = Predictions(torch.zeros(4, 1), torch.arange(4), torch.full((4, 1000), 1e-3))
    PRCurves().log_predictions(writer, predictions, data, 0)
    assert tags == [f"precision and recall/{i}" for i in range(50)]


def test_second_fit_of_the_same_task_logs_new_predictions(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    logged: list[Tensor] = []
    monkeypatch.setattr(PRCurves, "log_predictions", lambda _, __, p, *___: logged.append(p.probabilities))
    fitted = fit(tmp_path, SOFTMAX, *only("pr_curves"))
    config = configure(SOFTMAX, *only("pr_curves"))
    instantiate.instantiate_trainer(config, tmp_path).fit(fitted.task, fitted.trainer.datamodule)
    first, second = logged
    assert not torch.equal(first, second)


@pytest.mark.usefixtures("undrawn")
def test_callbacks_share_one_prediction_pass_per_epoch(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    calls = Mock(side_effect=predict)
    monkeypatch.setattr("dive.callbacks.prediction_images.predict", calls)
    fit(
        tmp_path,
        SOFTMAX,
        "trainer.max_epochs=2",
        "callbacks.sample_predictions.every_n_epochs=1",
        "callbacks.pr_curves.every_n_epochs=1",
    )
    assert calls.call_count == 2  # epochs


def test_without_tensorboard_nothing_is_computed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("dive.callbacks.prediction_images.predict", pytest.fail)
    monkeypatch.setattr("dive.callbacks.model_graph.copy", None)
    monkeypatch.setattr("dive.visualization.plots.figure_to_array", pytest.fail)
    fit(tmp_path, SOFTMAX, "logger.tensorboard=null")


def test_other_ranks_log_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(rank_zero_only, "rank", 1)
    monkeypatch.setattr("dive.callbacks.prediction_images.predict", pytest.fail)
    fit(tmp_path, SOFTMAX)
    assert not list(tmp_path.glob("events.*"))


@pytest.mark.usefixtures("undrawn")
def test_model_that_cannot_be_traced_is_trained_with_a_warning(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise RuntimeError("no such operator\nwith a long explanation")

    monkeypatch.setattr("torch.jit.trace", fail)
    fitted = fit(tmp_path, SOFTMAX)
    assert fitted.trainer.global_step == 3
    assert "graph" not in tags(tmp_path)
    warned = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert warned == ["the model graph is not logged to TensorBoard because tracing failed: no such operator"]


@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize("category", [DeprecationWarning, FutureWarning])  # of torch 2.11; of later releases
def test_graph_is_logged_although_tracing_is_deprecated(
    category: type[Warning], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def trace(*args: Any, **settings: Any) -> Any:
        warnings.warn("`torch.jit.trace` is deprecated. Please switch to `torch.compile`", category, stacklevel=2)
        return original(*args, **settings)

    original = torch.jit.trace
    monkeypatch.setattr("torch.jit.trace", trace)
    fit(tmp_path, SOFTMAX)
    assert "graph" in tags(tmp_path)


@pytest.mark.usefixtures("undrawn")
def test_compiled_model_is_logged_like_any_other(tmp_path: Path) -> None:
    fit(tmp_path, SOFTMAX, "trainer.compile={backend: eager}")
    assert {"graph", *IMAGES} <= tags(tmp_path)


class RecordingWriter:
    """Records histograms."""

    def __init__(self) -> None:
        self.histograms: dict[str, Tensor] = {}

    def add_histogram(self, name: str, values: Tensor, step: int, bins: int) -> None:
        """Record the values."""
        self.histograms[name] = values


def test_histograms_omit_non_finite_values_and_accept_huge_ones(tmp_path: Path) -> None:
    from torch.utils.tensorboard import SummaryWriter

    writer = RecordingWriter()
    add_histogram(writer, "some", torch.tensor([[1.0, torch.nan], [torch.inf, 2.0]]), 0)
    add_histogram(writer, "none", torch.tensor([torch.nan]), 0)
    assert {name: values.tolist() for name, values in writer.histograms.items()} == {"some": [1.0, 2.0]}
    with SummaryWriter(str(tmp_path)) as real:
        add_histogram(real, "huge", torch.tensor([1e30, -1e30]), 0)
    (event,) = load_events(tmp_path).Histograms("huge")
    assert event.histogram_value.num == 2


def test_histogram_counts_every_weight(logged: Fitted) -> None:
    (event,) = load_events(logged.trainer.default_root_dir).Histograms("weights/net.1.weight")
    weights = logged.task.model.net[1].weight
    assert event.histogram_value.num == weights.numel()
    assert event.histogram_value.max == pytest.approx(weights.max().item())
    assert event.histogram_value.sum == pytest.approx(weights.sum().item(), rel=1e-3, abs=1e-3)


def test_norms_are_over_all_weights_and_the_gradients_of_the_last_step(tmp_path: Path) -> None:
    fitted = fit(tmp_path, MLP, *only(), "trainer.max_epochs=2")
    parameters = list(fitted.task.model.parameters())
    logged = fitted.trainer.callback_metrics
    weights = nn.utils.get_total_norm(parameters)
    gradients = nn.utils.get_total_norm([parameter.grad for parameter in parameters])
    torch.testing.assert_close(logged["norm/weights"], weights.detach())
    torch.testing.assert_close(logged["norm/gradients"], gradients)


def test_gradient_norm_is_after_clipping(tmp_path: Path) -> None:
    clipped = fit(tmp_path, MLP, *only(), "trainer.gradient_clip_val=0.001")
    assert clipped.trainer.callback_metrics["norm/gradients"] == pytest.approx(0.001, rel=1e-3)


def test_gradient_norm_is_restored_from_the_checkpoint() -> None:
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


def test_norm_that_overflows_is_omitted(tmp_path: Path) -> None:
    changes = ("model.num_hiddens=[16]", "model.activation=tanh", "optimizer.lr=1e+30", "optimizer.momentum=0")
    run = train_config(configure(MLP, *changes), tmp_path / "run")
    result = json.loads((run / "result.json").read_text())
    assert result["status"] == "finished"
    assert result["metrics"]["final"]["val/loss"] > 1e25
    assert "norm/weights" not in result["metrics"]["final"]


@pytest.mark.parametrize(
    "model", [models.SoftmaxRegression, models.SoftmaxRegressionScratch, models.MLP, models.MLPScratch]
)
def test_first_layer_weights_have_one_row_per_unit(model: Callable[..., nn.Module]) -> None:
    layers = model(num_inputs=784, num_outputs=10)
    weights = first_layer_weights(layers, 784)
    assert weights is not None
    inputs = torch.rand(3, 784)
    if model in (models.SoftmaxRegression, models.MLP):
        assert weights is layers.get_submodule("net.1").weight
    else:
        matrix = next(parameter for parameter in layers.parameters() if parameter.ndim == 2)
        torch.testing.assert_close(inputs @ weights.T, inputs @ matrix)


def test_convolution_has_no_first_layer_weights() -> None:
    assert first_layer_weights(nn.Conv2d(1, 3, 5), 784) is None


def test_run_metadata_equals_the_files_in_the_run_directory(tmp_path: Path) -> None:
    run = train_config(configure(LINEAR), tmp_path / "run")
    events = load_events(run)

    def text(name: str) -> str:
        (event,) = events.Tensors(f"run/{name}/text_summary")
        markdown: str = make_ndarray(event.tensor_proto)[0].decode()
        found = re.fullmatch(r"```(yaml|sh|json)\n(.*)\n```", markdown, flags=re.DOTALL)
        assert found
        return found[2]

    assert yaml.safe_load(text("config")) == yaml.safe_load((run / "config.yaml").read_text())
    assert text("command") == (run / "command.txt").read_text()
    assert json.loads(text("environment")) == json.loads((run / "environment.json").read_text())


def test_each_metric_has_one_chart_of_training_and_validation(logged: Fitted) -> None:
    events = load_events(logged.trainer.default_root_dir)
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


def test_resumed_run_does_not_log_the_graph_again(tmp_path: Path) -> None:
    run = train_config(configure(SOFTMAX, *only("model_graph")), tmp_path / "run")
    dive.train([f"resume={run}", "trainer.max_epochs=2"])
    files = sorted(run.glob("events.*"))
    assert [bool(EventAccumulator(str(file)).Reload().Tags()["graph"]) for file in files] == [True, False]
