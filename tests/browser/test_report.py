"""A sweep's report.html, as a browser shows it from the disk."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.browser.conftest import KEYS


def test_a_report_shows_its_table_and_its_pictures_and_needs_nobody_else(
    sweep: Path, watched: Callable[[str], Any]
) -> None:
    look = watched((sweep / "report.html").as_uri())
    page = look.open()
    jobs = page.locator("h2", has_text="Jobs").locator("xpath=following-sibling::div[1]//tr")
    head, *rows = [row.locator("th, td").all_inner_texts() for row in jobs.all()]
    assert len(rows) == 6
    assert set(KEYS) < set(head)
    status, score = head.index("status"), head.index("score")
    assert sorted(row[status] for row in rows) == ["failed"] * 2 + ["finished"] * 4
    assert all(row[score] for row in rows if row[status] == "finished")
    pictures = page.locator("img")
    assert [picture.get_attribute("alt") for picture in pictures.all()] == ["Learning curves", "Scores"]
    assert all(picture.evaluate("image => image.naturalWidth") > 500 for picture in pictures.all())
    look.keep("sweep_report")
