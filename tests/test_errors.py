"""One-line errors of scripts."""

from pathlib import Path

import pytest

from dive.errors import RunError, one_line_errors


def test_user_error_is_one_line_and_exit_status_1() -> None:
    with pytest.raises(SystemExit, match=r"^error: no such run$"), one_line_errors():
        raise RunError("no such run")


def test_os_error_names_the_file(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match=rf"^error: {tmp_path}/x: No such file or directory$"), one_line_errors():
        (tmp_path / "x").read_text()


def test_programming_error_keeps_its_traceback() -> None:
    with pytest.raises(ZeroDivisionError), one_line_errors():
        1 / 0  # noqa: B018  # that it fails is the point
