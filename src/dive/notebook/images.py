"""Pictures of images (book 4.2.3)."""

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
    """Draw images in a grid, row by row (book 4.2.3).

    Args:
        images: ``(n, height, width)``, ``(n, 1, height, width)`` in grey, or ``(n, 3, height, width)`` in colours,
            bytes (uint8) or floats in ``[0, 1]``, or a list of such; of more than fit in the grid, the first.
        num_rows: rows of the grid.
        num_cols: columns of the grid.
        titles: what stands above each.
        scale: inches of an image's side.

    Raises:
        ValueError: the images have another shape or other numbers, or there are fewer titles than images drawn.
    """
    images = torch.stack(list(images)) if isinstance(images, list | tuple) else torch.as_tensor(images)
    if images.ndim == 3:
        images = images.unsqueeze(1)
    if images.ndim != 4 or images.shape[1] not in (1, 3):
        raise ValueError(
            "images must be (n, height, width), (n, 1, height, width) or (n, 3, height, width), "
            f"got {tuple(images.shape)}"
        )
    drawn = images[: num_rows * num_cols].detach().cpu()
    if titles is not None and len(titles) < len(drawn):
        raise ValueError(f"titles must be as many as the images drawn, {len(drawn)}, got {len(titles)}")
    brightest = 255 if drawn.dtype == torch.uint8 else 1
    drawn = drawn if drawn.dtype == torch.uint8 else drawn.float()
    if drawn.numel() and (drawn.min() < 0 or drawn.max() > brightest):
        raise ValueError(f"images must be bytes or lie in [0, 1], got {drawn.min():g} to {drawn.max():g}")
    words = [str(title) for title in titles or ()]
    lines = max((word.count("\n") + 1 for word in words), default=0)
    figure = NotebookFigure(figsize=(scale * num_cols, (scale + 0.16 * lines) * num_rows))
    for place, axes in enumerate(figure.subplots(num_rows, num_cols, squeeze=False).flat):
        axes.set_axis_off()
        if place < len(drawn):
            image = drawn[place].permute(1, 2, 0).numpy()
            axes.imshow(image.squeeze(2) if image.shape[2] == 1 else image, cmap="gray", vmin=0, vmax=brightest)
            if words:
                axes.set_title(words[place], fontsize=8, pad=2)
    return figure
