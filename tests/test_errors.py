"""What a script says when something is in its way."""

from pathlib import Path

import pytest

from dive.errors import RunError, one_line_errors


def test_a_user_s_mistake_is_one_line_and_a_status() -> None:
    with pytest.raises(SystemExit, match=r"^error: no such run$"), one_line_errors():
        raise RunError("no such run")


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match=rf"^error: {tmp_path}/x: No such file or directory$"), one_line_errors():
        (tmp_path / "x").read_text()


def test_a_mistake_of_the_code_keeps_its_traceback() -> None:
    with pytest.raises(ZeroDivisionError), one_line_errors():
        1 / 0  # noqa: B018  # that it fails is the point
