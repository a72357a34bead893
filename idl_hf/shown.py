"""What others see: text that cannot steer a terminal, and no path of this machine. Imports nothing heavy."""

import os
import re
from typing import Any

# Control characters but tab and newline, those that change the direction of writing, and halves of a character
_UNSEEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u206f\ud800-\udfff\ufff9-\ufffb]"
)
_BEGINS_PATH = r"(?:file:|~[\w.-]*(?:[/\\]|$)|[/\\]|\.{1,2}(?:[/\\]|$)|[A-Za-z]:[\\/])"
# Two slashes, or a backslash that is no escape of Markdown's
_RELATIVE = re.compile(r"[^\s/]+(/[^\s/]+){2,}/?|[^\s\\]+(\\+[^\\_*`\[|~][^\\]*)+")
_QUOTED = re.compile(r"(?<!\w)(?P<quote>\\*['\"])(?P<text>[^'\"\s{[,:}\]][^'\"\n]*?)(?P=quote)")  # also quoted twice
_PIECE = r"[^\s'\"`|,;()<>\[\]{}]*"
_BARE = re.compile(
    rf"(?<![\w.:/<~])(?:file:/{_PIECE}|\\?~[\w.-]*[/\\]{_PIECE}|\.{{1,2}}[/\\]{_PIECE}|/{_PIECE}/{_PIECE}"
    rf"|[A-Za-z]:[\\/]{_PIECE}|\\\\{_PIECE}\\{_PIECE})"
)


def visible(text: str) -> str:
    r"""Return text with what would steer a terminal or turn the writing written as \u001b, which JSON reads back."""
    return _UNSEEN.sub(lambda match: f"\\u{ord(match[0]):04x}", text)


def is_path(text: str) -> bool:
    """Tell whether a text is a path of a machine, whether or not it is there: no name on the Hub looks like one."""
    if "\n" in text or '"' in text or "://" in text.removeprefix("file://"):
        return False
    looks = re.match(_BEGINS_PATH, text) or _RELATIVE.fullmatch(text)
    return looks is not None or ("\0" not in text and os.path.exists(text))


def path_from_here(path: str) -> str:
    """Return a path as it is called from the current folder, if it lies in it; anything else as it is."""
    return path.removeprefix(f"{os.getcwd()}{os.sep}")


def last_part(path: str) -> str:
    """Return the last part of a path, "" of one that has none but a home or a root."""
    is_windows = re.match(r"[A-Za-z]:|\\\\", path) or "/" not in path  # else a backslash may be Markdown's
    last = re.split(r"[/\\]+" if is_windows else "/+", path.rstrip("/\\"))[-1]
    return "" if last.startswith("~") or last in (".", "..") else last


def without_paths(value: Any) -> Any:
    """Return a value in which each path of a machine is its last part alone, also within texts, lists and dicts."""
    if isinstance(value, dict):
        return {name: without_paths(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [without_paths(inner) for inner in value]
    if not isinstance(value, str):
        return value
    return last_part(value) if is_path(value) else scrub(value)


def scrub(text: str) -> str:
    """Return a text in which each path, in quotes or bare, is its last part alone."""

    def quoted(match: re.Match) -> str:
        inner = match["text"]
        return f"{match['quote']}{last_part(inner) if is_path(inner) else inner}{match['quote']}"

    return _BARE.sub(lambda match: last_part(match[0]), _QUOTED.sub(quoted, text))
