"""A finished sweep, TensorBoard for it, and a browser that collects console errors and external requests."""

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

# With the last momentum, weights become NaN.
KEYS = {"model.activation": ("relu", "tanh"), "optimizer.momentum": ("0", "0.9", "20")}


def pytest_addoption(parser: pytest.Parser) -> None:
    """``make test-browser ARGS=--screenshots`` updates the screenshots of the README."""
    parser.addoption("--screenshots", action="store_true", help="write docs/figures/tensorboard_*.png")


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """A headless Chromium; skips the tests if none is installed."""
    playwright = pytest.importorskip(
        "playwright.sync_api", reason="playwright is not installed: make test-browser installs it"
    )
    program = next(filter(None, map(shutil.which, BROWSERS)), None)
    if program is None:
        pytest.skip(f"no browser is installed: none of {', '.join(BROWSERS)}")
    with playwright.sync_playwright() as api:
        # Chromium cannot sandbox the root user, and a container may have little shared memory.
        instance = api.chromium.launch(executable_path=program, args=["--no-sandbox", "--disable-dev-shm-usage"])
        yield instance
        instance.close()


@pytest.fixture(scope="session")
def sweep(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sweep of six jobs, two of which fail, run from the command line."""
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
    """The URL of TensorBoard, started with ``make tensorboard``."""
    arguments = [
        "-f",
        ROOT / "Makefile",
        "tensorboard",
        f"SWEEP={sweep.name}",
        f"BIN={Path(sys.executable).parent}",
    ]
    running = subprocess.Popen(
        ["make", *arguments, "INSTALLED=", "ARGS=--port 0"],
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


class Site:
    """A browser page that collects problems.

    Attributes:
        problems: console errors, and requests to other hosts, which are blocked.
    """

    def __init__(self, browser: Any, home: str, figures: Path | None) -> None:
        self.page = browser.new_page(viewport={"width": 1400, "height": 800})
        self.home = home
        self.figures = figures
        self.problems: list[str] = []
        self.page.on(
            "console", lambda message: self._add_problem(message.text) if message.type == "error" else None
        )
        self.page.on("pageerror", lambda error: self._add_problem(str(error)))
        self.page.route(lambda address: not address.startswith((home, "data:", "blob:")), self._block)

    def _add_problem(self, problem: str) -> None:
        self.problems.append(problem)

    def _block(self, route: Any) -> None:
        self._add_problem(f"requests {route.request.url}")
        route.abort()

    def open(self, fragment: str = "") -> Any:
        """Reload the site at a fragment such as ``#images``, and return the page."""
        self.page.goto("about:blank")
        self.page.goto(self.home + fragment)
        return self.page

    def save_screenshot(self, name: str) -> None:
        """Save a screenshot for the README if ``--screenshots`` is given."""
        if self.figures is not None:
            shot = Image.open(io.BytesIO(self.page.screenshot()))
            shot.quantize(128).save(self.figures / f"{name}.png", optimize=True)


@pytest.fixture
def open_site(browser: Any, pytestconfig: pytest.Config) -> Iterator[Callable[[str], Site]]:
    """Open a site; after the test, asserts that there were no console errors or external requests."""
    sites = []

    def open_(home: str) -> Site:
        sites.append(Site(browser, home, FIGURES if pytestconfig.getoption("--screenshots") else None))
        return sites[-1]

    yield open_
    for site in sites:
        site.page.close()
        assert site.problems == []
