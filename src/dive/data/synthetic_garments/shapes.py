"""The ten garments, each a function from a canvas to a silhouette (signed distance) and its shade (about one).

The difficulty is deliberate: the tops differ less in outline than in details, which are darker or lighter than the
fabric with equal probability, so that a linear classifier can hardly use them.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from dive.data.synthetic_garments.canvas import Canvas, blend, box, capsule, ellipse

Garment = Callable[[Canvas], tuple[Tensor, Tensor]]


def _fabric(c: Canvas) -> Tensor:
    # Horizontal stripes, vertical stripes and a vertical gradient; most images get few of them.
    horizontal = c.bernoulli(0.2) * c.uniform(0.1, 0.4) * torch.sin(c.y * c.uniform(6, 20) + c.uniform(0, 6))
    vertical = c.bernoulli(0.1) * c.uniform(0.1, 0.35) * torch.sin(c.x * c.uniform(8, 20) + c.uniform(0, 6))
    return 1 + horizontal + vertical + c.uniform(-0.15, 0.15) * c.y


def _top(c: Canvas, width: Tensor, hem: Tensor, sleeve: Tensor, neck: Tensor) -> tuple[Tensor, Tensor]:
    # Symmetric in x. Longer sleeves hang closer to the body, as in Fashion-MNIST.
    side, top = c.x.abs(), -0.88
    torso = torch.maximum(side - width - c.uniform(-0.06, 0.06) * c.y, c.y - hem)
    torso = torch.maximum(torso, top + 0.42 * side - c.y)
    angle = (0.95 - 0.55 * sleeve).clamp(min=0.17) + c.uniform(-0.04, 0.08)
    reach, drop = sleeve * torch.sin(angle), sleeve * torch.cos(angle)
    arm = capsule(side - width + 0.1, c.y + 0.52, reach, drop, 0.19, c.uniform(0.1, 0.15))
    neckline = ellipse(c.x, c.y - top, width * c.uniform(0.35, 0.6), neck)
    shade = blend(_fabric(c), torso.abs() - 0.02, c.uniform(0.4, 0.9))
    return torch.maximum(torch.minimum(torso, arm), -neckline), shade


def _t_shirt(c: Canvas) -> tuple[Tensor, Tensor]:
    sleeve = c.uniform(0.05, 0.75)
    body, shade = _top(c, c.uniform(0.38, 0.54), c.uniform(0.7, 0.95), sleeve, c.uniform(0.12, 0.35))
    x, y, width, height = c.x, c.y + c.uniform(0.1, 0.3), c.uniform(0.26, 0.35), c.uniform(0.18, 0.3)
    logo = torch.where(c.bernoulli(0.5) > 0, box(x, y, width, height), ellipse(x, y, width, height))
    return body, blend(shade, logo, c.contrast_tone())


def _trouser(c: Canvas) -> tuple[Tensor, Tensor]:
    x, hem = c.x + c.uniform(-0.12, 0.12) * c.y**2, c.uniform(0.7, 0.98)
    legs = box(x, c.y - (hem - 0.92) / 2, c.uniform(0.28, 0.44) + c.uniform(-0.04, 0.1) * c.y, (hem + 0.92) / 2)
    gap = x.abs() - c.uniform(0.06, 0.16) * (c.y + c.uniform(0.2, 0.5))
    return torch.maximum(legs, -gap), blend(_fabric(c), (c.y + 0.78).abs() - 0.02, c.uniform(0.4, 1))


def _pullover(c: Canvas) -> tuple[Tensor, Tensor]:
    hem = c.uniform(0.65, 0.95)
    body, shade = _top(c, c.uniform(0.38, 0.54), hem, c.uniform(1.1, 1.45), c.uniform(0.06, 0.2))
    shade = blend(shade, (c.y - hem + 0.14).abs() - 0.02, c.uniform(0.4, 1))
    band = (c.y + c.uniform(-0.2, 0.4)).abs() - c.uniform(0.18, 0.32)
    return body, blend(shade, band, c.contrast_tone())


def _dress(c: Canvas) -> tuple[Tensor, Tensor]:
    fall = c.y + c.uniform(-0.05, 0.3)  # below the waist when positive
    flare = c.uniform(0.1, 0.4) * fall.clamp(min=0) - c.uniform(0.05, 0.2) * fall.clamp(max=0)
    body, shade = _top(c, c.uniform(0.26, 0.36), c.uniform(0.8, 1), c.uniform(0.02, 0.9), c.uniform(0.1, 0.4))
    skirt = torch.maximum(box(c.x, c.y, c.uniform(0.2, 0.3) + flare, 0.94), -0.4 - c.y)
    return torch.minimum(body, skirt), blend(shade, fall.abs() - 0.05, c.contrast_tone())


def _coat(c: Canvas) -> tuple[Tensor, Tensor]:
    body, shade = _top(c, c.uniform(0.4, 0.56), c.uniform(0.8, 1), c.uniform(1.1, 1.5), c.uniform(0.06, 0.2))
    # The garment below shows at the collar or, if the coat is open, down to the hem.
    below = torch.minimum(c.x.abs() - c.uniform(0.12, 0.24), c.x.abs() - 0.4 * (c.uniform(-0.5, 0) - c.y))
    pocket = box(c.x.abs() - 0.25, c.y - 0.35, 0.1, 0.03)
    return body, blend(blend(shade, pocket, c.uniform(0.2, 1)), below, c.contrast_tone())


def _shirt(c: Canvas) -> tuple[Tensor, Tensor]:
    sleeve = torch.where(c.bernoulli(0.6) > 0, c.uniform(1.0, 1.45), c.uniform(0.25, 0.8))
    hem = c.uniform(0.75, 1) - c.uniform(0, 0.5) * c.x**2  # a curved shirt-tail
    body, shade = _top(c, c.uniform(0.38, 0.54), hem, sleeve, c.uniform(0.06, 0.2))
    buttons = torch.maximum(c.x.abs() - 0.05, 0.05 * torch.sin(c.y * 22) - 0.02)
    collar = torch.maximum((c.x.abs() - 0.22 + 0.3 * (c.y + 0.8)).abs() - 0.07, c.y + 0.55)
    pocket = box(c.x.abs() - 0.23, c.y + 0.15, 0.1, 0.11)
    return body, blend(shade, torch.minimum(torch.minimum(buttons, collar), pocket), c.contrast_tone())


def _shoe(c: Canvas, lift: Tensor, toe: Tensor, rise: Tensor, sole: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    # Side view, toe to the left: the upper, the sole with its heel, and the line where they meet.
    base = c.uniform(0.3, 0.45) + 0.6 * lift
    ground = base - lift * torch.sigmoid(6 * c.x - 0.6)
    height = toe + rise * torch.sigmoid(7 * (c.x - c.uniform(-0.2, 0.15)))
    height = height * (1 - (c.x / 0.93) ** 10).clamp(0).sqrt()
    upper = 0.8 * torch.maximum(ground - height - c.y, c.y - ground)
    tread = torch.maximum(0.8 * ((c.y - ground - sole / 2).abs() - sole / 2), c.x.abs() - 0.9)
    width = c.uniform(0.05, 0.2)
    heel = box(c.x - 0.88 + width, c.y - base - sole + lift / 2, width, lift / 2)
    return upper, torch.minimum(tread, heel), ground


def _sandal(c: Canvas) -> tuple[Tensor, Tensor]:
    lift, sole = c.bernoulli(0.5) * c.uniform(0.1, 0.8), c.uniform(0.06, 0.2)
    upper, tread, ground = _shoe(c, lift, c.uniform(0.15, 0.3), c.uniform(0.1, 0.4), sole)
    wave = torch.sin(c.uniform(6, 13) * (c.x + c.uniform(-0.7, 0.9) * c.y) + c.uniform(0, 6))
    straps = torch.maximum(upper, 0.12 * (wave + c.uniform(-0.4, 0.5)))
    ankle = ellipse(c.x - 0.55, c.y - ground + c.uniform(0.4, 0.7), c.uniform(0.2, 0.32), c.uniform(0.08, 0.3))
    straps = torch.minimum(straps, ankle.abs() - 0.05 + 1 - c.bernoulli(0.6))
    return torch.minimum(straps, tread), blend(_fabric(c), tread, c.contrast_tone())


def _sneaker(c: Canvas) -> tuple[Tensor, Tensor]:
    toe, rise, sole = c.uniform(0.2, 0.32), c.uniform(0.12, 0.4), c.uniform(0.08, 0.18)
    upper, tread, ground = _shoe(c, c.uniform(0, 0.12), toe, rise, sole)
    ankle = c.x - c.uniform(0.4, 0.55)
    collar = ellipse(ankle, c.y - ground + toe + rise, c.uniform(0.2, 0.35), c.uniform(0.06, 0.2))
    laces = torch.maximum((c.x + c.uniform(0.05, 0.25)).abs() - 0.2, 0.05 * torch.sin(28 * (c.x + 0.5 * c.y)))
    shade = blend(blend(_fabric(c), laces, c.contrast_tone()), tread, c.contrast_tone())
    return torch.minimum(torch.maximum(upper, -collar), tread), shade


def _bag(c: Canvas) -> tuple[Tensor, Tensor]:
    half, top, bottom = c.uniform(0.5, 0.9), c.uniform(-0.5, 0.1), c.uniform(0.5, 0.9)
    body = box(c.x, c.y - (top + bottom) / 2, half + c.uniform(-0.15, 0.15) * c.y, (bottom - top) / 2)
    arch = ellipse(c.x, c.y - top, half * c.uniform(0.35, 0.95), c.uniform(0.2, 0.8))
    handle = arch.abs() - c.uniform(0.03, 0.07)
    flap, tone = c.y - top - c.uniform(0.15, 0.5), c.contrast_tone()
    shade = blend(blend(_fabric(c), flap.abs() - 0.03, tone), box(c.x, flap, 0.07, 0.09), tone)
    return torch.minimum(body, torch.maximum(handle, c.y - top)), shade


def _ankle_boot(c: Canvas) -> tuple[Tensor, Tensor]:
    lift = c.bernoulli(0.6) * c.uniform(0.05, 0.6)
    upper, tread, ground = _shoe(c, lift, c.uniform(0.22, 0.36), c.uniform(0.15, 0.4), c.uniform(0.06, 0.16))
    top, middle = c.uniform(-0.9, -0.3), c.uniform(0.42, 0.52)
    shaft = (c.x - middle).abs() - c.uniform(0.28, 0.42) + 0.08 * c.y
    shaft = torch.maximum(shaft, torch.maximum(top - c.y, c.y - ground))
    seam = torch.maximum((c.x - c.uniform(0.2, 0.6) - 0.2 * c.y).abs() - 0.05, c.y - 0.1)
    shade = blend(blend(_fabric(c), seam, c.contrast_tone()), tread, c.contrast_tone())
    return torch.minimum(torch.minimum(upper, shaft), tread), shade


GARMENT_SHAPES: dict[str, Garment] = {
    "t-shirt": _t_shirt,
    "trouser": _trouser,
    "pullover": _pullover,
    "dress": _dress,
    "coat": _coat,
    "sandal": _sandal,
    "shirt": _shirt,
    "sneaker": _sneaker,
    "bag": _bag,
    "ankle boot": _ankle_boot,
}
