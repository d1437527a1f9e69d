"""The figures of the book pages: all made by code, all shown, with enough contrast on light and dark pages."""

import re
from itertools import product
from pathlib import Path

import pytest
from matplotlib.colors import to_rgb

import make_figures
from pages.style import COLORS, INK

DOCS = Path(__file__).parents[2] / "docs"
SHOWN = {
    page.name: re.findall(r"(?s)!\[.*?\]\(figures/(\w+)\.svg\)", page.read_text()) for page in DOCS.glob("*.md")
}
NEED_FASHION_MNIST = {"fashion_mnist", "mistakes", "softmax_regression_curves"}


def luminance(color: str) -> float:
    """Relative luminance as defined by the Web Content Accessibility Guidelines."""
    linear = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in to_rgb(color))
    return sum(weight * c for weight, c in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


@pytest.mark.parametrize(("color", "page"), [*product((INK, *COLORS), ("#ffffff", "#1e2029", "#0d1117"))])
def test_every_color_has_enough_contrast_on_light_and_dark_pages(color: str, page: str) -> None:
    low, high = sorted((luminance(color), luminance(page)))
    assert (high + 0.05) / (low + 0.05) >= 3


def test_every_figure_is_made_by_code_shown_on_a_page_and_named_in_its_commands() -> None:
    made, saved = set(make_figures.FIGURES), {path.stem for path in (DOCS / "figures").glob("*.svg")}
    assert made == saved == {name for names in SHOWN.values() for name in names}
    for page, names in SHOWN.items():
        command = re.search(r"python scripts/make_figures\.py (.*)", (DOCS / page).read_text())
        assert sorted(command[1].split() if command else []) == sorted(names), page


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(make_figures.FIGURES))
def test_figure_is_reproducible(
    name: str, tmp_path: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    if name in NEED_FASHION_MNIST:
        monkeypatch.setenv("DIVE_DATA", str(request.getfixturevalue("real_data")))
    first = make_figures.save_figure(name, tmp_path).read_text()
    assert first.startswith("<?xml")
    if name not in {"symmetry", *NEED_FASHION_MNIST}:  # these take longer
        assert make_figures.save_figure(name, tmp_path).read_text() == first
