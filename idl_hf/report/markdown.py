"""A report as Markdown and as JSON."""

import json
import math
import re
from collections.abc import Iterable
from dataclasses import asdict
from typing import Any

from idl_hf.report.layout import Cell, Cells, Grid, difference_grids, grids, legend
from idl_hf.report.results import Report, Table
from idl_hf.report.statistics import differences

DIFFERENCES = "Mean over people of the difference [95 % bootstrap interval], not corrected for how many there are."
_SPECIAL = re.compile(r"([\\`*_\[\]|~])")


def markdown(report: Report, measured: list[Cells]) -> str:
    parts = [f"# {plain(report.title)}", plain(report.intro)]
    for table, cells in zip(report.tables, measured, strict=True):
        parts.append(f"## {plain(table.title)}")
        for grid in grids(table, cells):
            parts += [f"### {plain(grid.title)}"] if grid.title else []
            parts.append(_markdown_grid(grid))
        parts.append("\n".join(f"- {plain(line)}" for line in legend(table, cells)))
        for grid in difference_grids(table):
            parts += [f"### {plain(grid.title)}", plain(DIFFERENCES), _markdown_grid(grid)]
    for shown in report.highlighted:
        spans = (f"**{plain(text)}**" if keyword else plain(text) for text, _, keyword in shown.spans)
        parts += [f"## {plain(shown.title)}", "Bold: keywords. The page shows the weights.", "".join(spans)]
    if report.examples:
        names = example_names(report)
        rows = [[plain(example.get(name, "-")) or "(empty)" for name in names] for example in report.examples]
        parts += ["## Examples", _markdown_table([plain(name) for name in names], rows)]
    if report.settings:
        rows = [[plain(name), plain(value)] for name, value in settings(report.settings)]
        parts += ["## Settings", _markdown_table(["setting", "value"], rows)]
    parts.append("## Notes\n\n" + "\n".join(f"- {plain(note)}" for note in [*report.notes, took(report)]))
    return "\n\n".join(filter(None, parts)) + "\n"


def _markdown_grid(grid: Grid) -> str:
    grouped = any(group for group, *_ in grid.rows)
    heads = [plain(head) + (f"<br>{denominator}" if denominator else "") for head, denominator in grid.heads]
    rows = []
    for group, name, role, cells in grid.rows:
        first = [plain(group)] * grouped + [plain(f"{name} ({role})" if role else name)]
        pairs = zip(cells, grid.heads, strict=True)
        rows.append([*first, *(_markdown_cell(cell, bool(shared)) for cell, (_, shared) in pairs)])
    return _markdown_table([""] * grouped + [plain(grid.corner), *heads], rows)


def _markdown_cell(cell: Cell | None, denominator_above: bool) -> str:
    if cell is None:
        return "-"
    marks = {1: "**{}**", 2: "<u>{}</u>"}
    value = marks.get(cell.rank or 0, "{}").format(cell.value) + cell.dagger
    denominator = "" if denominator_above else cell.denominator
    return " ".join(filter(None, (value, cell.interval, cell.paper_value, denominator)))


def _markdown_table(head: list[str], rows: Iterable[list[str]]) -> str:
    return "\n".join(f"| {' | '.join(cells)} |" for cells in [head, ["---"] * len(head), *rows])


def plain(text: str) -> str:
    """Text that Markdown shows as it is, in one line."""
    safe = text.replace("&", "&amp;").replace("<", "&lt;")
    return "<br>".join(_SPECIAL.sub(r"\\\1", safe).splitlines())


def example_names(report: Report) -> list[str]:
    return list(dict.fromkeys(name for example in report.examples for name in example))


def settings(of: dict[str, Any]) -> list[tuple[str, str]]:
    """Name and value, those of dicts within by "outer.inner"."""
    found = []
    for name, value in of.items():
        if isinstance(value, dict) and value:
            found += [(f"{name}.{inner}", text) for inner, text in settings(value)]
        else:
            text = json.dumps(value, default=str, ensure_ascii=False)
            found.append((str(name), value if isinstance(value, str) else text))
    return found


def took(report: Report) -> str:
    return f"This run took {report.seconds:,.0f} s, without what earlier ones had trained and measured."


def as_json(report: Report, measured: list[Cells]) -> str:
    """The report as it was given, and to each table its results. What is not a number is null, as JSON has it."""
    content = asdict(report)
    content["settings"] = json.loads(json.dumps(report.settings, default=str))  # paths and the like as text
    for table, given, cells in zip(report.tables, content["tables"], measured, strict=True):
        given["results"] = [_result(table, *place, cell) for place, cell in cells.items()]
        given["differences"] = [
            {**_place(table, i), "other": table.lines[j].name, "column": key, **asdict(of)}
            for i, others in differences(table).items()
            for j, columns in others.items()
            for key, of in columns.items()
        ]
    return json.dumps(_finite(content), indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def _result(table: Table, i: int, key: str, cell: Cell) -> dict[str, Any]:
    found = {**_place(table, i), "column": key, **asdict(cell.estimate), "rank": cell.rank}
    return {**found, "test": cell.comparison and asdict(cell.comparison)}


def _place(table: Table, i: int) -> dict[str, Any]:
    line = table.lines[i]
    return {"group": line.group, "x": line.x, "line": line.name}


def _finite(content: Any) -> Any:
    if isinstance(content, dict):
        return {name: _finite(value) for name, value in content.items()}
    if isinstance(content, list | tuple):
        return [_finite(value) for value in content]
    return None if isinstance(content, float) and not math.isfinite(content) else content
