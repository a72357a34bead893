"""A report as one page of HTML that fetches nothing, and all three files of a report."""

import re
from collections import defaultdict
from collections.abc import Iterable
from html import escape

from idl_hf.report.layout import ALL_LINES, Cell, Cells, Grid, difference_grids, grids, measure, number
from idl_hf.report.markdown import as_json, example_names, markdown, settings, took
from idl_hf.report.page_frame import frame
from idl_hf.report.page_frame import table as table_markup
from idl_hf.report.plots import plots
from idl_hf.report.results import Conversation, Highlighted, Report, Span, Table
from idl_hf.report.sentences import about_differences, headlines, legend

_BEFORE_ARROW = re.compile(" (?=[↑↓])")
_WORD = re.compile(r"\S(?:.*\S)?", re.DOTALL)
_STYLE = """
body { max-width: 76rem; }
.intro, .legend, .note, .turns { max-width: 50rem; }
.said { font-size: 1.125rem; padding: 0; list-style: none; max-width: 60rem; }
.said li { border-left: .25rem solid #0072b2; padding-left: .8rem; margin: .8rem 0; }
.over { color: #555; font-size: .875rem; margin: .2rem 0; max-width: 50rem; }
.legend { color: #555; font-size: .875rem; padding-left: 1.2rem; }
.results { display: flex; flex-wrap: wrap; gap: 0 2rem; }
.results > * { min-width: 0; }
.results th, .results td { padding: .35rem .9rem .35rem 0; }
.results h4 { margin-bottom: .2rem; }
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
.turns { display: grid; gap: .6rem; margin: 1rem 0; }
.turns div { display: grid; gap: 0 1rem; }
.turns dt { color: #555; min-width: 0; }
.turns dd { margin: 0; min-width: 0; white-space: pre-wrap; }
@media (min-width: 40rem) { .turns div { grid-template-columns: 8rem 1fr; } }
.settings td { overflow-wrap: anywhere; }
details { margin: 1rem 0; }
summary { cursor: pointer; }
"""


def render(report: Report, page: bool = True) -> dict[str, str]:
    """Return report.json, .md and, unless `page` is False, .html by name; the page takes seconds, for its plots.

    Raises ValueError for lines compared that are of different people.
    """
    measured = [measure(table) for table in report.tables]
    files = {"report.json": as_json(report, measured), "report.md": markdown(report, measured)}
    return {**files, "report.html": html(report, measured)} if page else files


def html(report: Report, measured: list[Cells]) -> str:
    """Return the report as a page. measured: the cells of each table."""
    parts = [f'<p class="intro">{escape(report.intro)}</p>'] if report.intro else []
    parts += [_results(table, cells) for table, cells in zip(report.tables, measured, strict=True)]
    if report.highlighted:
        about = "The darker, the more weight. Bold and underlined: keywords."
        parts += ["<section>", "<h2>Attention</h2>", f"<p>{about}</p>"]
        parts += [*map(_highlighted, report.highlighted), "</section>"]
    if report.examples:
        parts.append("<section>\n<h2>Examples</h2>")
        names = example_names(report)
        parts += [_example(i, example, names) for i, example in enumerate(report.examples, 1)] + ["</section>"]
    parts += map(_conversation, report.conversations)
    if report.settings:
        rows = [[escape(name), escape(value)] for name, value in settings(report.settings)]
        listed = table_markup("Settings", [], {"": rows})
        parts.append(f'<section class="settings">\n<h2>Settings</h2>\n{listed}\n</section>')
    notes = "\n".join(f"<li>{escape(note)}</li>" for note in [*report.notes, took(report)])
    parts.append(f'<section>\n<h2>Notes</h2>\n<ul class="note">\n{notes}\n</ul>\n</section>')
    return frame(report.title, parts, _STYLE)


def _results(table: Table, cells: Cells) -> str:
    """Return a table from what it says to what it says that by: in words, as plots, differences, tests, all lines."""
    said = "\n".join(f"<li>{escape(sentence)}</li>" for sentence in headlines(table, cells))
    parts = [f"<h2>{escape(table.title)}</h2>", f'<ul class="said">\n{said}\n</ul>' if said else ""]
    parts += [plots(table, cells), _differences(table), _tests(table, cells)]
    printed = [_grid(table.title, grid, grid.title or ALL_LINES) for grid in grids(table, cells)]
    parts.append(f'<div class="results">\n{chr(10).join(printed)}\n</div>' if printed else "")
    lines = "\n".join(f"<li>{escape(line)}</li>" for line in legend(table, cells))
    parts.append(f'<ul class="legend">\n{lines}\n</ul>' if lines else "")
    return "<section>\n" + "\n".join(filter(None, parts)) + "\n</section>"


