"""A report as files. Imports no torch."""

from pathlib import Path

from idl_hf.cache import write_whole
from idl_hf.report.html import render
from idl_hf.report.results import Report
from idl_hf.shown import visible


def write_report(folder: Path, report: Report, so_far: bool = False) -> None:
    """Write report.json, report.md and report.html, none of them where one cannot be made; or, of what there is so
    far, so_far.json and so_far.md."""
    for name, text in render(report, page=not so_far).items():
        with write_whole(folder / (name.replace("report", "so_far") if so_far else name)) as partial:
            partial.write_text(text, encoding="utf-8")


def finish(folder: Path, report: Report) -> Path:
    """Write the whole report in the place of what there was so far, print it, and return its folder."""
    write_report(folder, report)
    for ending in ("json", "md"):  # another evaluation into this folder may have been first
        (folder / f"so_far.{ending}").unlink(missing_ok=True)
    text = (folder / "report.md").read_text(encoding="utf-8")
    print(visible(f"\n{text}\nThe report is in {folder / 'report.html'}."))
    return folder
