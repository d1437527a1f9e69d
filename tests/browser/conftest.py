"""A finished sweep, TensorBoard over it, and a browser that keeps what a page complains of or asks others for."""

import io
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

ROOT = Path(__file__).parents[2]
FIGURES = ROOT / "docs" / "figures"
BROWSERS = ("chromium", "chromium-browser", "google-chrome")

# The last momentum makes NaN of the weights.
KEYS = {"model.activation": ("relu", "tanh"), "optimizer.momentum": ("0", "0.9", "20")}


def pytest_addoption(parser: pytest.Parser) -> None:
    """``make test-browser ARGS=--screenshots`` draws the README's pictures of what is tested."""
    parser.addoption("--screenshots", action="store_true", help="write docs/figures/tensorboard_*.png")


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """A headless Chromium; skips where there is none."""
    playwright = pytest.importorskip(
        "playwright.sync_api", reason="playwright is not installed: make test-browser installs it"
    )
    program = next(filter(None, map(shutil.which, BROWSERS)), None)
    if program is None:
        pytest.skip(f"no browser is installed: none of {', '.join(BROWSERS)}")
    with playwright.sync_playwright() as running:
        # Chromium does not sandbox root, and a container may have no shared memory to speak of.
        opened = running.chromium.launch(executable_path=program, args=["--no-sandbox", "--disable-dev-shm-usage"])
        yield opened
        opened.close()


@pytest.fixture(scope="session")
def sweep(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six jobs, of which two have failed; run from the command line."""
    folder = tmp_path_factory.mktemp("work")
    varied = [f"{key}={','.join(values)}" for key, values in KEYS.items()]
    command = [
        ROOT / "train.py",
        "-m",
        "model=mlp",
        "data=garments",
        "trainer.max_epochs=3",
        "sweep=look",
        *varied,
    ]
    done = subprocess.run(
        [sys.executable, *command, "launcher=parallel"], cwd=folder, capture_output=True, text=True
    )
    assert "2 of 6 jobs failed" in done.stderr, done.stdout + done.stderr
    return folder / "multirun" / "look"


@pytest.fixture(scope="session")
def board(sweep: Path) -> Iterator[str]:
    """The address of TensorBoard, started as a person would start it."""
    words = ["-f", ROOT / "Makefile", "tensorboard", f"SWEEP={sweep.name}", f"BIN={Path(sys.executable).parent}"]
    running = subprocess.Popen(
        ["make", *words, "INSTALLED=", "ARGS=--port 0"],
        cwd=sweep.parents[1],
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONWARNINGS": "ignore"},
        start_new_session=True,
    )
    assert running.stderr is not None
    for line in running.stderr:
        if found := re.search(r"at (http://127\.0\.0\.1:\d+/)", line):
            break
    else:
        pytest.fail("TensorBoard has not started")
    yield found[1]
    os.killpg(running.pid, 15)
    running.wait()
    running.stderr.close()


class Watched:
    """A page, and what it does that it should not.

    Attributes:
        complaints: errors on its console, and requests to elsewhere, which are not let out.
    """

    def __init__(self, browser: Any, home: str, figures: Path | None) -> None:
        self.page = browser.new_page(viewport={"width": 1400, "height": 800})
        self.home = home
        self.figures = figures
        self.complaints: list[str] = []
        self.page.on("console", lambda told: self._note(told.text) if told.type == "error" else None)
        self.page.on("pageerror", lambda error: self._note(str(error)))
        self.page.route(lambda address: not address.startswith((home, "data:", "blob:")), self._refuse)

    def _note(self, complaint: str) -> None:
        self.complaints.append(complaint)

    def _refuse(self, route: Any) -> None:
        self._note(f"asks for {route.request.url}")
        route.abort()

    def open(self, part: str = "") -> Any:
        """Go to a part of the site, from anew, and return the page."""
        self.page.goto("about:blank")
        self.page.goto(self.home + part)
        return self.page

    def keep(self, name: str) -> None:
        """A screenshot for the README, where that is asked for."""
        if self.figures is not None:
            shot = Image.open(io.BytesIO(self.page.screenshot()))
            shot.quantize(128).save(self.figures / f"{name}.png", optimize=True)


@pytest.fixture
def watched(browser: Any, pytestconfig: pytest.Config) -> Iterator[Callable[[str], Watched]]:
    """A page of a site; at the end it must not have complained, nor asked anybody else for anything."""
    pages = []

    def look(home: str) -> Watched:
        pages.append(Watched(browser, home, FIGURES if pytestconfig.getoption("--screenshots") else None))
        return pages[-1]

    yield look
    for one in pages:
        one.page.close()
        assert one.complaints == []
