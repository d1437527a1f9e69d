"""Figures: their content, and that no text is cut off."""

import numpy as np
import pytest
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from dive.data.synthetic_garments.render import CLASS_NAMES
from dive.visualization.plots import (
    ERROR_COLOR,
    figure_to_array,
    plot_confusion_matrix,
    plot_image_grid,
    plot_predictions,
    plot_weights,
)
from dive.visualization.predictions import Predictions

NAMES = ("coat", "bag", "ankle boot")


def texts(figure: Figure) -> dict[str, str]:
    """The texts of a figure and their colors."""
    return {text.get_text(): str(text.get_color()) for text in figure.axes[0].texts}


def texts_fit(figure: Figure) -> bool:
    """Whether all texts are within the figure."""
    figure_to_array(figure)
    texts = [text for axes in figure.axes for text in axes.findobj(lambda a: hasattr(a, "get_text"))]
    boxes = [text.get_window_extent() for text in texts if text.get_text() and text.get_visible()]
    return all(figure.bbox.padded(1).contains(*corner) for box in boxes for corner in (box.min, box.max))


def test_images_are_labeled_and_misclassified_ones_are_red() -> None:
    probabilities = torch.tensor([[0.9, 0.05, 0.05], [0.2, 0.75, 0.05], [0.0, 0.0, 1.0]])
    predictions = Predictions(torch.rand(3, 1, 4, 5), torch.tensor([0, 0, 2]), probabilities)
    figure = plot_predictions(predictions, torch.tensor([1, 0]), NAMES)
    assert list(texts(figure)) == ["bag 75%\ntrue: coat", "coat 90%"]
    assert texts(figure)["bag 75%\ntrue: coat"] == ERROR_COLOR
    assert texts(figure)["coat 90%"] != ERROR_COLOR
    images = [image.get_array() for image in figure.axes[0].images]
    assert np.array_equal(np.asarray(images[0]).squeeze(), predictions.inputs[1, 0])


@pytest.mark.parametrize("channels", [1, 3])
def test_image_grid_contains_all_images(channels: int) -> None:
    figure = plot_image_grid(torch.rand(11, channels, 6, 6), ["ankle boot"] * 11, [False] * 11, columns=4)
    assert len(figure.axes[0].images) == 11
    assert texts_fit(figure)


def test_confusion_matrix_shows_counts_but_no_zeros() -> None:
    counts = torch.tensor([[90, 10, 0], [0, 7, 0], [1, 0, 0]])
    figure = plot_confusion_matrix(counts, NAMES)
    counts_by_cell = {tuple(map(int, text.get_position()))[::-1]: text.get_text() for text in figure.axes[0].texts}
    assert counts_by_cell == {(0, 0): "90", (0, 1): "10", (1, 1): "7", (2, 0): "1"}
    assert [label.get_text() for label in figure.axes[0].get_xticklabels()] == list(NAMES)


@pytest.mark.parametrize("names", [NAMES, CLASS_NAMES])
def test_class_names_of_a_confusion_matrix_fit(names: tuple[str, ...]) -> None:
    assert texts_fit(plot_confusion_matrix(torch.ones(len(names), len(names), dtype=torch.int64), names))


def test_confusion_matrix_of_many_classes_has_no_text_and_a_bounded_size() -> None:
    counts = torch.eye(1000, dtype=torch.int64)
    figure = plot_confusion_matrix(counts, [str(i) for i in range(1000)])
    assert not figure.axes[0].texts
    assert max(figure_to_array(figure).shape) < 1000


def test_weights_are_plotted_per_unit() -> None:
    weights = torch.arange(5 * 2 * 3).reshape(5, 2, 3) - 10.0
    axes: Axes = plot_weights(weights).axes[0]
    tile = np.asarray(axes.images[0].get_array())
    assert np.array_equal(tile[:2, :3], weights[0])
    assert np.array_equal(tile[3:5, :3], weights[3])  # three in a row, with a gap between
    assert axes.images[0].get_clim() == (-19, 19)


def test_weights_are_titled_with_class_names_and_limited_to_max_units() -> None:
    assert list(texts(plot_weights(torch.rand(3, 4, 4), NAMES))) == list(NAMES)
    tile = plot_weights(torch.ones(50, 4, 4), max_units=4).axes[0].images[0].get_array()
    assert np.nansum(np.asarray(tile)) == 4 * 16
    assert list(texts(plot_weights(torch.ones(3, 4, 4), NAMES, max_units=2))) == list(NAMES[:2])
    assert texts_fit(plot_weights(torch.zeros(2, 4, 4)))  # all weights are equal


def test_figure_to_array_returns_uint8_colors() -> None:
    figure = Figure(figsize=(2, 1), facecolor="red")
    image = figure_to_array(figure, dpi=50)
    assert image.shape == (50, 100, 3)
    assert image.dtype == np.uint8
    assert (image == [255, 0, 0]).all()
