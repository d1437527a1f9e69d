"""Draw a stand-in for Fashion-MNIST: ten garments as jittered signed-distance shapes, with no download.

A garment is a function from a canvas (a batch of jittered pixel grids) to a signed distance, negative inside
the silhouette, and a shade, about one. The difficulty is set on purpose: the tops differ less in outline than
in trim, which is darker or lighter than the fabric at even odds, so that a linear classifier hardly sees it;
and some pictures show a look-alike, so that no classifier is perfect.
"""

from collections.abc import Callable

import torch
from torch import Tensor

SIZE = 28
CHUNK = 4096  # images drawn at once: bounds the memory of the float intermediates
PIXEL = 2 / SIZE  # the garments live on [-1, 1] x [-1, 1], x to the right and y down
MISTAKEN = 0.08  # the share of pictures showing the garment's look-alike: what caps any classifier's accuracy

GARMENTS: tuple[str, ...] = (
    "t-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot",
)  # fmt: skip


class Canvas:
    """`count` pixel grids, each moved by a random affine map: `x`, `y` are (count, 28, 28) float32."""

    def __init__(self, count: int, generator: torch.Generator) -> None:
        self.count, self.generator = count, generator
        axis = (torch.arange(SIZE, device=generator.device) + 0.5) * PIXEL - 1
        x, y = axis - self.uniform(-0.05, 0.05), axis[:, None] - self.uniform(-0.05, 0.05)
        turn, shear = self.uniform(-0.05, 0.05), self.uniform(-0.05, 0.05)
        self.x = (x + (turn + shear) * y) * self.uniform(0.93, 1.1)
        self.y = (y - turn * x) * self.uniform(0.98, 1.1)

    def uniform(self, low: float, high: float) -> Tensor:
        """Draw one number an image in [low, high), shaped (count, 1, 1) to broadcast over the pixels."""
        unit = torch.rand(self.count, 1, 1, generator=self.generator, device=self.generator.device)
        return low + (high - low) * unit

    def coin(self, probability: float) -> Tensor:
        """Draw one or zero an image, (count, 1, 1): one with the given probability."""
        return (self.uniform(0, 1) < probability).float()

    def trim(self) -> Tensor:
        """Draw a tone an image, (count, 1, 1), far below or above the fabric's (about one)."""
        return torch.where(self.coin(0.5) > 0, self.uniform(2, 2.6), self.uniform(0, 0.1))


Garment = Callable[[Canvas], tuple[Tensor, Tensor]]


def _cover(distance: Tensor) -> Tensor:
    return (0.5 - distance / PIXEL).clamp_(0, 1)


def _box(x: Tensor, y: Tensor, half_width: Tensor | float, half_height: Tensor | float) -> Tensor:
    return torch.maximum(x.abs() - half_width, y.abs() - half_height)


def _ellipse(x: Tensor, y: Tensor, a: Tensor | float, b: Tensor | float) -> Tensor:
    # Scaled by the mean radius: exact on a circle, and close enough near the edge for antialiasing.
    return (torch.hypot(x / a, y / b) - 1) * ((a + b) / 2)


def _limb(x: Tensor, y: Tensor, dx: Tensor, dy: Tensor, start: Tensor | float, end: Tensor | float) -> Tensor:
    # A capsule from the origin to (dx, dy) whose radius goes from `start` to `end`, cut flat at its far end.
    length = torch.hypot(dx, dy)
    along = (x * dx + y * dy) / length**2
    t = along.clamp(0, 1)
    return torch.maximum(torch.hypot(x - t * dx, y - t * dy) - (start + (end - start) * t), (along - 1) * length)


def _paint(shade: Tensor, distance: Tensor, tone: Tensor) -> Tensor:
    return shade + (tone - shade) * _cover(distance)


def _fabric(c: Canvas) -> Tensor:
    # Stripes across, stripes down (both: a check) and a vertical gradient; most images get few of them.
    across = c.coin(0.2) * c.uniform(0.1, 0.4) * torch.sin(c.y * c.uniform(6, 20) + c.uniform(0, 6))
    down = c.coin(0.1) * c.uniform(0.1, 0.35) * torch.sin(c.x * c.uniform(8, 20) + c.uniform(0, 6))
    return 1 + across + down + c.uniform(-0.15, 0.15) * c.y


