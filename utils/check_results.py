"""Check the reports that docs/results.md quotes: `python utils/check_results.py`.

Each folder of docs/results holds one report as `idl-hf evaluate --experiment ... --output_dir docs/results` writes it
and nothing else, but for lines/, from which reports go on. It is of real dialogues, tells what it was made from and
with, and all that one page quotes were made by the same code. A figure with an interval on that page, in the README or
in that of the recipes stands in a report, or on the page of earlier results. What is wrong is named, and the exit
status is 1 if anything is.
"""

import argparse
import hashlib
import json
import re
from collections.abc import Iterator
from pathlib import Path

from idl_hf.evaluation.kept_lines import read_line

ROOT = Path(__file__).parents[1]
FILES = {"report.html", "report.json", "report.md"}
_LINK = re.compile(r"\]\((results/[^)#\s]*)")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_FIGURE = re.compile(r"-?\d+\.\d+ \[-?\d+\.\d+, -?\d+\.\d+\]")
_TEXTS = ("examples", "highlighted", "conversations")
_TOLD = ("date", "idl_hf", "code", "data", "libraries", "machine")


def problems(root: Path = ROOT) -> list[str]:
    """Return a sentence for each thing that is wrong with the reports of a checkout."""
    folder = root / "docs" / "results"
    reports = sorted({file.parent for file in folder.rglob("report.json")})
    found = [
        f"{file.relative_to(root)} is no report. A folder of docs/results holds {', '.join(sorted(FILES))} and "
        "places/ alone, lines/ the figures of lines; adapters and measurements are kept in --runs_dir."
        for file in sorted(folder.rglob("*"))
        if file.is_file() and not _belongs(file, [report for report in reports if report.parent == folder])
    ]
    sample = {
        hashlib.sha256(file.read_bytes()).hexdigest() for file in (root / "idl_hf" / "sample_data").glob("*.jsonl")
    }
    for report in reports:
        missing = FILES - {file.name for file in report.iterdir()}
        wrong = [f"lacks {', '.join(sorted(missing))}"] if missing else []
        content = json.loads((report / "report.json").read_text(encoding="utf-8"))
        wrong += _wrong(content.get("settings", {}), sample)
        wrong += ["shows text of a corpus (pass --texts false)"] * any(map(content.get, _TEXTS))
        found += [f"{report.relative_to(root)} {what}. Write it anew with `idl-hf evaluate`." for what in wrong]
    return [*found, *_of_page(root / "docs" / "results.md", reports), *_unheard_of(root, reports)]


def _belongs(file: Path, reports: list[Path]) -> bool:
    """Tell whether a file is one of a report, its figures or where its lines reply, or the figures of one line."""
    if file.parent.name == "lines" and file.suffix == ".json":
        try:
            read_line(file)
        except ValueError:
            return False
        return True
    if file.parent.name == "places":
        return file.parent.parent in reports and '"text":' not in file.read_text(encoding="utf-8")
    return file.parent in reports and file.name in FILES


def _settings(report: Path) -> dict:
    return json.loads((report / "report.json").read_text(encoding="utf-8")).get("settings", {})


def _wrong(settings: dict, sample: set[str]) -> Iterator[str]:
    made = settings.get("made", {})
    if untold := [name for name in _TOLD if not made.get(name)]:
        yield f"does not tell its {', '.join(untold)}"
        return
    hashes = [sha256 for files in made["data"].values() for sha256 in files.values()]
    if not all(made["data"].values()) or not all(map(_SHA256.fullmatch, hashes)):
        yield "does not tell the sha256 of all its datasets' files"
    if not made["idl_hf"].get("commit"):
        yield "does not tell the commit it was made at"
    if not {"name", "seeds"} <= settings.get("scale", {}).keys():
        yield "does not tell its scale and seeds"
    elif settings["scale"]["name"] == "quick":
        yield "is of the scale quick, and no result"
    if not made.get("is_result") or sample & set(hashes):
        yield "is of the package's sample dialogues, and no result"


def _of_page(page: Path, reports: list[Path]) -> Iterator[str]:
    """Yield what is wrong with the reports that a page quotes."""
    text = page.read_text(encoding="utf-8") if page.is_file() else ""
    quoted = [page.parent / link for link in dict.fromkeys(_LINK.findall(text))]
    for file in quoted:
        if not file.exists():
            yield f"docs/{page.name} quotes {file.relative_to(page.parent)}, which is not there. Mend the link."
    identities: dict[str, dict[str, str]] = {}  # by what the code does and by report
    for report in reports:
        if any(file == report or report in file.parents for file in quoted):
            code = _settings(report).get("made", {}).get("code", {})
            rows = {f"rows of {name}": identity for name, identity in code.pop("rows", {}).items()}
            for what, identity in {**rows, **code}.items():
                identities.setdefault(what, {})[report.name] = identity
    for what, of_report in sorted(identities.items()):
        if len(set(of_report.values())) > 1:
            yield (
                f"docs/{page.name} quotes reports of different code for {what}: {', '.join(sorted(of_report))}. Make "
                "all by the same code, or quote the older ones on a page of their own."
            )


def _unheard_of(root: Path, reports: list[Path]) -> Iterator[str]:
    """Yield the figures with intervals that no report holds, of pages that show such."""
    sources = [*(report / "report.md" for report in reports), root / "docs" / "earlier_results.md"]
    known = {figure for file in sources if file.is_file() for figure in _figures(file)}
    for name in ("README.md", "docs/results.md", "examples/recipes/README.md"):
        page = root / name
        for figure in _figures(page) if page.is_file() else ():
            if figure not in known:
                yield f"{name} shows {figure}, which stands in no report. Take it from one."


def _figures(page: Path) -> list[str]:
    return _FIGURE.findall(re.sub("[*†]|</?u>", "", page.read_text(encoding="utf-8")))  # of the best and the better


def main() -> int:
    """Print what is wrong and return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, default=ROOT, help="the checkout; default the one of this script")
    found = problems(parser.parse_args().root)
    for problem in found:
        print(problem)
    return int(bool(found))


if __name__ == "__main__":
    raise SystemExit(main())
