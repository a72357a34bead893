"""A report as one page of HTML that fetches nothing, and all three files of a report."""

import re
from collections import defaultdict
from html import escape
from pathlib import Path

from idl_hf.report.layout import Cell, Cells, Grid, difference_grids, grids, legend, measure, number
from idl_hf.report.markdown import DIFFERENCES, as_json, example_names, markdown, settings, took
from idl_hf.report.page_frame import frame, table, write_whole
from idl_hf.report.plots import plots
from idl_hf.report.results import Highlighted, Report, Table

_WORD = re.compile(r"\S(?:.*\S)?", re.DOTALL)
_STYLE = """
body { max-width: 76rem; }
.intro, .legend, .note { max-width: 50rem; }
.legend { color: #555; font-size: .875rem; padding-left: 1.2rem; }
.results { display: flex; flex-wrap: wrap; gap: 0 2rem; }
.results > * { min-width: 0; }
.results th, .results td { padding: .35rem .9rem .35rem 0; }
.results td { white-space: nowrap; }
.results thead th { max-width: 8rem; }
.results thead th { border-bottom: 2px solid #222; vertical-align: bottom; }
.results th[scope=row] { position: sticky; left: 0; background: #fff; min-width: 6rem; max-width: 14rem; }
small { color: #555; font-weight: normal; }
td small, th small { display: block; }
.key { list-style: none; padding: 0; display: flex; flex-wrap: wrap; gap: .2rem 1.2rem; font-size: .875rem; }
.plots { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 22rem), 1fr)); gap: 0 1.5rem; }
.plots figcaption { order: -1; color: #222; font-weight: bold; }
.plots figure { display: flex; flex-direction: column; }
.spans { white-space: pre-wrap; line-height: 1.9; max-width: 50rem; }
.spans mark { padding: .1em 0; border-radius: .15em; }
.spans strong { text-decoration: underline; text-decoration-thickness: 2px; text-underline-offset: .2em; }
.example { border: 1px solid #ddd; border-radius: .4rem; padding: .2rem 1rem .8rem; margin: 1rem 0; }
.example p { margin: .6rem 0; }
.example dl { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 13rem), 1fr)); gap: .8rem 1.2rem;
  margin: 0; }
.example dt { color: #555; font-size: .875rem; }
.example dd { margin: 0; white-space: pre-wrap; }
.settings td { overflow-wrap: anywhere; }
details { margin: 1rem 0; }
summary { cursor: pointer; }
"""


def write_report(folder: str | Path, report: Report) -> None:
    """report.json, report.md and report.html; none of them where one cannot be made. Raises ValueError where lines to
    compare were measured on different people."""
    measured = [measure(of) for of in report.tables]
    made = {"report.json": as_json, "report.md": markdown, "report.html": html}
    for name, text in {name: make(report, measured) for name, make in made.items()}.items():
        write_whole(Path(folder) / name, text)


def html(report: Report, measured: list[Cells]) -> str:
    parts = [f'<p class="intro">{escape(report.intro)}</p>'] if report.intro else []
    parts += [_results(of, cells) for of, cells in zip(report.tables, measured, strict=True)]
    if report.highlighted:
        parts += [
            "<section>",
            "<h2>Attention</h2>",
            "<p>The darker, the more weight. Bold and underlined: keywords.</p>",
        ]
        parts += [*map(_highlighted, report.highlighted), "</section>"]
    if report.examples:
        parts.append("<section>\n<h2>Examples</h2>")
        parts += [_example(i, of, example_names(report)) for i, of in enumerate(report.examples, 1)] + ["</section>"]
    if report.settings:
        rows = [[escape(name), escape(value)] for name, value in settings(report.settings)]
        parts.append(f'<section class="settings">\n<h2>Settings</h2>\n{table("Settings", [], {"": rows})}\n</section>')
    notes = "\n".join(f"<li>{escape(note)}</li>" for note in [*report.notes, took(report)])
    parts.append(f'<section>\n<h2>Notes</h2>\n<ul class="note">\n{notes}\n</ul>\n</section>')
    return frame(report.title, parts, _STYLE)


