"""YAML of plain data, parsed as Hydra parses it: anybody may have edited the ``config.yaml`` of a run."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import yaml

from dive.errors import CONTROL_CHARACTER, RunError, printable

PLAIN_TYPES = (str, int, float, bool, type(None), list, dict)
MAX_DEPTH = 50
MAX_VALUES = 100_000

# The C implementation is ten times as fast, which matters for sweeps of a thousand jobs.
_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_FLOAT, _TIMESTAMP = "tag:yaml.org,2002:float", "tag:yaml.org,2002:timestamp"
_EXPONENT = re.compile(r"[-+]?[0-9][0-9_]*(\.[0-9_]*)?[eE][-+]?[0-9]+\Z")


class PlainLoader(_Loader):
    """Reads ``1e-3`` as a number and dates as strings, as Hydra does; YAML 1.1 does neither."""

    yaml_implicit_resolvers = {  # noqa: RUF012  # PyYAML's class attribute
        first: [(tag, pattern) for tag, pattern in resolvers if tag != _TIMESTAMP]
        for first, resolvers in _Loader.yaml_implicit_resolvers.items()
    }


class PlainDumper(yaml.SafeDumper):
    """Quotes strings that `PlainLoader` would read as something else, and repeats values instead of aliases."""

    def ignore_aliases(self, data: Any) -> bool:
        """Write a value that occurs twice twice."""
        return True


for _class in (PlainLoader, PlainDumper):
    _class.add_implicit_resolver(_FLOAT, _EXPONENT, list("-+0123456789"))


def load_plain(text: str) -> Any:
    """Parse YAML of plain data.

    Raises:
        ValueError: it is not valid YAML, or has something else than plain data.
    """
    try:
        value = yaml.load(text, PlainLoader)
    except yaml.YAMLError as error:
        raise ValueError(" ".join(str(error).split())) from error
    except RecursionError as error:
        raise ValueError(f"is nested more than {MAX_DEPTH} levels deep") from error
    if (problem := describe_non_plain(value)) is not None:
        raise ValueError(problem)
    return value


def dump_plain(value: Any) -> str:
    """Format plain data as YAML, in the given order; `load_plain` returns the same value."""
    return yaml.dump(value, Dumper=PlainDumper, sort_keys=False)


def describe_non_plain(value: Any) -> str | None:
    """Describe the first part that is not plain data: mappings, lists, strings, numbers, booleans and null.

    Hydra builds objects from tuples and sets as well, which `dive.config.validation` does not search.

    >>> describe_non_plain({"lr": 0.1, "layers": [1, (2, 3)]})
    'layers[1] is a tuple; only mappings, lists, strings, numbers, booleans and null are allowed'
    """
    stack: list[tuple[str, Any, int]] = [("", value, 0)]
    for _ in range(MAX_VALUES):
        if not stack:
            return None
        key, node, depth = stack.pop()
        if type(node) not in PLAIN_TYPES:
            kinds = "mappings, lists, strings, numbers, booleans and null"
            return f"{printable(key)} is a {type(node).__name__}; only {kinds} are allowed"
        if depth > MAX_DEPTH:
            return f"is nested more than {MAX_DEPTH} levels deep"
        if isinstance(node, str) and (found := CONTROL_CHARACTER.search(node.translate(_TEXT_LAYOUT))):
            return f"{printable(key)} contains the control character {printable(found[0])}"
        if isinstance(node, int) and not -(2**63) <= node < 2**63:
            return f"{printable(key)} is an integer with more than 64 bits"
        if isinstance(node, list):
            stack += [(f"{key}[{i}]", item, depth + 1) for i, item in reversed(list(enumerate(node)))]
        elif isinstance(node, dict):
            for name, item in reversed(node.items()):
                stack += [
                    (f"{key}.{name}" if key else str(name), item, depth + 1),
                    (f"key of {key}", name, depth + 1),
                ]
    return f"has more than {MAX_VALUES} values"


_TEXT_LAYOUT = str.maketrans("\n\t", "  ")  # allowed in strings


@contextmanager
def config_folder(config: dict[str, Any]) -> Iterator[Path]:
    """A temporary folder for Hydra that contains a recorded configuration as ``config.yaml``, and nothing else.

    Hydra acts on every other file in its configuration folder.

    Raises:
        RunError: the folder cannot be written.
    """
    try:
        folder = TemporaryDirectory(prefix="dive-")
        with folder:
            (Path(folder.name) / "config.yaml").write_text(dump_plain(config), "utf-8")
            yield Path(folder.name)
    except OSError as error:
        raise RunError(f"{error.filename}: {error.strerror}") from error
