"""Pictures of images with words below them, of who is taken for whom, and of weights."""

from collections.abc import Sequence

import numpy as np
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from torch import Tensor

from dive.visualization.predictions import Predictions

TEXT_COLOR, ERROR_COLOR = "#222222", "#c0392b"
IMAGE_INCHES = 0.95  # of a labelled image and the space around it
LINE_INCHES = 0.17  # inches of a line of words
MAX_LABELED_CLASSES = 40  # classes of a matrix that has names and counts


def plot_predictions(said: Predictions, which: Tensor, names: Sequence[str]) -> Figure:
    """Images with the class that each is taken for and how surely; below wrong ones, in red, also the true class.

    Args:
        said: of images, ``inputs: (num_examples, channels, height, width)``.
        which: indices of those to be drawn.
        names: of the classes.
    """
    confidence, predicted = said.probabilities[which].max(1)
    true = said.targets[which]
    labels = [f"{names[p]} {sure:.0%}" for p, sure in zip(predicted, confidence, strict=True)]
    wrong = (predicted != true).tolist()
    labels = [f"{label}\nis {names[t]}" if w else label for label, t, w in zip(labels, true, wrong, strict=True)]
    return plot_image_grid(said.inputs[which], labels, wrong, lines=2)


def plot_image_grid(
    images: Tensor, labels: Sequence[str], wrong: Sequence[bool], columns: int = 8, lines: int = 1
) -> Figure:
    """Images in a grid, row by row, with words below each; those that are wrong in red.

    All on one pair of axes: a pair for each image would take ten times as long.

    Args:
        images: ``(num_images, channels, height, width)``, channels 1 or 3, in ``[0, 1]``.
        labels: below each, of so many lines.
        wrong: which are to be red.
        columns: of the grid.
        lines: of a label.
    """
    rows = -(-len(images) // columns)
    height, width = images.shape[2:]
    cell_width, below = width * 1.12, width * 1.12 / IMAGE_INCHES * LINE_INCHES * (lines + 0.4)
    cell_height = height + below
    figure = Figure(figsize=(columns * IMAGE_INCHES, rows * IMAGE_INCHES * cell_height / cell_width))
    axes = figure.add_axes((0, 0, 1, 1))
    for place, (image, label) in enumerate(zip(images.permute(0, 2, 3, 1).numpy(), labels, strict=True)):
        row, column = divmod(place, columns)
        left, top = column * cell_width + 0.06 * width, row * cell_height
        axes.imshow(image, cmap="gray", vmin=0, vmax=1, extent=(left, left + width, top + height, top))
        colour = ERROR_COLOR if wrong[place] else TEXT_COLOR
        axes.text(
            left + width / 2, top + height + 0.04 * width, label, ha="center", va="top", color=colour, fontsize=7.5
        )
    axes.set(xlim=(0, columns * cell_width), ylim=(rows * cell_height, 0))
    axes.set_axis_off()
    return figure


def plot_confusion_matrix(counts: Tensor, names: Sequence[str]) -> Figure:
    """How many of each true class (rows) are taken for each (columns); shaded by their share of the row.

    Of more than `MAX_LABELED_CLASSES` classes, the shades alone.

    Args:
        counts: ``(num_classes, num_classes)``.
        names: of the classes.
    """
    few = len(names) <= MAX_LABELED_CLASSES
    # In inches, for the names, the matrix and the edge: a layout would be drawn twice.
    beside, size, edge = (1.4, 0.45 * len(names), 0.1) if few else (0.6, 9.0, 0.1)
    whole = beside + size + edge
    figure = Figure(figsize=(whole, whole))
    axes = figure.add_axes((beside / whole, beside / whole, size / whole, size / whole))
    rates = (counts / counts.sum(1, keepdim=True).clamp(min=1)).numpy()
    axes.imshow(rates, cmap="Blues", vmin=0, vmax=1)
    axes.set(xlabel="predicted", ylabel="true")
    if few:
        axes.set_xticks(range(len(names)), names, rotation=45, ha="right", rotation_mode="anchor")
        axes.set_yticks(range(len(names)), names)
        for row, column in counts.nonzero().tolist():
            colour = "white" if rates[row, column] > 0.5 else TEXT_COLOR
            text = str(int(counts[row, column]))
            axes.text(column, row, text, ha="center", va="center", fontsize=8, color=colour)
    return figure


def plot_weights(weights: Tensor, names: Sequence[str] | None = None, most: int = 256) -> Figure:
    """The weights of units as images in a near-square grid: blue is negative, red positive, white zero.

    Args:
        weights: ``(num_units, height, width)``.
        names: above each.
        most: units to be shown, the first ones.
    """
    weights = weights[:most].detach().cpu()
    columns = 5 if names else int(np.ceil(len(weights) ** 0.5))
    rows = -(-len(weights) // columns)
    height, width = weights.shape[1:]
    tile = torch.full((rows * (height + 1), columns * (width + 1)), torch.nan)
    for place, image in enumerate(weights):
        row, column = divmod(place, columns)
        tile[row * (height + 1) :, column * (width + 1) :][:height, :width] = image
    largest = float(weights.abs().max()) or 1.0
    figure = Figure(figsize=(7, 6 * tile.shape[0] / tile.shape[1]))
    axes = figure.add_axes((0, 0, 6 / 7, 1))
    drawn = axes.imshow(tile.numpy(), cmap="RdBu_r", vmin=-largest, vmax=largest)
    figure.colorbar(drawn, cax=figure.add_axes((6.1 / 7, 0.05, 0.2 / 7, 0.9)))
    for place, name in enumerate((names or ())[: len(weights)]):
        row, column = divmod(place, columns)
        axes.text(column * (width + 1) + 1, row * (height + 1) + 1, name, va="top", fontsize=7, color=TEXT_COLOR)
    axes.set_axis_off()
    return figure


def figure_to_array(figure: Figure, dpi: int = 80) -> np.ndarray:
    """A figure as it is drawn: ``(height, width, 3)``, bytes."""
    figure.set_dpi(dpi)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3]
