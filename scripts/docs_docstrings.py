"""Docstrings for the site: examples as blocks of code, and names in backquotes as links to what they name."""

import re
from typing import Any

from griffe import Extension, NameResolutionError, Object

# Lines from a prompt on, up to an empty line.
EXAMPLE = re.compile(r"(?m)^>>> .*(?:\n.+)*")
NAME = re.compile(r"(?<![`\[\w])`([A-Za-z_][\w.]*)`(?![`\]])")


class Docstrings(Extension):
    """Rewrites them as they are loaded."""

    def on_package(self, *, pkg: Object, **_: Any) -> None:
        """Now that all is loaded, so that names can be resolved."""
        self._rewrite(pkg)

    def _rewrite(self, owner: Object) -> None:
        if owner.docstring is not None:
            owner.docstring.value = NAME.sub(lambda found: linked(found, owner), fenced(owner.docstring.value))
        for member in owner.members.values():
            if not member.is_alias:
                self._rewrite(member)


def fenced(docstring: str) -> str:
    """A docstring whose examples are blocks of code."""
    return EXAMPLE.sub(lambda found: f"```pycon\n{found[0]}\n```", docstring)


def linked(found: re.Match[str], owner: Object) -> str:
    """A name in backquotes as a link, where it means something public of dive that stands elsewhere."""
    try:
        path = owner.resolve(found[1])
    except NameResolutionError:
        return found[0]
    if not path.startswith("dive.") or "._" in path or path == owner.path or "(" in path:
        return found[0]
    try:
        target = owner.modules_collection[path]
    except KeyError:
        return found[0]
    return f"[{found[0]}][{target.canonical_path}]" if target.has_docstring else found[0]
