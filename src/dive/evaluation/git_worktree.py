"""The code as it was when a run was recorded, checked out beside today's."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from dive.errors import RunError

UNTRACKED = b"untracked: "  # how `dive.runs.provenance.code_diff` names files that git does not know


@contextmanager
def git_worktree(revision: str, diff: bytes) -> Iterator[Path]:
    """A git worktree of a revision with a diff applied, in a temporary folder, removed afterwards.

    Args:
        revision: of this package's repository.
        diff: as ``code.diff`` holds it.

    Raises:
        RunError: there is no such revision, the diff does not apply, or this is no git checkout.
    """
    repository = Path(__file__).parent
    with TemporaryDirectory(prefix="dive-") as folder:
        code = Path(folder) / revision[:7]
        _git(repository, f"revision {revision[:7]}", "worktree", "add", "--quiet", "--detach", str(code), revision)
        try:
            patch = b"".join(line for line in diff.splitlines(True) if not line.startswith(UNTRACKED))
            if patch:
                _git(code, "code.diff does not apply", "apply", "--index", "--whitespace=nowarn", "-", given=patch)
            yield code
        finally:
            _git(repository, str(code), "worktree", "remove", "--force", str(code))


def untracked_files(diff: bytes) -> list[str]:
    """The files that git did not know: their names are recorded, and not what was in them.

    >>> untracked_files(b"diff --git a/x b/x" + bytes([10]) + b"untracked: mine.py")
    ['mine.py']
    """
    named = [line.removeprefix(UNTRACKED) for line in diff.splitlines() if line.startswith(UNTRACKED)]
    return [name.decode(errors="replace") for name in named]


def _git(folder: Path, what: str, *words: str, given: bytes | None = None) -> None:
    try:
        subprocess.run(["git", *words], cwd=folder, input=given, capture_output=True, check=True)
    except FileNotFoundError as error:
        raise RunError(f"{what}: git is not installed") from error
    except subprocess.CalledProcessError as error:
        told = b" ".join(error.stderr.split()).decode(errors="replace")
        raise RunError(f"{what}: {told}") from error
