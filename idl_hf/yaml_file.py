"""YAML files as people write them, with the lines that their entries stand on."""

import re
from pathlib import Path
from typing import Any, NamedTuple

import yaml


class YamlFile(NamedTuple):
    """The mapping that a file holds, and where each of its entries stands."""

    file: str
    values: dict[Any, Any]
    lines: dict[str, int]

    def place(self, name: object) -> str:
        """Return where an entry stands, for the sentence of an error."""
        return f"'{self.file}'" + (f", line {self.lines[str(name)]}" if str(name) in self.lines else "")


class _Loader(yaml.SafeLoader):
    """SafeLoader that takes 1e-3 for a number, as YAML 1.2 does; in YAML 1.1 it is text."""


_EXPONENT = re.compile(r"[-+]?[0-9]+(\.[0-9]*)?[eE][-+]?[0-9]+$")
_Loader.add_implicit_resolver("tag:yaml.org,2002:float", _EXPONENT, list("-+0123456789"))


def read_yaml(file: str | Path, kind: str = "file") -> YamlFile:
    """Return what a file holds. kind: what it is called. Raises ValueError, with the line, unless it is a mapping."""
    try:
        content = Path(file).read_bytes()
        node, values = yaml.compose(content, _Loader), yaml.load(content, _Loader)
    except OSError as error:
        raise ValueError(f"The {kind} '{file}' cannot be read: {error.strerror}.") from error
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        problem = getattr(error, "problem", None) or getattr(error, "reason", None) or "it cannot be read"
        line = f", line {mark.line + 1}," if mark else ""
        raise ValueError(f"The {kind} '{file}'{line} is no valid YAML: {problem}.") from error
    if node is None or not isinstance(values, dict):
        raise ValueError(f"The {kind} '{file}' must hold names, each with a value, found {values!r:.80}.")
    return YamlFile(str(file), values, {str(key.value): key.start_mark.line + 1 for key, _ in node.value})
