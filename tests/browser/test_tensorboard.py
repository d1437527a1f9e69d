"""TensorBoard of a finished sweep in a browser."""

from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from tests.browser.conftest import KEYS

NAMES = sorted(
    ",".join(f"{key}={value}" for key, value in zip(KEYS, values, strict=True))
    for values in product(*KEYS.values())
)
IMAGES = ("validation/sample predictions", "validation/top losses", "validation/confusion matrix", "first layer")
FIRST_PAGE = 4 + 12  # first-layer images of the finished jobs, and twelve of the other images
LOADED = """number => {
    const found = [];
    const walk = node => {
        if (node.tagName === "IMG") found.push(node);
        if (node.shadowRoot) walk(node.shadowRoot);
        node.childNodes.forEach(walk);
    };
    walk(document.body);
    return found.length >= number && found.every(image => image.naturalWidth > 100);
}"""
TABLE = """grid => {
    const shown = element => element.offsetParent !== null && element.offsetWidth > 0;
    const text = cell => cell.querySelector("slot").assignedNodes()[0].innerText.trim();
    const rows = [...grid.shadowRoot.querySelectorAll("thead tr, tbody tr")].filter(shown);
    return rows.map(row => [...row.children].filter(shown).map(text));
}"""
OpenSite = Callable[[str], Any]


def test_runs_are_named_by_varied_keys(board: str, open_site: OpenSite) -> None:
    site = open_site(board)
    rows = site.open("#timeseries").locator("runs-data-table tb-data-table-content-row")
    rows.nth(5).wait_for()
    assert sorted(row.inner_text().strip() for row in rows.all()) == NAMES


def test_each_metric_has_a_chart_and_custom_scalars_combine_train_and_val(board: str, open_site: OpenSite) -> None:
    site = open_site(board)
    page = site.open("#timeseries")
    for tag in ("train/loss", "val/loss", "train/acc", "val/acc"):
        page.get_by_role("combobox", name="Filter tags (regex)").fill(f"^{tag}$")
        page.locator("scalar-card", has_text=tag).locator("line-chart").first.wait_for()
    page = site.open("#custom_scalars")
    matches = page.get_by_text("Matches (")
    matches.nth(3).wait_for()
    page.wait_for_function("() => !document.body.innerText.includes('Matches (0)')")
    page.wait_for_timeout(1500)  # for the screenshot: until the lines are drawn
    site.save_screenshot("tensorboard_charts")
    # Two curves per job; jobs that failed in the first epoch have only the validation curve.
    assert [text.inner_text() for text in matches.all()] == [f"Matches ({n})" for n in (10, 10, 4, 8)]


def test_images_are_displayed(board: str, open_site: OpenSite) -> None:
    site = open_site(board)
    page = site.open("#images")
    images = page.locator("tf-image-loader")
    images.nth(FIRST_PAGE - 1).wait_for(state="attached")
    page.wait_for_function(LOADED, arg=FIRST_PAGE)
    for tag in IMAGES:
        page.get_by_text(f"tag: {tag}", exact=True).first.wait_for(state="attached")
    page.get_by_role("textbox", name="Filter tags").fill("samples|confusion")
    page.wait_for_timeout(1500)  # for the screenshot: until other images are gone
    site.save_screenshot("tensorboard_images")


def test_hparams_table_has_a_row_per_job_and_no_empty_cell(board: str, sweep: Path, open_site: OpenSite) -> None:
    site = open_site(board)
    page = site.open("#hparams")
    grid = page.locator("tf-hparams-table-view vaadin-grid")
    page.locator("vaadin-grid-cell-content").get_by_text(NAMES[-1], exact=True).wait_for()
    head, *rows = grid.evaluate(TABLE)
    site.save_screenshot("tensorboard_hparams")
    assert head[:2] == ["Trial ID", "Show Metrics"]
    assert head[2:6] == [*KEYS, "best val/acc", "final val/acc"]
    cells = {row[0]: [cell for name, cell in zip(head, row, strict=True) if name not in head[:2]] for row in rows}
    assert sorted(cells) == NAMES
    assert all(all(row) for row in cells.values()), cells
    assert not {"-1", "None", "null"} & {cell for row in cells.values() for cell in row}
    report = pd.read_csv(sweep / "report.csv").set_index("job")
    for name, row in cells.items():
        for column, cell in list(zip(head[2:], row, strict=True))[1:]:
            assert float(cell) == pytest.approx(float(report.loc[name, column]), rel=1e-4, abs=0, nan_ok=True)


def test_parallel_coordinates_have_a_line_per_job_with_metrics(board: str, open_site: OpenSite) -> None:
    site = open_site(board)
    page = site.open("#hparams")
    page.get_by_text("Parallel Coordinates View").click()
    lines = page.locator("tf-hparams-parallel-coords-plot .foreground path")
    lines.nth(3).wait_for(state="attached")
    page.wait_for_timeout(500)
    site.save_screenshot("tensorboard_parallel_coordinates")
    assert lines.count() >= 4
    for axis in (*KEYS, "best val/acc"):
        assert page.locator("tf-hparams-parallel-coords-plot .axis").get_by_text(axis, exact=True).count() >= 1


def test_text_graph_histograms_and_pr_curves_are_displayed(board: str, open_site: OpenSite) -> None:
    site = open_site(board)
    page = site.open("#text")
    page.get_by_text("python train.py model=mlp data=garments").first.wait_for()
    page = site.open("#graphs")
    page.locator("svg text", has_text="MLP").first.wait_for()
    page = site.open("#histograms")
    page.get_by_text("gradients").first.wait_for()
    page = site.open("#pr_curves")
    page.get_by_text("precision and recall").first.wait_for()
