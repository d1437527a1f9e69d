"""The documentation is true: outputs on the book's pages, commands, links, and the committed notebooks."""

import doctest
import json
import re
import shlex
from pathlib import Path

import pytest

from dive.config.compose import compose_resolved
from dive.config.groups import CONFIG_DIR

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
GUIDES = [ROOT / "README.md", *sorted(DOCS.glob("*.md"))]
CHAPTERS = [path for path in GUIDES if ">>> " in path.read_text()]
MARKDOWN = sorted(
    path for path in [*ROOT.glob("*.md"), *DOCS.glob("*.md")] if path.name != "CHANGELOG.md"
)  # the changelog has old names
NOTEBOOKS = sorted((DOCS / "notebooks").glob("*.ipynb"))
FLAGS = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS


def python_blocks(page: str) -> str:
    """The Python blocks of a page, each at its line number, with empty lines in place of everything else."""
    pattern = re.compile(r"^```python\n(.*?)^```$", flags=re.MULTILINE | re.DOTALL)
    text, end = "", 0
    for block in pattern.finditer(page):
        text += "\n" * page.count("\n", end, block.start(1)) + block[1]
        end = block.end(1)
    return text


def commands(page: Path) -> list[str]:
    """The arguments of each ``python train.py`` command: alone on a line, and in chapters also within text."""
    start = "^.*?" if page in CHAPTERS else "^"
    found = re.findall(rf"(?m){start}python train\.py (.*?)\s*(?:#.*|`.*)?$", page.read_text())
    return [arguments for arguments in found if not re.search(r"(^| )(--\w|-sc )", arguments)]


def first_job(arguments: str) -> list[str]:
    """The overrides of a command: of a sweep, those of its first job."""
    words = [word for word in shlex.split(arguments) if word != "-m" and not word.startswith("resume=")]
    words = [re.sub(r"=tag\(.*", "=0.1", word) for word in words]
    return [re.sub(r"(=[^\[,]*),.*", r"\1", word) for word in words]


@pytest.mark.slow
@pytest.mark.parametrize("page", CHAPTERS, ids=lambda page: page.stem)
def test_outputs_on_a_page_are_reproduced(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    test = doctest.DocTestParser().get_doctest(python_blocks(page.read_text()), {}, page.stem, str(page), 0)
    assert test.examples
    messages: list[str] = []
    failed, _ = doctest.DocTestRunner(optionflags=FLAGS).run(test, out=messages.append)
    assert not failed, "".join(messages)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("page", "arguments"), [(page.stem, words) for page in GUIDES for words in dict.fromkeys(commands(page))]
)
def test_every_command_composes(page: str, arguments: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: name)  # as if optional packages were installed
    assert compose_resolved(*first_job(arguments))


def test_every_experiment_is_named_in_a_chapter_and_every_chapter_ends_with_its_commands() -> None:
    texts = [page.read_text() for page in CHAPTERS]
    assert len(texts) == 4
    named = {name for text in texts for name in re.findall(r"experiment=(\w+)", text)}
    assert named == {path.stem for path in (CONFIG_DIR / "experiment").glob("*.yaml")}
    for page, text in zip(CHAPTERS, texts, strict=True):
        last = text.split("\n## ")[-1]
        assert last.startswith("Run it yourself\n")
        assert f"tests/repository/test_docs.py -k {page.stem}" in last
        for path in re.findall(r"`(conf/[\w/]+\.yaml)`", text):
            assert (CONFIG_DIR.parent / path).is_file()


def heading_anchors(text: str) -> set[str]:
    """The anchors of all headings, as GitHub and MkDocs generate them."""
    headings = re.findall(r"(?m)^#+ (.*)$", re.sub(r"(?ms)^```.*?^```$", "", text))
    return {re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", MARKDOWN, ids=lambda page: page.stem)
def test_relative_links_resolve(page: Path) -> None:
    for target in re.findall(r"\]\((?!https?://)([^)\s]+)\)", page.read_text()):
        path, _, anchor = target.partition("#")
        linked = (page.parent / path) if path else page
        assert linked.exists(), target
        assert not anchor or anchor in heading_anchors(linked.read_text()), target


@pytest.mark.parametrize("page", MARKDOWN, ids=lambda page: page.stem)
def test_paths_in_code_exist(page: Path) -> None:
    for path in re.findall(r"`((?:src|conf|scripts|tests|docs)/[\w./-]+)`", page.read_text()):
        if page.stem != "extending" and "NAME" not in path:  # files that a reader adds
            assert (ROOT / path).exists(), path


def test_every_page_is_in_the_navigation() -> None:
    navigation = (ROOT / "mkdocs.yml").read_text()
    for path in [*DOCS.glob("*.md"), *NOTEBOOKS]:
        assert f": {path.relative_to(DOCS)}\n" in navigation


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebooks_are_committed_with_outputs_and_without_machine_data(path: Path) -> None:
    cells = json.loads(path.read_text())["cells"]
    outputs = [output for cell in cells for output in cell.get("outputs", [])]
    assert any("image/png" in output.get("data", {}) for output in outputs)
    text = json.dumps([[output.get("text"), output.get("data", {}).get("text/plain")] for output in outputs])
    assert not re.search(r"/home/|/root/|/tmp/|/work/|/Users/|20\d\d-\d\d-\d\d", text)
    assert all(output.get("name") != "stderr" and output["output_type"] != "error" for output in outputs)
    assert path.stat().st_size < 500_000
