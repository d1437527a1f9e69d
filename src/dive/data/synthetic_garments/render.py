"""Render a synthetic substitute for Fashion-MNIST: ten randomized garments, with label noise."""

import torch
from torch import Tensor

from dive.data.synthetic_garments.canvas import SIZE, Canvas, coverage
from dive.data.synthetic_garments.shapes import GARMENT_SHAPES, Garment

CHUNK = 4096  # images rendered at once: limits the memory of the float intermediates
LABEL_NOISE = 0.08  # fraction of images that show a similar class: limits the accuracy of any classifier

CLASS_NAMES = tuple(GARMENT_SHAPES)

# For each label, the class that it is confused with, as in Fashion-MNIST; itself for trouser, dress and bag.
SIMILAR_CLASSES = torch.tensor([6, 1, 4, 3, 2, 7, 0, 9, 8, 7])


def _render(garment: Garment, count: int, generator: torch.Generator) -> Tensor:
    canvas = Canvas(count, generator)
    distance, shade = garment(canvas)
    grain = torch.rand(shade.shape, generator=generator, device=generator.device) - 0.5
    brightness = canvas.uniform(0.38, 0.58) * (shade + canvas.uniform(0.05, 0.3) * grain)
    return (coverage(distance) * brightness.clamp_(0.08, 1) * 255).to(torch.uint8)


def render_images(labels: Tensor, generator: torch.Generator) -> Tensor:
    """Render one garment per label, in order; a fraction `LABEL_NOISE` shows the most similar class instead.

    Args:
        labels: (n,) int64, indices into `CLASS_NAMES`; may be empty.
        generator: source of all random numbers; images are rendered on its device.

    Returns:
        (n, 1, 28, 28) uint8 grayscale, 0 for the background, determined by the labels and the generator's state.

    Raises:
        ValueError: `labels` is not a vector of int64 in 0..9.

    >>> images = render_images(torch.arange(10), torch.Generator().manual_seed(0))
    >>> images.shape, images.dtype
    (torch.Size([10, 1, 28, 28]), torch.uint8)
    """
    if labels.ndim != 1 or labels.dtype != torch.int64:
        raise ValueError(f"labels must be a vector of int64, got shape {tuple(labels.shape)} of {labels.dtype}")
    if labels.numel() and not 0 <= int(labels.min()) <= int(labels.max()) < len(CLASS_NAMES):
        raise ValueError(
            f"labels must lie in 0..{len(CLASS_NAMES) - 1}, got {int(labels.min())}..{int(labels.max())}"
        )
    labels = labels.to(generator.device)
    confused = torch.rand(labels.shape, generator=generator, device=generator.device) < LABEL_NOISE
    shown = torch.where(confused, SIMILAR_CLASSES.to(generator.device)[labels], labels)
    images = torch.empty(len(labels), 1, SIZE, SIZE, dtype=torch.uint8, device=generator.device)
    for start in range(0, len(labels), CHUNK):
        part = slice(start, start + CHUNK)
        for label, garment in enumerate(GARMENT_SHAPES.values()):
            mask = shown[part] == label
            images[part][mask, 0] = _render(garment, int(mask.sum()), generator)
    return images