def _top(c: Canvas, width: Tensor, hem: Tensor, sleeve: Tensor, neck: Tensor) -> tuple[Tensor, Tensor]:
    # Symmetric in x. Longer sleeves hang closer to the body, as on the photographs of the real set.
    side, top = c.x.abs(), -0.88
    torso = torch.maximum(side - width - c.uniform(-0.06, 0.06) * c.y, c.y - hem)
    torso = torch.maximum(torso, top + 0.42 * side - c.y)
    angle = (0.95 - 0.55 * sleeve).clamp(min=0.17) + c.uniform(-0.04, 0.08)
    reach, drop = sleeve * torch.sin(angle), sleeve * torch.cos(angle)
    arm = _limb(side - width + 0.1, c.y + 0.52, reach, drop, 0.19, c.uniform(0.1, 0.15))
    neckline = _ellipse(c.x, c.y - top, width * c.uniform(0.35, 0.6), neck)
    shade = _paint(_fabric(c), torso.abs() - 0.02, c.uniform(0.4, 0.9))
    return torch.maximum(torch.minimum(torso, arm), -neckline), shade


def _t_shirt(c: Canvas) -> tuple[Tensor, Tensor]:
    sleeve = c.uniform(0.05, 0.75)
    body, shade = _top(c, c.uniform(0.38, 0.54), c.uniform(0.7, 0.95), sleeve, c.uniform(0.12, 0.35))
    x, y, width, height = c.x, c.y + c.uniform(0.1, 0.3), c.uniform(0.26, 0.35), c.uniform(0.18, 0.3)
    logo = torch.where(c.coin(0.5) > 0, _box(x, y, width, height), _ellipse(x, y, width, height))
    return body, _paint(shade, logo, c.trim())


def _trouser(c: Canvas) -> tuple[Tensor, Tensor]:
    x, hem = c.x + c.uniform(-0.12, 0.12) * c.y**2, c.uniform(0.7, 0.98)
    legs = _box(x, c.y - (hem - 0.92) / 2, c.uniform(0.28, 0.44) + c.uniform(-0.04, 0.1) * c.y, (hem + 0.92) / 2)
    gap = x.abs() - c.uniform(0.06, 0.16) * (c.y + c.uniform(0.2, 0.5))
    return torch.maximum(legs, -gap), _paint(_fabric(c), (c.y + 0.78).abs() - 0.02, c.uniform(0.4, 1))


def _pullover(c: Canvas) -> tuple[Tensor, Tensor]:
    hem = c.uniform(0.65, 0.95)
    body, shade = _top(c, c.uniform(0.38, 0.54), hem, c.uniform(1.1, 1.45), c.uniform(0.06, 0.2))
    shade = _paint(shade, (c.y - hem + 0.14).abs() - 0.02, c.uniform(0.4, 1))
    band = (c.y + c.uniform(-0.2, 0.4)).abs() - c.uniform(0.18, 0.32)
    return body, _paint(shade, band, c.trim())


def _dress(c: Canvas) -> tuple[Tensor, Tensor]:
    fall = c.y + c.uniform(-0.05, 0.3)  # below the waist when positive
    flare = c.uniform(0.1, 0.4) * fall.clamp(min=0) - c.uniform(0.05, 0.2) * fall.clamp(max=0)
    body, shade = _top(c, c.uniform(0.26, 0.36), c.uniform(0.8, 1), c.uniform(0.02, 0.9), c.uniform(0.1, 0.4))
    skirt = torch.maximum(_box(c.x, c.y, c.uniform(0.2, 0.3) + flare, 0.94), -0.4 - c.y)
    return torch.minimum(body, skirt), _paint(shade, fall.abs() - 0.05, c.trim())


def _coat(c: Canvas) -> tuple[Tensor, Tensor]:
    body, shade = _top(c, c.uniform(0.4, 0.56), c.uniform(0.8, 1), c.uniform(1.1, 1.5), c.uniform(0.06, 0.2))
    # Buttoned, only the collar shows what is worn below; open, it shows down to the hem.
    below = torch.minimum(c.x.abs() - c.uniform(0.12, 0.24), c.x.abs() - 0.4 * (c.uniform(-0.5, 0) - c.y))
    pocket = _box(c.x.abs() - 0.25, c.y - 0.35, 0.1, 0.03)
    return body, _paint(_paint(shade, pocket, c.uniform(0.2, 1)), below, c.trim())


