"""A sweep's report.html in a browser, opened from disk."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.browser.conftest import KEYS


def test_report_displays_table_and_plots_without_network(sweep: Path, open_site: Callable[[str], Any]) -> None:
    site = open_site((sweep / "report.html").as_uri())
    page = site.open()
    jobs = page.locator("h2", has_text="Jobs").locator("xpath=following-sibling::div[1]//tr")
    head, *rows = [row.locator("th, td").all_inner_texts() for row in jobs.all()]
    assert len(rows) == 6
    assert set(KEYS) < set(head)
    status, score = head.index("status"), head.index("score")
    assert sorted(row[status] for row in rows) == ["failed"] * 2 + ["finished"] * 4
    assert all(row[score] for row in rows if row[status] == "finished")
    images = page.locator("img")
    assert [image.get_attribute("alt") for image in images.all()] == ["Learning curves", "Scores"]
    assert all(image.evaluate("image => image.naturalWidth") > 500 for image in images.all())
    site.save_screenshot("sweep_report")
