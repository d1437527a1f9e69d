"""Figures of labeled images, confusion matrices and weights."""

from collections.abc import Sequence

import numpy as np
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from torch import Tensor

from dive.visualization.predictions import Predictions

TEXT_COLOR, ERROR_COLOR = "#222222", "#c0392b"
IMAGE_INCHES = 0.95  # width of an image with its margin
LINE_INCHES = 0.17  # height of a line of text
MAX_LABELED_CLASSES = 40  # confusion matrices of more classes have no names and counts


def plot_predictions(predictions: Predictions, indices: Tensor, names: Sequence[str]) -> Figure:
    """Plot images with predicted class and confidence; misclassified ones also with the true class, in red.

    The inputs of the predictions are ``(num_examples, channels, height, width)``.
    """
    confidences, predicted = predictions.probabilities[indices].max(1)
    targets = predictions.targets[indices]
    wrong = (predicted != targets).tolist()
    labels = [
        f"{names[p]} {confidence:.0%}" + (f"\ntrue: {names[t]}" if p != t else "")
        for p, confidence, t in zip(predicted, confidences, targets, strict=True)
    ]
    return plot_image_grid(predictions.inputs[indices], labels, wrong, lines=2)


def plot_image_grid(
    images: Tensor, labels: Sequence[str], wrong: Sequence[bool], columns: int = 8, lines: int = 1
) -> Figure:
    """Plot images in a grid, row by row, with a label below each.

    All images share one Axes: one Axes per image would take ten times as long.

    Args:
        images: ``(num_images, channels, height, width)``, channels 1 or 3, in ``[0, 1]``.
        labels: the text below each image.
        wrong: whether each label is red.
        columns: number of columns of the grid.
        lines: number of lines of a label.
    """
    rows = -(-len(images) // columns)
    height, width = images.shape[2:]
    cell_width, label_height = width * 1.12, width * 1.12 / IMAGE_INCHES * LINE_INCHES * (lines + 0.4)
    cell_height = height + label_height
    figure = Figure(figsize=(columns * IMAGE_INCHES, rows * IMAGE_INCHES * cell_height / cell_width))
    axes = figure.add_axes((0, 0, 1, 1))
    for i, (image, label) in enumerate(zip(images.permute(0, 2, 3, 1).numpy(), labels, strict=True)):
        row, column = divmod(i, columns)
        left, top = column * cell_width + 0.06 * width, row * cell_height
        axes.imshow(image, cmap="gray", vmin=0, vmax=1, extent=(left, left + width, top + height, top))
        color = ERROR_COLOR if wrong[i] else TEXT_COLOR
        axes.text(
            left + width / 2, top + height + 0.04 * width, label, ha="center", va="top", color=color, fontsize=7.5
        )
    axes.set(xlim=(0, columns * cell_width), ylim=(rows * cell_height, 0))
    axes.set_axis_off()
    return figure


def plot_confusion_matrix(counts: Tensor, names: Sequence[str]) -> Figure:
    """Plot counts of true (rows) and predicted classes (columns), shaded by their share of the row.

    Counts are ``(num_classes, num_classes)``. With more than `MAX_LABELED_CLASSES` classes, names and counts are
    omitted.
    """
    labeled = len(names) <= MAX_LABELED_CLASSES
    # Sizes in inches of names, matrix and margin: an automatic layout would render the figure twice.
    left, size, margin = (1.4, 0.45 * len(names), 0.1) if labeled else (0.6, 9.0, 0.1)
    total = left + size + margin
    figure = Figure(figsize=(total, total))
    axes = figure.add_axes((left / total, left / total, size / total, size / total))
    rates = (counts / counts.sum(1, keepdim=True).clamp(min=1)).numpy()
    axes.imshow(rates, cmap="Blues", vmin=0, vmax=1)
    axes.set(xlabel="predicted", ylabel="true")
    if labeled:
        axes.set_xticks(range(len(names)), names, rotation=45, ha="right", rotation_mode="anchor")
        axes.set_yticks(range(len(names)), names)
        for row, column in counts.nonzero().tolist():
            color = "white" if rates[row, column] > 0.5 else TEXT_COLOR
            text = str(int(counts[row, column]))
            axes.text(column, row, text, ha="center", va="center", fontsize=8, color=color)
    return figure


def plot_weights(weights: Tensor, names: Sequence[str] | None = None, max_units: int = 256) -> Figure:
    """Plot the weights of units as images in a near-square grid: negative is blue, positive red, zero white.

    Of the weights, ``(num_units, height, width)``, the first `max_units` are plotted.
    """
    weights = weights[:max_units].detach().cpu()
    columns = 5 if names else int(np.ceil(len(weights) ** 0.5))
    rows = -(-len(weights) // columns)
    height, width = weights.shape[1:]
    tile = torch.full((rows * (height + 1), columns * (width + 1)), torch.nan)
    for i, image in enumerate(weights):
        row, column = divmod(i, columns)
        tile[row * (height + 1) :, column * (width + 1) :][:height, :width] = image
    largest = float(weights.abs().max()) or 1.0
    figure = Figure(figsize=(7, 6 * tile.shape[0] / tile.shape[1]))
    axes = figure.add_axes((0, 0, 6 / 7, 1))
    mappable = axes.imshow(tile.numpy(), cmap="RdBu_r", vmin=-largest, vmax=largest)
    figure.colorbar(mappable, cax=figure.add_axes((6.1 / 7, 0.05, 0.2 / 7, 0.9)))
    for i, name in enumerate((names or ())[: len(weights)]):
        row, column = divmod(i, columns)
        axes.text(column * (width + 1) + 1, row * (height + 1) + 1, name, va="top", fontsize=7, color=TEXT_COLOR)
    axes.set_axis_off()
    return figure


def figure_to_array(figure: Figure, dpi: int = 80) -> np.ndarray:
    """Render a figure: ``(height, width, 3)``, uint8."""
    figure.set_dpi(dpi)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3]
