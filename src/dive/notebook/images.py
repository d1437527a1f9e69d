"""Plot images in a grid (book 4.2.3)."""

from collections.abc import Sequence

import torch
from torch import Tensor

from dive.notebook.figure import NotebookFigure


def show_images(
    images: Tensor | Sequence[Tensor],
    num_rows: int,
    num_cols: int,
    titles: Sequence[object] | None = None,
    scale: float = 1.0,
) -> NotebookFigure:
    """Plot images in a grid, row by row (book 4.2.3).

    Args:
        images: ``(n, height, width)``, grayscale ``(n, 1, height, width)`` or RGB ``(n, 3, height, width)``, as
            uint8 or floats in ``[0, 1]``, or a list of images; those that do not fit in the grid are left out.
        num_rows: number of rows of the grid.
        num_cols: number of columns of the grid.
        titles: the title of each image.
        scale: side length of an image in inches.

    Raises:
        ValueError: the images have another shape or range, or there are fewer titles than plotted images.
    """
    images = torch.stack(list(images)) if isinstance(images, list | tuple) else torch.as_tensor(images)
    if images.ndim == 3:
        images = images.unsqueeze(1)
    if images.ndim != 4 or images.shape[1] not in (1, 3):
        raise ValueError(
            "images must be (n, height, width), (n, 1, height, width) or (n, 3, height, width), "
            f"got {tuple(images.shape)}"
        )
    shown = images[: num_rows * num_cols].detach().cpu()
    if titles is not None and len(titles) < len(shown):
        raise ValueError(f"titles must have one entry for each of the {len(shown)} images, got {len(titles)}")
    vmax = 255 if shown.dtype == torch.uint8 else 1
    shown = shown if shown.dtype == torch.uint8 else shown.float()
    if shown.numel() and (shown.min() < 0 or shown.max() > vmax):
        raise ValueError(f"images must be uint8 or lie in [0, 1], got {shown.min():g} to {shown.max():g}")
    labels = [str(title) for title in titles or ()]
    lines = max((label.count("\n") + 1 for label in labels), default=0)
    size = (scale * num_cols, (scale + 0.16 * lines) * num_rows)
    figure = NotebookFigure(figsize=size, layout="constrained")
    for i, axes in enumerate(figure.subplots(num_rows, num_cols, squeeze=False).flat):
        axes.set_axis_off()
        if i < len(shown):
            image = shown[i].permute(1, 2, 0).numpy()
            axes.imshow(image.squeeze(2) if image.shape[2] == 1 else image, cmap="gray", vmin=0, vmax=vmax)
            if labels:
                axes.set_title(labels[i], fontsize=8, pad=2)
    return figure
