"""MkDocs hooks: one API reference page per module, and links from names of dive to their docstrings."""

import re
from itertools import groupby
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

SOURCE = Path(__file__).parents[1] / "src"

# A dotted name of dive in <code>. Links, headings and code blocks match first and are left unchanged.
NAME = re.compile(r"<(a|autoref|h\d|pre)\b.*?</\1>|<code>(dive(?:\.\w+)+)</code>", flags=re.DOTALL)


def modules() -> list[str]:
    """The full names of all modules."""
    paths = (path.relative_to(SOURCE).with_suffix("") for path in (SOURCE / "dive").rglob("*.py"))
    return sorted(".".join(path.parts).removesuffix(".__init__") for path in paths)


def package(module: str) -> str:
    """The package of dive that a module belongs to; an empty string for top-level modules."""
    parts = module.split(".")
    return parts[1] if len(parts) > 1 and (SOURCE / "dive" / parts[1]).is_dir() else ""


def on_config(config: Any) -> Any:
    """Add the reference to the navigation: top-level modules first, then the packages."""
    reference: list[dict[str, Any]] = []
    for name, members in groupby(sorted(modules(), key=package), key=package):
        pages = [{module: f"reference/{module}.md"} for module in members]
        reference += [{f"dive.{name}": pages}] if name else pages
    config.nav.append({"Reference": reference})
    return config


def on_files(files: Files, config: Any) -> Files:
    """Add the reference pages."""
    for module in modules():
        files.append(File.generated(config, f"reference/{module}.md", content=f"::: {module}\n"))
    return files


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Highlight examples with prompts as a Python console."""
    return markdown.replace("```python\n>>>", "```pycon\n>>>")


def on_page_content(html: str, page: Any, **_: Any) -> str:
    """Link each dotted name of dive. A name that does not exist is a warning, which fails a strict build."""
    if page.file.src_uri == "fault_injection.md":  # some names there are injected by an attacker and do not exist
        return html

    def link(match: re.Match[str]) -> str:
        name = match[2]
        return f'<autoref identifier="{name}"><code>{name}</code></autoref>' if name else match[0]

    return NAME.sub(link, html)
