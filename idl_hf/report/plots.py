"""The plots of a table: dots, or curves where its lines have an x; one small figure for each column."""

import math
import textwrap
from dataclasses import dataclass
from html import escape

from matplotlib.axes import Axes

from idl_hf.report.layout import Cell, Cells, label
from idl_hf.report.page_frame import Figure, colour, new_figure, plot, printable
from idl_hf.report.results import Table
from idl_hf.report.statistics import Estimate, Place

_INK = "#222222"


@dataclass(frozen=True)
class _Style:
    colour: str
    marker: str


_ROLES = {
    "ours": _Style(colour(0), "o"), "baseline": _Style(colour(1), "s"), "theirs": _Style(colour(2), "v"),
    "ablation": _Style(colour(3), "^"), "bound": _Style("#777777", "D"), "": _Style(colour(0), "o"),
}  # fmt: skip
_SHARES = (colour(0), "#d9d9d9", colour(1), colour(3))
_MARKERS = {"o": "●", "s": "■", "^": "▲", "D": "◆", "v": "▼"}  # matplotlib's, and the same as text
_WIDTH = 4.4  # inches: two or three figures side by side on a screen, one on a phone
_NARROWEST = 9  # of 100, for a number to stand in
_LABEL = 24  # characters in a line of the label of a dot


def plots(table: Table, cells: Cells) -> str:
    """Return a key and a figure for each column that has values, "" without values."""
    figures = []
    if table.shares and cells:
        title = " / ".join(column.label for column in table.columns if column.key in table.shares)
        figures.append(plot(_stacked(table, cells), f"Plot of {title} of the table '{table.title}'", title))
    for column in table.columns:
        if column.key in table.shares:
            continue
        in_column = {place.line: cell for place, cell in cells.items() if place.column == column.key}
        drawn = {i: cell for i, cell in in_column.items() if math.isfinite(cell.estimate.mean)}
        if drawn:
            figure = _curves(table, drawn) if table.on_x else _dots(table, drawn)
            name = f"Plot of {column.label} of the table '{table.title}'"
            figures.append(plot(figure, name, label(column)))
    return f'{_key(table, cells)}\n<div class="plots">\n{chr(10).join(figures)}\n</div>' if figures else ""


def _dots(table: Table, cells: dict[int, Cell]) -> Figure:
    """Draw a dot with its interval for each cell, on a scale of what differs and not from zero. Every line has its
    place in every figure, so that they compare across figures."""
    names = [f"{line.group}: {line.name}" if line.group else line.name for line in table.lines]
    labels = ["\n".join(textwrap.wrap(printable(name), _LABEL, max_lines=2, placeholder=" …")) for name in names]
    figure = new_figure(_WIDTH, 0.5 + sum(0.14 + 0.15 * (1 + name.count("\n")) for name in labels))
    axes = figure.subplots()
    for i, cell in cells.items():
        shown, style = _shown(cell), _ROLES[table.lines[i].role]
        axes.plot([shown.low, shown.high], [i, i], color=style.colour, linewidth=2, solid_capstyle="butt")
        axes.plot(shown.mean, i, color=style.colour, marker=style.marker, markersize=7, linestyle="none")
        if cell.paper is not None:
            _draw_paper(axes, cell.paper, i)
    axes.set_yticks(range(len(names)), labels, parse_math=False)
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.margins(x=0.08)
    axes.locator_params(axis="x", nbins=6)
    axes.grid(axis="x", color="#dddddd")
    axes.set_axisbelow(True)
    axes.tick_params(axis="y", length=0)
    axes.spines[["top", "right", "left"]].set_visible(False)
    return figure


