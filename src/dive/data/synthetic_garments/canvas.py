"""Randomly transformed pixel grids, and signed-distance primitives (negative inside, in half image widths)."""

import torch
from torch import Tensor

SIZE = 28
PIXEL = 2 / SIZE  # images cover [-1, 1] x [-1, 1], x to the right and y down


class Canvas:
    """`count` pixel grids, each with a random affine transform: `x`, `y` are (count, 28, 28) float32."""

    def __init__(self, count: int, generator: torch.Generator) -> None:
        self.count, self.generator = count, generator
        axis = (torch.arange(SIZE, device=generator.device) + 0.5) * PIXEL - 1
        x, y = axis - self.uniform(-0.05, 0.05), axis[:, None] - self.uniform(-0.05, 0.05)
        turn, shear = self.uniform(-0.05, 0.05), self.uniform(-0.05, 0.05)
        self.x = (x + (turn + shear) * y) * self.uniform(0.93, 1.1)
        self.y = (y - turn * x) * self.uniform(0.98, 1.1)

    def uniform(self, low: float, high: float) -> Tensor:
        """One number in [low, high) per image, shaped (count, 1, 1) to broadcast over the pixels."""
        unit = torch.rand(self.count, 1, 1, generator=self.generator, device=self.generator.device)
        return low + (high - low) * unit

    def bernoulli(self, probability: float) -> Tensor:
        """One with the given probability, else zero, per image: (count, 1, 1)."""
        return (self.uniform(0, 1) < probability).float()

    def contrast_tone(self) -> Tensor:
        """A tone per image, (count, 1, 1), much darker or much lighter than the fabric (about one)."""
        return torch.where(self.bernoulli(0.5) > 0, self.uniform(2, 2.6), self.uniform(0, 0.1))


def coverage(distance: Tensor) -> Tensor:
    """The fraction of each pixel that a shape covers, from its signed distance: antialiased at the edge."""
    return (0.5 - distance / PIXEL).clamp_(0, 1)


def box(x: Tensor, y: Tensor, half_width: Tensor | float, half_height: Tensor | float) -> Tensor:
    """Signed distance to a box centered at the origin."""
    return torch.maximum(x.abs() - half_width, y.abs() - half_height)


def ellipse(x: Tensor, y: Tensor, a: Tensor | float, b: Tensor | float) -> Tensor:
    """Signed distance to an ellipse centered at the origin, with radii `a` and `b`."""
    # Scaled by the mean radius: exact for a circle, and accurate enough near the edge for antialiasing.
    return (torch.hypot(x / a, y / b) - 1) * ((a + b) / 2)


def capsule(x: Tensor, y: Tensor, dx: Tensor, dy: Tensor, start: Tensor | float, end: Tensor | float) -> Tensor:
    """Signed distance to a capsule from the origin to (dx, dy), flat at that end, with radius `start` to `end`."""
    length = torch.hypot(dx, dy)
    along = (x * dx + y * dy) / length**2
    t = along.clamp(0, 1)
    return torch.maximum(torch.hypot(x - t * dx, y - t * dy) - (start + (end - start) * t), (along - 1) * length)


def blend(shade: Tensor, distance: Tensor, tone: Tensor) -> Tensor:
    """Paint a shape over a shade in another tone."""
    return shade + (tone - shade) * coverage(distance)