def _results(of: Table, cells: Cells) -> str:
    parts = [f"<h2>{escape(of.title)}</h2>", plots(of, cells) if of.on_x else ""]
    printed = "\n".join(_grid(of.title, grid) for grid in grids(of, cells))
    parts.append(f'<div class="results">\n{printed}\n</div>' if printed else "")
    lines = "\n".join(f"<li>{escape(line)}</li>" for line in legend(of, cells))
    parts.append(f'<ul class="legend">\n{lines}\n</ul>' if lines else "")
    parts += [_tests(of, cells), _differences(of), "" if of.on_x else plots(of, cells)]
    return "<section>\n" + "\n".join(filter(None, parts)) + "\n</section>"


def _grid(title: str, grid: Grid) -> str:
    head = [escape(grid.corner), *(f"{escape(name)}<small>{shared}</small>" for name, shared in grid.heads)]
    bodies: dict[str, list[list[str]]] = defaultdict(list)
    for group, name, role, cells in grid.rows:
        first = f"{escape(name)} <small>{escape(role)}</small>" if role else escape(name)
        pairs = zip(cells, grid.heads, strict=True)
        bodies[escape(group)].append([first, *(_cell(cell, bool(shared)) for cell, (_, shared) in pairs)])
    above = f"<h3>{escape(grid.title)}</h3>\n" if grid.title else ""
    return f"<div>{above}{table(' '.join(filter(None, (title, grid.title))), head, bodies)}</div>"


def _cell(cell: Cell | None, denominator_above: bool) -> str:
    if cell is None:
        return "-"
    marks = {1: "<strong>{}</strong>", 2: "<u>{}</u>"}
    value = marks.get(cell.rank or 0, "{}").format(cell.value) + cell.dagger
    small = (cell.interval, "" if denominator_above else cell.denominator)
    beside = f" {cell.paper_value}" if cell.paper_value else ""
    return value + beside + "".join(f"<small>{text}</small>" for text in small if text)


def _tests(of: Table, cells: Cells) -> str:
    rows = []
    for (i, _), cell in cells.items():
        if cell.comparison is not None:
            line, test = of.lines[i], cell.comparison
            name = f"{line.curve}, {line.x:g}" if of.on_x else f"{line.group} {line.name}"
            about = [escape(text) for text in (name, cell.column.label, test.against)]
            corrected = f"{test.corrected_p:.2g}{cell.dagger}"
            rows.append([*about, number(cell.column, test.difference), f"{test.p:.2g}", corrected])
    made = table(
        f"Tests of {of.title}", ["line", "column", "best baseline", "difference", "p", "p, corrected"], {"": rows}
    )
    return f"<details>\n<summary>All {len(rows)} tests</summary>\n{made}\n</details>" if rows else ""


def _differences(of: Table) -> str:
    printed = "\n".join(_grid(of.title, grid) for grid in difference_grids(of))
    if not printed:
        return ""
    shown = f'<p>{DIFFERENCES}</p>\n<div class="results">\n{printed}\n</div>'
    return f"<details>\n<summary>Differences</summary>\n{shown}\n</details>"


def _highlighted(of: Highlighted) -> str:
    spans = "".join(_span(text, weight, keyword) for text, weight, keyword in of.spans)
    return f'<figure><figcaption>{escape(of.title)}</figcaption><p class="spans">{spans}</p></figure>'


def _span(text: str, weight: float, keyword: bool) -> str:
    """The spaces around a word are not marked, so that words stand apart."""
    marked = "<strong>{}</strong>" if keyword else "{}"
    if weight > 0:
        marked = f'<mark style="background: rgb(240 200 0 / {weight:.2f})">{marked}</mark>'
    return _WORD.sub(lambda word: marked.format(escape(word[0])), text)


def _example(number: int, example: dict[str, str], names: list[str]) -> str:
    replies = "\n".join(
        f"<div><dt>{escape(name)}</dt><dd>{escape(example.get(name, '-')) or '(empty)'}</dd></div>"
        for name in names
        if name != "partner"
    )
    said = f"<p><small>partner</small> {escape(example['partner'])}</p>\n" if "partner" in example else ""
    return f'<article class="example" aria-label="Example {number}">\n{said}<dl>\n{replies}\n</dl>\n</article>'
