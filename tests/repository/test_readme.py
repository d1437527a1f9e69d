"""The README: every model is listed, the contents are complete, and its example runs."""

import re
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()


def test_every_model_is_listed() -> None:
    models = {path.stem for path in (ROOT / "conf" / "model").glob("*.yaml")}
    assert models == set(re.findall(r"^\| `(\w+)` \| [\d.]+ \|", README, flags=re.MULTILINE))


def test_the_readme_is_short_and_its_contents_are_complete() -> None:
    assert len(README.splitlines()) <= 310
    contents = README.split("**Contents:**")[1].split("\n\n")[0]
    listed = re.findall(r"\[(.*?)\]\(#", contents)
    assert set(re.findall(r"(?m)^## (.*)$", README)) <= set(listed)


@pytest.mark.slow
def test_the_example_for_notebooks_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    section = README.split("\n## Notebooks\n")[1].split("\n## ")[0]
    (code,) = re.findall(r"```python\n(.*?)```", section, flags=re.DOTALL)
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    exec(code, names)
    assert names["trained"].metrics["test/acc"] > 0.8
    assert (names["trained"].directory / "result.json").exists()
