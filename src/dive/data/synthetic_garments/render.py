"""Draw a stand-in for Fashion-MNIST, without a download: ten garments, jittered, some mistaken for others."""

import torch
from torch import Tensor

from dive.data.synthetic_garments.canvas import SIZE, Canvas, coverage
from dive.data.synthetic_garments.shapes import GARMENT_SHAPES, Garment

CHUNK = 4096  # images drawn at once: bounds the memory of the float intermediates
LABEL_NOISE = 0.08  # the share of pictures that show the garment's look-alike: what caps any classifier's accuracy

CLASS_NAMES = tuple(GARMENT_SHAPES)

# By label, the garment it is mistaken for, as in the real set; itself for trouser, dress and bag.
SIMILAR_CLASSES = torch.tensor([6, 1, 4, 3, 2, 7, 0, 9, 8, 7])


def _render(garment: Garment, count: int, generator: torch.Generator) -> Tensor:
    canvas = Canvas(count, generator)
    distance, shade = garment(canvas)
    grain = torch.rand(shade.shape, generator=generator, device=generator.device) - 0.5
    bright = canvas.uniform(0.38, 0.58) * (shade + canvas.uniform(0.05, 0.3) * grain)
    return (coverage(distance) * bright.clamp_(0.08, 1) * 255).to(torch.uint8)


def render_images(labels: Tensor, generator: torch.Generator) -> Tensor:
    """Draw one garment a label, in the order of `labels`; a share `LABEL_NOISE` shows the label's look-alike.

    Args:
        labels: (n,) int64, indices into `CLASS_NAMES`; any number of images, none included.
        generator: source of every random number, advanced by the call; images are drawn on its device.

    Returns:
        (n, 1, 28, 28) uint8 grey levels, 0 for the background, decided by the labels and the generator's state.

    Raises:
        ValueError: `labels` is not a vector, is not int64 or leaves 0..9.

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
    mistaken = torch.rand(labels.shape, generator=generator, device=generator.device) < LABEL_NOISE
    shown = torch.where(mistaken, SIMILAR_CLASSES.to(generator.device)[labels], labels)
    images = torch.empty(len(labels), 1, SIZE, SIZE, dtype=torch.uint8, device=generator.device)
    for start in range(0, len(labels), CHUNK):
        part = slice(start, start + CHUNK)
        for label, garment in enumerate(GARMENT_SHAPES.values()):
            chosen = shown[part] == label
            images[part][chosen, 0] = _render(garment, int(chosen.sum()), generator)
    return images
