"""What MkDocs cannot know: a reference page for each module, and a link from a name to its docstring."""

import re
from itertools import groupby
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

SOURCE = Path(__file__).parents[1] / "src"

# A name of dive set as code; and what to leave alone, links, headings and blocks of code.
NAME = re.compile(r"<(a|autoref|h\d|pre)\b.*?</\1>|<code>(dive(?:\.\w+)+)</code>", flags=re.DOTALL)


def modules() -> list[str]:
    """The modules, by their full names."""
    paths = (path.relative_to(SOURCE).with_suffix("") for path in (SOURCE / "dive").rglob("*.py"))
    return sorted(".".join(path.parts).removesuffix(".__init__") for path in paths)


def package(module: str) -> str:
    """The part of dive that a module belongs to; the empty name for those at the top."""
    parts = module.split(".")
    return parts[1] if len(parts) > 1 and (SOURCE / "dive" / parts[1]).is_dir() else ""


def on_config(config: Any) -> Any:
    """Put the reference into the navigation, the parts of dive after its own modules."""
    reference: list[dict[str, Any]] = []
    for name, members in groupby(sorted(modules(), key=package), key=package):
        pages = [{module: f"reference/{module}.md"} for module in members]
        reference += [{f"dive.{name}": pages}] if name else pages
    config.nav.append({"Reference": reference})
    return config


def on_files(files: Files, config: Any) -> Files:
    """Add the pages of the reference."""
    for module in modules():
        files.append(File.generated(config, f"reference/{module}.md", content=f"::: {module}\n"))
    return files


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Colour examples as what they are: a Python console."""
    return markdown.replace("```python\n>>>", "```pycon\n>>>")


def on_page_content(html: str, page: Any, **_: Any) -> str:
    """Link each full name of dive; one that does not exist is a warning, and so an error."""
    if page.file.src_uri == "faults.md":  # names there are what somebody typed to do harm
        return html

    def linked(found: re.Match[str]) -> str:
        name = found[2]
        return f'<autoref identifier="{name}"><code>{name}</code></autoref>' if name else found[0]

    return NAME.sub(linked, html)