def _shirt(c: Canvas) -> tuple[Tensor, Tensor]:
    sleeve = torch.where(c.coin(0.6) > 0, c.uniform(1.0, 1.45), c.uniform(0.25, 0.8))
    hem = c.uniform(0.75, 1) - c.uniform(0, 0.5) * c.x**2  # a curved shirt-tail
    body, shade = _top(c, c.uniform(0.38, 0.54), hem, sleeve, c.uniform(0.06, 0.2))
    buttons = torch.maximum(c.x.abs() - 0.05, 0.05 * torch.sin(c.y * 22) - 0.02)
    collar = torch.maximum((c.x.abs() - 0.22 + 0.3 * (c.y + 0.8)).abs() - 0.07, c.y + 0.55)
    pocket = _box(c.x.abs() - 0.23, c.y + 0.15, 0.1, 0.11)
    front, trim = torch.minimum(torch.minimum(buttons, collar), pocket), c.trim()
    return body, _paint(shade, front, trim)


def _shoe(c: Canvas, lift: Tensor, toe: Tensor, rise: Tensor, sole: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    # In profile, toe to the left: the upper, the sole with its heel, and the line `ground` where they meet.
    base = c.uniform(0.3, 0.45) + 0.6 * lift
    ground = base - lift * torch.sigmoid(6 * c.x - 0.6)
    height = toe + rise * torch.sigmoid(7 * (c.x - c.uniform(-0.2, 0.15)))
    height = height * (1 - (c.x / 0.93) ** 10).clamp(0).sqrt()
    upper = 0.8 * torch.maximum(ground - height - c.y, c.y - ground)
    tread = torch.maximum(0.8 * ((c.y - ground - sole / 2).abs() - sole / 2), c.x.abs() - 0.9)
    width = c.uniform(0.05, 0.2)
    heel = _box(c.x - 0.88 + width, c.y - base - sole + lift / 2, width, lift / 2)
    return upper, torch.minimum(tread, heel), ground


def _sandal(c: Canvas) -> tuple[Tensor, Tensor]:
    lift, sole = c.coin(0.5) * c.uniform(0.1, 0.8), c.uniform(0.06, 0.2)
    upper, tread, ground = _shoe(c, lift, c.uniform(0.15, 0.3), c.uniform(0.1, 0.4), sole)
    wave = torch.sin(c.uniform(6, 13) * (c.x + c.uniform(-0.7, 0.9) * c.y) + c.uniform(0, 6))
    straps = torch.maximum(upper, 0.12 * (wave + c.uniform(-0.4, 0.5)))
    ankle = _ellipse(c.x - 0.55, c.y - ground + c.uniform(0.4, 0.7), c.uniform(0.2, 0.32), c.uniform(0.08, 0.3))
    straps = torch.minimum(straps, ankle.abs() - 0.05 + 1 - c.coin(0.6))
    return torch.minimum(straps, tread), _paint(_fabric(c), tread, c.trim())


def _sneaker(c: Canvas) -> tuple[Tensor, Tensor]:
    toe, rise, sole = c.uniform(0.2, 0.32), c.uniform(0.12, 0.4), c.uniform(0.08, 0.18)
    upper, tread, ground = _shoe(c, c.uniform(0, 0.12), toe, rise, sole)
    ankle = c.x - c.uniform(0.4, 0.55)
    collar = _ellipse(ankle, c.y - ground + toe + rise, c.uniform(0.2, 0.35), c.uniform(0.06, 0.2))
    laces = torch.maximum((c.x + c.uniform(0.05, 0.25)).abs() - 0.2, 0.05 * torch.sin(28 * (c.x + 0.5 * c.y)))
    shade = _paint(_paint(_fabric(c), laces, c.trim()), tread, c.trim())
    return torch.minimum(torch.maximum(upper, -collar), tread), shade


def _bag(c: Canvas) -> tuple[Tensor, Tensor]:
    half, top, bottom = c.uniform(0.5, 0.9), c.uniform(-0.5, 0.1), c.uniform(0.5, 0.9)
    body = _box(c.x, c.y - (top + bottom) / 2, half + c.uniform(-0.15, 0.15) * c.y, (bottom - top) / 2)
    arch = _ellipse(c.x, c.y - top, half * c.uniform(0.35, 0.95), c.uniform(0.2, 0.8))
    handle = arch.abs() - c.uniform(0.03, 0.07)
    flap, trim = c.y - top - c.uniform(0.15, 0.5), c.trim()
    shade = _paint(_paint(_fabric(c), flap.abs() - 0.03, trim), _box(c.x, flap, 0.07, 0.09), trim)
    return torch.minimum(body, torch.maximum(handle, c.y - top)), shade


def _ankle_boot(c: Canvas) -> tuple[Tensor, Tensor]:
    lift = c.coin(0.6) * c.uniform(0.05, 0.6)
    upper, tread, ground = _shoe(c, lift, c.uniform(0.22, 0.36), c.uniform(0.15, 0.4), c.uniform(0.06, 0.16))
    top, middle = c.uniform(-0.9, -0.3), c.uniform(0.42, 0.52)
    shaft = (c.x - middle).abs() - c.uniform(0.28, 0.42) + 0.08 * c.y
    shaft = torch.maximum(shaft, torch.maximum(top - c.y, c.y - ground))
    seam = torch.maximum((c.x - c.uniform(0.2, 0.6) - 0.2 * c.y).abs() - 0.05, c.y - 0.1)
    shade = _paint(_paint(_fabric(c), seam, c.trim()), tread, c.trim())
    return torch.minimum(torch.minimum(upper, shaft), tread), shade


_DRAWERS: tuple[Garment, ...] = (
    _t_shirt, _trouser, _pullover, _dress, _coat, _sandal, _shirt, _sneaker, _bag, _ankle_boot,
)  # fmt: skip

# By label, the garment it is mistaken for, as in the real set; itself for trouser, dress and bag.
_LOOK_ALIKE = torch.tensor([6, 1, 4, 3, 2, 7, 0, 9, 8, 7])


def _render(garment: Garment, count: int, generator: torch.Generator) -> Tensor:
    canvas = Canvas(count, generator)
    distance, shade = garment(canvas)
    grain = torch.rand(shade.shape, generator=generator, device=generator.device) - 0.5
    bright = canvas.uniform(0.38, 0.58) * (shade + canvas.uniform(0.05, 0.3) * grain)
    return (_cover(distance) * bright.clamp_(0.08, 1) * 255).to(torch.uint8)


def draw(labels: Tensor, generator: torch.Generator) -> Tensor:
    """Draw one garment a label, in the order of `labels`; a share `MISTAKEN` shows the label's look-alike.

    Args:
        labels: (n,) int64, indices into `GARMENTS`; any number of images, none included.
        generator: source of every random number, advanced by the call; images are drawn on its device.

    Returns:
        (n, 1, 28, 28) uint8 grey levels, 0 for the background, decided by the labels and the generator's state.

    Raises:
        ValueError: `labels` is not a vector, is not int64 or leaves 0..9.

    >>> images = draw(torch.arange(10), torch.Generator().manual_seed(0))
    >>> images.shape, images.dtype
    (torch.Size([10, 1, 28, 28]), torch.uint8)
    """
    if labels.ndim != 1 or labels.dtype != torch.int64:
        raise ValueError(f"labels must be a vector of int64, got shape {tuple(labels.shape)} of {labels.dtype}")
    if labels.numel() and not 0 <= int(labels.min()) <= int(labels.max()) < len(GARMENTS):
        raise ValueError(
            f"labels must lie in 0..{len(GARMENTS) - 1}, got {int(labels.min())}..{int(labels.max())}"
        )
    labels = labels.to(generator.device)
    mistaken = torch.rand(labels.shape, generator=generator, device=generator.device) < MISTAKEN
    shown = torch.where(mistaken, _LOOK_ALIKE.to(generator.device)[labels], labels)
    images = torch.empty(len(labels), 1, SIZE, SIZE, dtype=torch.uint8, device=generator.device)
    for start in range(0, len(labels), CHUNK):
        part = slice(start, start + CHUNK)
        for label, garment in enumerate(_DRAWERS):
            chosen = shown[part] == label
            images[part][chosen, 0] = _render(garment, int(chosen.sum()), generator)
    return images
