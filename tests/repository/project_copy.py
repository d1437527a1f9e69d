"""A copy of the project in a temporary folder, for tests that extend or rename it."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


class ProjectCopy:
    """The files of the project, as git knows them, in another folder.

    Args:
        parent: an empty folder.

    Attributes:
        root: the root of the copy.
    """

    def __init__(self, parent: Path) -> None:
        if not (ROOT / ".git").exists():
            pytest.skip("not a git repository")
        self.root = parent / "project"
        command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
        listed = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
        for name in listed.split("\0"):
            if (ROOT / name).is_file():
                (self.root / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(ROOT / name, self.root / name)
        # The virtual environment has src/ of the original on its path, and must not find the packages there.
        site = parent / "site"
        site.mkdir()
        (site / "sitecustomize.py").write_text(f"import sys\nsys.path.remove({str(ROOT / 'src')!r})\n")
        self.environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(site), str(self.root / "src")])}

    def run(self, *command: str, cwd: Path | None = None, **environment: str) -> str:
        """Run a command, in the root of the copy by default, and return its output.

        Raises:
            AssertionError: the exit status is not 0; the message is the output.
        """
        done = subprocess.run(
            command,
            cwd=cwd or self.root,
            env=self.environment | environment,
            capture_output=True,
            text=True,
            timeout=900,
        )
        assert done.returncode == 0, f"{command}\n{done.stdout[-5000:]}\n{done.stderr[-5000:]}"
        return done.stdout

    def python(self, *arguments: str, cwd: Path | None = None, **environment: str) -> str:
        """Run Python as `run` does."""
        return self.run(sys.executable, *arguments, cwd=cwd, **environment)

    def run_tests(self, expression: str) -> str:
        """Collect all fast tests and run those that an expression of ``pytest -k`` selects; all must pass."""
        out = self.python("-m", "pytest", "-rA", "-p", "no:cacheprovider", "-m", "not slow", "-k", expression)
        assert re.search(r"\b\d+ passed", out)
        return out
