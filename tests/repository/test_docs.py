"""The pages of the book: every line of output on them is true."""

import doctest
import re
from pathlib import Path

import pytest

from dive.config.compose import compose_resolved
from dive.config.groups import CONFIG_DIR

DOCS = Path(__file__).parents[2] / "docs"
PAGES = sorted(path for path in DOCS.glob("*.md") if ">>> " in path.read_text())
FLAGS = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS


def examples(page: str) -> str:
    """The blocks of Python of a page, each line where it stands, and empty lines for all else."""
    within = re.compile(r"^```python\n(.*?)^```$", flags=re.MULTILINE | re.DOTALL)
    kept, end = "", 0
    for block in within.finditer(page):
        kept += "\n" * page.count("\n", end, block.start(1)) + block[1]
        end = block.end(1)
    return kept


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_output_on_a_page_is_what_comes_out(
    page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    test = doctest.DocTestParser().get_doctest(examples(page.read_text()), {}, page.stem, str(page), 0)
    assert test.examples
    said: list[str] = []
    failed, _ = doctest.DocTestRunner(optionflags=FLAGS).run(test, out=said.append)
    assert not failed, "".join(said)


COMMANDS = [
    (page.stem, words)
    for page in PAGES
    for words in re.findall(r"(?m)^.*?python train\.py (.*?)\s*(?:#.*|`.*)?$", page.read_text())
]


@pytest.mark.parametrize(("page", "words"), COMMANDS)
def test_every_command_of_a_page_composes(page: str, words: str) -> None:
    several = re.compile(r"(=[^\[,]*),.*")  # of a sweep, its first job
    assert compose_resolved(*(several.sub(r"\1", word) for word in words.split() if word != "-m"))


def test_every_experiment_is_named_on_a_page_and_every_page_ends_with_its_commands() -> None:
    texts = [page.read_text() for page in PAGES]
    assert len(texts) == 4
    named = {name for text in texts for name in re.findall(r"experiment=(\w+)", text)}
    assert named == {path.stem for path in (CONFIG_DIR / "experiment").glob("*.yaml")}
    for page, text in zip(PAGES, texts, strict=True):
        last = text.split("\n## ")[-1]
        assert last.startswith("Run it yourself\n")
        assert f"tests/test_docs.py -k {page.stem}" in last
        for path in re.findall(r"`(conf/[\w/]+\.yaml)`", text):
            assert (CONFIG_DIR.parent / path).is_file()
