"""Griffe extension for the site: examples in docstrings become code blocks, names in backquotes become links."""

import re
from typing import Any

from griffe import Extension, NameResolutionError, Object

# From a prompt to the next empty line.
EXAMPLE = re.compile(r"(?m)^>>> .*(?:\n.+)*")
NAME = re.compile(r"(?<![`\[\w])`([A-Za-z_][\w.]*)`(?![`\]])")


class Docstrings(Extension):
    """Rewrites the docstrings of a package."""

    def on_package(self, *, pkg: Object, **_: Any) -> None:
        """Rewrite all docstrings once the whole package is loaded, so that names can be resolved."""
        self._rewrite(pkg)

    def _rewrite(self, owner: Object) -> None:
        if owner.docstring is not None:
            examples = EXAMPLE.sub(r"```pycon\n\g<0>\n```", owner.docstring.value)
            owner.docstring.value = NAME.sub(lambda match: link(match, owner), examples)
        for member in owner.members.values():
            if not member.is_alias:
                self._rewrite(member)


def link(match: re.Match[str], owner: Object) -> str:
    """A link to a name in backquotes if it resolves to a documented public object of dive other than its owner."""
    try:
        path = owner.resolve(match[1])
        if not path.startswith("dive.") or "._" in path or path == owner.path or "(" in path:
            return match[0]
        target = owner.modules_collection[path]
    except (NameResolutionError, KeyError):
        return match[0]
    return f"[{match[0]}][{target.canonical_path}]" if target.has_docstring else match[0]
