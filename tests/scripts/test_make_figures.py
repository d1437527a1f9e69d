"""The pictures of the pages: all from code, all shown, all readable on light and dark pages."""

import re
from itertools import product
from pathlib import Path

import figures
import pytest
from matplotlib.colors import to_rgb

from pages.style import COLOURS, INK

DOCS = Path(__file__).parents[2] / "docs"
SHOWN = {
    page.name: re.findall(r"(?s)!\[.*?\]\(figures/(\w+)\.svg\)", page.read_text()) for page in DOCS.glob("*.md")
}
OF_THE_PUBLISHED_IMAGES = {"fashion_mnist", "mistakes", "softmax_regression_curves"}


def luminance(colour: str) -> float:
    """Relative, as the Web Content Accessibility Guidelines have it."""
    linear = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in to_rgb(colour))
    return sum(weight * c for weight, c in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


@pytest.mark.parametrize(("colour", "page"), [*product((INK, *COLOURS), ("#ffffff", "#1e2029", "#0d1117"))])
def test_every_colour_stands_out_on_white_and_on_the_dark_pages(colour: str, page: str) -> None:
    low, high = sorted((luminance(colour), luminance(page)))
    assert (high + 0.05) / (low + 0.05) >= 3


def test_every_picture_is_drawn_by_code_shown_on_a_page_and_named_in_its_commands() -> None:
    drawn, kept = set(figures.pictures()), {path.stem for path in (DOCS / "figures").glob("*.svg")}
    assert drawn == kept == {name for names in SHOWN.values() for name in names}
    for page, names in SHOWN.items():
        command = re.search(r"python scripts/figures\.py (.*)", (DOCS / page).read_text())
        assert sorted(command[1].split() if command else []) == sorted(names), page


@pytest.mark.parametrize("name", sorted(figures.pictures()))
def test_it_is_drawn_and_is_the_same_each_time(
    name: str, tmp_path: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    if name in OF_THE_PUBLISHED_IMAGES:
        monkeypatch.setenv("DIVE_DATA", str(request.getfixturevalue("real_data")))
    first = figures.draw(name, tmp_path).read_text()
    assert first.startswith("<?xml")
    if name not in {"symmetry", *OF_THE_PUBLISHED_IMAGES}:  # which take longer
        assert figures.draw(name, tmp_path).read_text() == first
