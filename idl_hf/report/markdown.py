"""A report as Markdown and as JSON."""

import json
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict

from idl_hf.report.layout import ALL_LINES, Cell, Cells, Grid, difference_grids, grids
from idl_hf.report.results import Report, Table
from idl_hf.report.sentences import about_differences, headlines, legend
from idl_hf.report.statistics import Place, differences

_SPECIAL = re.compile(r"([\\`*_\[\]|~])")


def markdown(report: Report, measured: list[Cells]) -> str:
    """Return the report as Markdown. measured: the cells of each table."""
    parts = [f"# {plain(report.title)}", plain(report.intro)]
    for table, cells in zip(report.tables, measured, strict=True):
        parts.append(f"## {plain(table.title)}")
        parts += map(plain, headlines(table, cells))
        differences_of = difference_grids(table)
        parts += ["### Differences", plain(about_differences(table))] if differences_of else []
        for grid in differences_of:
            parts += [f"#### {plain(grid.title)}", plain(grid.over), _markdown_grid(grid)]
        for grid in grids(table, cells):
            parts += [f"### {plain(grid.title or ALL_LINES)}", plain(grid.over), _markdown_grid(grid)]
        parts.append("\n".join(f"- {plain(line)}" for line in legend(table, cells)))
    for highlighted in report.highlighted:
        spans = (f"**{plain(span.text)}**" if span.keyword else plain(span.text) for span in highlighted.spans)
        parts += [f"## {plain(highlighted.title)}", "Bold: keywords. The page shows the weights.", "".join(spans)]
    if report.examples:
        names = example_names(report)
        rows = [[plain(example.get(name, "-")) or "(empty)" for name in names] for example in report.examples]
        parts += ["## Examples", _markdown_table([plain(name) for name in names], rows)]
    for conversation in report.conversations:
        turns = (f"- **{plain(turn.speaker)}**: {plain(turn.text) or '(empty)'}" for turn in conversation.turns)
        parts += [f"## {plain(conversation.title)}", plain(conversation.about), "\n".join(turns)]
    if report.settings:
        rows = [[plain(name), plain(value)] for name, value in settings(report.settings)]
        parts += ["## Settings", _markdown_table(["setting", "value"], rows)]
    parts.append("## Notes\n\n" + "\n".join(f"- {plain(note)}" for note in [*report.notes, took(report)]))
    return "\n\n".join(filter(None, parts)) + "\n"


def _markdown_grid(grid: Grid) -> str:
    grouped = any(row.group for row in grid.rows)
    heads = [plain(head.label) + (f"<br>{head.over}" if head.over else "") for head in grid.heads]
    rows = []
    for row in grid.rows:
        name = plain(f"{row.name} ({row.role})" if row.role else row.name) + (f"<br>{row.over}" if row.over else "")
        pairs = zip(row.cells, row.beside, strict=True)
        rows.append([*[plain(row.group)] * grouped, name, *(_markdown_cell(cell, beside) for cell, beside in pairs)])
    return _markdown_table([""] * grouped + [plain(grid.corner), *heads], rows)


def _markdown_cell(cell: Cell | None, beside: str) -> str:
    if cell is None:
        return "-"
    marks = {1: "**{}**", 2: "<u>{}</u>"}
    value = marks.get(cell.rank or 0, "{}").format(cell.value) + cell.dagger
    return " ".join(filter(None, (value, cell.interval, cell.paper_value, beside)))


def _markdown_table(head: list[str], rows: Iterable[list[str]]) -> str:
    return "\n".join(f"| {' | '.join(cells)} |" for cells in [head, ["---"] * len(head), *rows])


def plain(text: str) -> str:
    """Return text that Markdown shows as it is, in one line."""
    safe = text.replace("&", "&amp;").replace("<", "&lt;")
    return "<br>".join(_SPECIAL.sub(r"\\\1", safe).splitlines())


def example_names(report: Report) -> list[str]:
    """Return whose replies the examples show, each name once."""
    return list(dict.fromkeys(name for example in report.examples for name in example))


def settings(values: Mapping[str, object]) -> list[tuple[str, str]]:
    """Return names and values as text, those of dicts within by "outer.inner"."""
    pairs = []
    for name, value in values.items():
        if isinstance(value, dict) and value:
            pairs += [(f"{name}.{inner}", text) for inner, text in settings(value)]
        else:
            text = json.dumps(value, default=str, ensure_ascii=False)
            pairs.append((str(name), value if isinstance(value, str) else text))
    return pairs


def took(report: Report) -> str:
    """Return a sentence on how long the run took."""
    return f"This run took {report.seconds:,.0f} s, without what earlier ones had trained and measured."


def as_json(report: Report, measured: list[Cells]) -> str:
    """Return the report as it was given, with each table's results. What is not a number is null, as JSON has it."""
    content = asdict(report)
    content["settings"] = json.loads(json.dumps(report.settings, default=str))  # paths and the like as text
    for table, given, cells in zip(report.tables, content["tables"], measured, strict=True):
        given["results"] = [_result(table, place, cell) for place, cell in cells.items()]
        given["differences"] = [
            {**_line(table, pair.line), "other": table.lines[pair.other].name, "column": key, **asdict(estimate)}
            for pair in differences(table)
            for key, estimate in pair.estimates.items()
        ]
    return json.dumps(_finite(content), indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def _result(table: Table, place: Place, cell: Cell) -> dict[str, object]:
    test = cell.comparison and asdict(cell.comparison)
    shown = {**asdict(cell.estimate), "rank": cell.rank, "test": test}
    return {**_line(table, place.line), "column": place.column, **shown}


def _line(table: Table, i: int) -> dict[str, object]:
    line = table.lines[i]
    return {"group": line.group, "x": line.x, "line": line.name}


def _finite(content: object) -> object:
    if isinstance(content, dict):
        return {name: _finite(value) for name, value in content.items()}
    if isinstance(content, list | tuple):
        return [_finite(value) for value in content]
    return None if isinstance(content, float) and not math.isfinite(content) else content
