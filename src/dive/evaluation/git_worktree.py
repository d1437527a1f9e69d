"""Check out the recorded code of a run in a temporary git worktree."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from dive.errors import RunError

UNTRACKED = b"untracked: "  # prefix of the lines in which `dive.runs.provenance.code_diff` lists untracked files


@contextmanager
def git_worktree(revision: str, diff: bytes) -> Iterator[Path]:
    """A temporary worktree of this repository at a revision, with the content of a ``code.diff`` applied.

    Raises:
        RunError: there is no such revision, the diff does not apply, or this is not a git checkout.
    """
    repository = Path(__file__).parent
    with TemporaryDirectory(prefix="dive-") as folder:
        code = Path(folder) / revision[:7]
        _git(repository, f"revision {revision[:7]}", "worktree", "add", "--quiet", "--detach", str(code), revision)
        try:
            patch = b"".join(line for line in diff.splitlines(True) if not line.startswith(UNTRACKED))
            if patch:
                _git(code, "code.diff does not apply", "apply", "--index", "--whitespace=nowarn", "-", stdin=patch)
            yield code
        finally:
            _git(repository, str(code), "worktree", "remove", "--force", str(code))


def untracked_files(diff: bytes) -> list[str]:
    """The untracked files that a ``code.diff`` lists by name, without their content.

    >>> untracked_files(b"diff --git a/x b/x" + bytes([10]) + b"untracked: mine.py")
    ['mine.py']
    """
    names = [line.removeprefix(UNTRACKED) for line in diff.splitlines() if line.startswith(UNTRACKED)]
    return [name.decode(errors="replace") for name in names]


def _git(folder: Path, action: str, *args: str, stdin: bytes | None = None) -> None:
    try:
        subprocess.run(["git", *args], cwd=folder, input=stdin, capture_output=True, check=True)
    except FileNotFoundError as error:
        raise RunError(f"{action}: git is not installed") from error
    except subprocess.CalledProcessError as error:
        message = b" ".join(error.stderr.split()).decode(errors="replace")
        raise RunError(f"{action}: {message}") from error