def _stacked(table: Table, cells: Cells) -> Figure:
    """Draw the shares of each line as one bar of 100 %, each with its number (paper Figure 3)."""
    figure = new_figure(_WIDTH, 0.6 + 0.4 * len(table.lines))
    axes = figure.subplots()
    for i in range(len(table.lines)):
        start = 0.0
        for key, tint in zip(table.shares, _SHARES, strict=False):
            cell = cells.get(Place(i, key))
            if cell is not None:
                axes.barh(i, shown := _shown(cell).mean, 0.7, left=start, color=tint)
                ink = "white" if tint == _SHARES[0] else _INK
                if shown >= _NARROWEST:
                    axes.text(start + shown / 2, i, cell.value, ha="center", va="center", color=ink)
                start += shown
    axes.set_yticks(range(len(table.lines)), [printable(line.name) for line in table.lines], parse_math=False)
    axes.set_ylim(len(table.lines) - 0.4, -0.6)
    axes.set_xlim(0, 100)
    axes.tick_params(axis="y", length=0)
    axes.spines[["top", "right", "left"]].set_visible(False)
    return figure


def _curves(table: Table, cells: dict[int, Cell]) -> Figure:
    figure = new_figure(_WIDTH, 3)
    axes = figure.subplots()
    for curve, style in _styles(table).items():
        line_at = {line.x: i for i, line in enumerate(table.lines) if line.curve == curve and line.x is not None}
        points = {x: cells[line_at[x]] for x in sorted(line_at) if line_at[x] in cells}
        shown = [_shown(cell) for cell in points.values()]
        low, high = [estimate.low for estimate in shown], [estimate.high for estimate in shown]
        axes.fill_between(list(points), low, high, color=style.colour, alpha=0.2, linewidth=0)
        mean = [estimate.mean for estimate in shown]
        axes.plot(list(points), mean, markersize=5, color=style.colour, marker=style.marker)
        for x, cell in points.items():
            if cell.paper is not None:
                _draw_paper(axes, x, cell.paper)
    positions = sorted({line.x for line in table.lines if line.x is not None})
    axes.set_xticks(positions, [f"{x:g}" for x in positions])
    axes.set_xlabel(printable(table.x_label), parse_math=False)
    axes.grid(axis="y", color="#dddddd")
    axes.spines[["top", "right"]].set_visible(False)
    return figure


def _draw_paper(axes: Axes, x: float, y: float) -> None:
    axes.plot(x, y, color=_INK, marker="d", markerfacecolor="white", markersize=7, linestyle="none")


def _shown(cell: Cell) -> Estimate:
    """Return the estimate in the units that its column is shown in."""
    scale, estimate = cell.column.scale, cell.estimate
    return Estimate(scale * estimate.mean, scale * estimate.low, scale * estimate.high, estimate.people)


def _styles(table: Table) -> dict[str, _Style]:
    """Return the look of each curve: none is told by its colour alone."""
    markers = list(_MARKERS)
    curves = dict.fromkeys(line.curve for line in table.lines)
    return {curve: _Style(colour(i), markers[i % len(markers)]) for i, curve in enumerate(curves)}


def _key(table: Table, cells: Cells) -> str:
    if table.on_x:
        entries = [(_MARKERS[style.marker], style.colour, curve) for curve, style in _styles(table).items()]
        entries.append(("▬", "#cccccc", "band: 95 % interval"))
    else:
        labels = {column.key: column.label for column in table.columns}
        shares = zip(table.shares, _SHARES, strict=False)
        entries = [("■", tint, labels[key]) for key, tint in shares]
        roles = dict.fromkeys(line.role for line in table.lines if line.role)
        entries += [(_MARKERS[_ROLES[role].marker], _ROLES[role].colour, str(role)) for role in roles]
        entries.append(("━", _INK, "95 % interval"))
    if any(cell.paper is not None for cell in cells.values()):
        entries.append(("◇", _INK, "the paper's figure"))
    items = (
        f'<li><span style="color: {tint}" aria-hidden="true">{sign}</span> {escape(name)}</li>'
        for sign, tint, name in entries
    )
    return f'<ul class="key" aria-label="Key of the plots">{"".join(items)}</ul>'
