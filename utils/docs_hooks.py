"""What the docs hold that is written elsewhere: pages made from code and cards, files that pages link to, formulas.

`mkdocs build` loads this file and calls the functions named on_...; `make docs` is that, and strict.
"""

import contextlib
import io
import posixpath
import re
from pathlib import Path
from typing import Any

from latex2mathml.converter import convert
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[1]
_PAGES = {
    "changelog.md": "CHANGELOG.md",
    "contributing.md": "CONTRIBUTING.md",
    "reference/recipes.md": "examples/recipes/README.md",
}
_LINK = re.compile(r"(?<=\]\()([^)\s]+)(?=\))")
_FORMULA = re.compile(r"^```math\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_CODE = re.compile(r"^```.*?^```$|`[^`\n]*`", re.MULTILINE | re.DOTALL)


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Put the metrics' cards into the navigation, below the page that lists them."""
    cards = [{card.parent.name: f"reference/metrics/{card.parent.name}.md"} for card in _cards()]
    (reference,) = (entry["Reference"] for entry in config.nav or [] if "Reference" in entry)
    place = reference.index({"Metrics": "reference/metrics.md"})
    reference[place] = {"Metrics": ["reference/metrics.md", *cards]}
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add what is made from code, the metrics' cards, and the files of the repository that pages link to."""
    for place, source in _PAGES.items():
        _add(files, config, place, _moved((ROOT / source).read_text(encoding="utf-8"), source, place))
    _add(files, config, "reference/commands.md", _commands())
    for card in _cards():
        source, place = card.relative_to(ROOT).as_posix(), f"reference/metrics/{card.parent.name}.md"
        _add(files, config, place, _moved(_without_metadata(card.read_text(encoding="utf-8")), source, place))
    for page in list(files.documentation_pages()):
        for target in _outside(page, config):
            _add(files, config, _published(target), (ROOT / target).read_bytes())
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Return a page with its links to files of the repository, and its formulas, as the site has them."""
    if page.file.generated_by is None:
        markdown = _moved(markdown, f"docs/{page.file.src_uri}", page.file.src_uri)
    return _FORMULA.sub(lambda found: convert(found[1].strip(), display="block"), markdown)


def _add(files: Files, config: MkDocsConfig, place: str, content: str | bytes) -> None:
    if files.get_file_from_path(place) is None:
        files.append(File.generated(config, place, content=content))


def _outside(page: File, config: MkDocsConfig) -> list[str]:
    """Return the files of the repository, outside of docs, that a page links to."""
    if page.generated_by is None:
        return _linked(page.content_string, f"docs/{page.src_uri}")
    return []


def _linked(markdown: str, source: str) -> list[str]:
    places = (_target(link, source) for link in _LINK.findall(_CODE.sub("", markdown)))
    return sorted({place for place in places if place and not place.startswith("docs/") and place not in _own_pages()})


def _own_pages() -> dict[str, str]:
    """Return where the site has what has a page of its own, by its place in the repository."""
    cards = {card.relative_to(ROOT).as_posix(): card.parent.name for card in _cards()}
    pages = {source: place for place, source in _PAGES.items()}
    return (
        pages | {source: f"reference/metrics/{name}.md" for source, name in cards.items()} | {"README.md": "index.md"}
    )


def _target(link: str, source: str) -> str | None:
    """Return the place in the repository that a link of a file leads to; None for what is not in it."""
    path, _, _ = link.partition("#")
    if not path or ":" in path:
        return None
    place = posixpath.normpath(posixpath.join(posixpath.dirname(source), path))
    found = ROOT / place
    if found.is_dir() and not place.startswith("docs/"):
        place = f"{place}/README.md"
        found = ROOT / place
    if not found.is_file() and not place.startswith("docs/"):
        raise PluginError(f"{source} links to {link}, which is not in the repository.")
    return place


def _published(place: str) -> str:
    """Return where the site has a file of the repository; as text, so that a browser shows it."""
    return f"files/{place}" if place.endswith((".yaml", ".py", ".png", ".svg")) else f"files/{place}.txt"


def _moved(markdown: str, source: str, place: str) -> str:
    """Return the Markdown of a file with links that are right where the site has it."""
    kept: list[str] = []

    def keep(found: re.Match) -> str:
        kept.append(found[0])
        return f"\0{len(kept) - 1}\0"

    def moved(found: re.Match) -> str:
        target = _target(found[0], source)
        if target is None:
            return found[0]
        anchor = "#" + found[0].partition("#")[2] if "#" in found[0] else ""
        inside = target.removeprefix("docs/") if target.startswith("docs/") else _own_pages().get(target)
        return posixpath.relpath(inside or _published(target), posixpath.dirname(place) or ".") + anchor

    text = _LINK.sub(moved, _CODE.sub(keep, markdown))
    return re.sub(r"\0(\d+)\0", lambda found: kept[int(found[1])], text)


def _without_metadata(card: str) -> str:
    return card.split("---\n", 2)[2] if card.startswith("---\n") else card


def _commands() -> str:
    """Return the help of every verb as a page."""
    from idl_hf.cli import VERBS, main

    parts = ["# Commands\n\n`idl-hf VERB --help` prints what is here.\n"]
    for name, verb in VERBS.items():
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            main([name, "--help"])
        parts.append(
            f"## {name}\n\n{verb.line[0].upper()}{verb.line[1:]}.\n\n```text\n{printed.getvalue().strip()}\n```\n"
        )
    return "\n".join(parts)


def _cards() -> list[Path]:
    return sorted(ROOT.glob("metrics/*/README.md"))