def _grid(title: str, grid: Grid, heading: str) -> str:
    # An arrow does not stand in a line alone
    heads = [f"{escape(_BEFORE_ARROW.sub(chr(0xA0), head.label))}{_small(head.over)}" for head in grid.heads]
    bodies: dict[str, list[list[str]]] = defaultdict(list)
    for row in grid.rows:
        first = " ".join(filter(None, (escape(row.name), _small(row.role), _small(row.over))))
        pairs = zip(row.cells, row.beside, strict=True)
        bodies[escape(row.group)].append([first, *(_cell(cell, beside) for cell, beside in pairs)])
    over = f'<p class="over">{escape(grid.over)}</p>\n' if grid.over else ""
    label = " ".join(filter(None, (title, grid.title)))
    return f"<div><h4>{escape(heading)}</h4>\n{over}{table_markup(label, [escape(grid.corner), *heads], bodies)}</div>"


def _small(text: str) -> str:
    return f"<small>{escape(text)}</small>" if text else ""


def _cell(cell: Cell | None, beside: str) -> str:
    if cell is None:
        return "-"
    marks = {1: "<strong>{}</strong>", 2: "<u>{}</u>"}
    value = marks.get(cell.rank or 0, "{}").format(cell.value) + cell.dagger
    paper = f" {cell.paper_value}" if cell.paper_value else ""
    return value + paper + _small(cell.interval) + _small(beside)


def _tests(table: Table, cells: Cells) -> str:
    head = ["line", "column", "best baseline", "difference", "p", "p, corrected"]
    rows = []
    for place, cell in cells.items():
        if cell.comparison is not None:
            line, test = table.lines[place.line], cell.comparison
            name = f"{line.curve}, {line.x:g}" if table.on_x else f"{line.group} {line.name}"
            about = [escape(text) for text in (name, cell.column.label, test.against)]
            corrected = f"{test.corrected_p:.2g}{cell.dagger}"
            rows.append([*about, number(cell.column, test.difference), f"{test.p:.2g}", corrected])
    listed = table_markup(f"Tests of {table.title}", head, {"": rows})
    return f"<details>\n<summary>All {len(rows)} tests</summary>\n{listed}\n</details>" if rows else ""


def _differences(table: Table) -> str:
    printed = "\n".join(_grid(table.title, grid, grid.title) for grid in difference_grids(table))
    if not printed:
        return ""
    about = f'<p class="over">{escape(about_differences(table))}</p>'
    return f'<h3>Differences</h3>\n{about}\n<div class="results differences">\n{printed}\n</div>'


def _highlighted(highlighted: Highlighted) -> str:
    spans = "".join(map(_span, highlighted.spans))
    return f'<figure><figcaption>{escape(highlighted.title)}</figcaption><p class="spans">{spans}</p></figure>'


def _span(span: Span) -> str:
    """Mark a span but for the spaces around it, so that words stand apart."""
    marked = "<strong>{}</strong>" if span.keyword else "{}"
    if span.weight > 0:
        marked = f'<mark style="background: rgb(240 200 0 / {span.weight:.2f})">{marked}</mark>'
    return _WORD.sub(lambda word: marked.format(escape(word[0])), span.text)


def _listed(pairs: Iterable[tuple[str, str]]) -> str:
    entry = "<div><dt>{}</dt><dd>{}</dd></div>"
    return "\n".join(entry.format(escape(name), escape(text) or "(empty)") for name, text in pairs)


def _example(number: int, example: dict[str, str], names: list[str]) -> str:
    replies = _listed((name, example.get(name, "-")) for name in names if name != "partner")
    partner = f"<p><small>partner</small> {escape(example['partner'])}</p>\n" if "partner" in example else ""
    return f'<article class="example" aria-label="Example {number}">\n{partner}<dl>\n{replies}\n</dl>\n</article>'


def _conversation(conversation: Conversation) -> str:
    turns = _listed((turn.speaker, turn.text) for turn in conversation.turns)
    about = f'<p class="intro">{escape(conversation.about)}</p>\n' if conversation.about else ""
    title = f"<h2>{escape(conversation.title)}</h2>"
    return f'<section>\n{title}\n{about}<dl class="turns">\n{turns}\n</dl>\n</section>'
