"""Tables of lines as they are printed: each value with its interval, rank, test and denominator."""

import math
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from itertools import groupby
from typing import NamedTuple

from idl_hf.report.results import Column, Table
from idl_hf.report.statistics import Comparison, Estimate, Place, comparable, compare, differences, estimate


@dataclass(frozen=True)
class Cell:
    """One value of a table, with all that is printed beside it."""

    column: Column
    estimate: Estimate
    rows: int | None = None  # how many replies or dialogues were scored
    paper: float | None = None
    rank: int | None = None  # 1 and 2: best and second best of the comparable lines, as shown; bounds have none
    comparison: Comparison | None = None

    @property
    def value(self) -> str:
        """Return the mean as it is printed."""
        return number(self.column, self.estimate.mean)

    @property
    def dagger(self) -> str:
        """Return the mark of a significant improvement, "" without one."""
        return "†" if self.comparison is not None and self.comparison.dagger else ""

    @property
    def interval(self) -> str:
        """Return the bounds as they are printed, "" without an interval."""
        low, high = self.estimate.low, self.estimate.high
        return "" if math.isnan(low) else f"[{number(self.column, low)}, {number(self.column, high)}]"

    @property
    def paper_value(self) -> str:
        """Return the paper's figure in parentheses, "" without one."""
        return "" if self.paper is None else f"({self.paper:.{self.column.digits}f})"

    @property
    def scored(self) -> str:
        """Return how many replies or dialogues were scored, "" where it is not known."""
        return f"n\xa0=\xa0{self.rows:,}" if self.rows is not None else ""

    @property
    def people(self) -> str:
        """Return how many people the mean is over, "" where it is over none."""
        return f"{self.estimate.people:,}\xa0people" if self.estimate.people else ""

    @property
    def seeds(self) -> str:
        """Return how many seeds of training the mean is over, "" where none is told."""
        return f"{self.estimate.seeds}\xa0seed{'s' * (self.estimate.seeds > 1)}" if self.estimate.seeds else ""


Cells = dict[Place, Cell]
ALL_LINES = "All lines"  # what a table is called below its differences


@dataclass(frozen=True)
class Head:
    """The head of a column of cells."""

    label: str
    over: str = ""  # how many replies, people and seeds: what all cells below share


@dataclass(frozen=True)
class GridRow:
    """A row of cells, None where nothing was measured."""

    name: str
    cells: list[Cell | None]
    role: str = ""
    group: str = ""
    over: str = ""  # what all cells of the row share
    beside: list[str] = field(default_factory=list)  # what a cell does not share, for each


@dataclass(frozen=True)
class Grid:
    """A table as it is printed: one of a table of lines, one for each column of a table of curves."""

    title: str  # "" where that of the table says all
    corner: str
    heads: list[Head]
    rows: list[GridRow]
    over: str = ""  # what all cells share


def number(column: Column, value: float) -> str:
    """Return a value as it is printed in its column."""
    return f"{round(column.scale * value, column.digits) + 0:.{column.digits}f}"  # + 0: no minus before a zero


def measure(table: Table) -> Cells:
    """Return the cell of each value. Raises ValueError where lines to compare were measured on different people."""
    comparisons, cells = compare(table), {}
    for members in comparable(table):
        for column in table.columns:
            key = column.key
            estimates = {i: value for i in members if (value := estimate(table.lines[i], key)) is not None}
            ranks = _ranks(column, {i: value for i, value in estimates.items() if table.lines[i].role != "bound"})
            for i, value in estimates.items():
                line, place = table.lines[i], Place(i, key)
                rows, paper = line.rows.get(key), line.paper.get(key)
                cells[place] = Cell(column, value, rows, paper, ranks.get(i), comparisons.get(place))
    return cells


def _ranks(column: Column, estimates: dict[int, Estimate]) -> dict[int, int]:
    """Rank values as they are shown: those shown alike rank alike, and the worst has no rank."""
    if column.lower_is_better is None:
        return {}
    means = {i: value.mean for i, value in estimates.items() if not math.isnan(value.mean)}
    shown = {i: float(number(column, mean)) for i, mean in means.items()}
    best = sorted(set(shown.values()), reverse=not column.lower_is_better)[:-1][:2]
    return {i: best.index(value) + 1 for i, value in shown.items() if value in best}


def grids(table: Table, cells: Cells) -> list[Grid]:
    """Return a table as it is printed, without the columns that no line has a value in."""
    columns = [column for column in table.columns if any(place.column == column.key for place in cells)]
    if not table.on_x:
        rows = [
            GridRow(line.name, [cells.get(Place(i, column.key)) for column in columns], line.role, line.group)
            for i, line in enumerate(table.lines)
        ]
        return [_grid("", "", [label(column) for column in columns], rows)] if columns else []
    numbers = {(line.curve, line.x): i for i, line in enumerate(table.lines)}
    curves = list(dict.fromkeys(line.curve for line in table.lines))
    positions = sorted({line.x for line in table.lines if line.x is not None})
    by_column = []
    for column in columns:
        at = {point: cells.get(Place(i, column.key)) for point, i in numbers.items()}
        rows = [GridRow(f"{x:g}", [at.get((curve, x)) for curve in curves]) for x in positions]
        by_column.append(_grid(label(column), table.x_label, curves, rows))
    return by_column


def difference_grids(table: Table) -> list[Grid]:
    """Return a table for each line of ours: ours - the others. None for curves; report.json has theirs."""
    by_line = []
    for i, group in groupby([] if table.on_x else differences(table), key=lambda pair: pair.line):
        pairs = list(group)
        measured = {key for pair in pairs for key in pair.estimates}
        columns = [column for column in table.columns if column.key in measured]
        rows = []
        for pair in pairs:
            estimates = [(column, pair.estimates.get(column.key)) for column in columns]
            cells = [Cell(column, value) if value is not None else None for column, value in estimates]
            rows.append(GridRow(table.lines[pair.other].name, cells, table.lines[pair.other].role))
        title = " ".join(filter(None, (table.lines[i].group, table.lines[i].name, "minus another line")))
        by_line += [_grid(title, "", [label(column) for column in columns], rows)] if columns else []
    return by_line


def _grid(title: str, corner: str, labels: list[str], rows: list[GridRow]) -> Grid:
    heads = []
    for i, name in enumerate(labels):
        below = [cell for row in rows if (cell := row.cells[i]) is not None]
        heads.append(Head(name + (" (paper)" if any(cell.paper is not None for cell in below) else "")))
    told = [
        _told([[getattr(cell, kind) if cell is not None else None for cell in row.cells] for row in rows])
        for kind in ("scored", "people", "seeds")
    ]

    def joined(texts: Iterable[str]) -> str:
        return ", ".join(filter(None, texts))

    heads = [replace(head, over=joined(one.by_column[i] for one in told)) for i, head in enumerate(heads)]
    rows = [
        replace(
            row,
            over=joined(one.by_row[i] for one in told),
            beside=[joined(one.by_cell[i][j] for one in told) for j in range(len(heads))],
        )
        for i, row in enumerate(rows)
    ]
    return Grid(title, corner, heads, rows, joined(one.once for one in told))


class _Told(NamedTuple):
    """Where something that is told of cells stands, once for as many as share it: "" where it does not."""

    once: str
    by_row: list[str]
    by_column: list[str]
    by_cell: list[list[str]]


def _told(texts: list[list[str | None]]) -> _Told:
    """Return where texts stand that are told of cells, None where there is no cell: above all, at each row or, where
    a row has several, at each column or each cell."""
    rows, columns = len(texts), max(map(len, texts), default=0)
    by_row = [{text for text in row if text is not None} for row in texts]
    by_column = [{row[i] for row in texts if row[i] is not None} for i in range(columns)]
    nowhere = _Told("", [""] * rows, [""] * columns, [[""] * columns] * rows)
    everywhere = set().union(*by_row)
    if len(everywhere) <= 1:
        return nowhere._replace(once="".join(everywhere))
    if all(len(of_row) <= 1 for of_row in by_row):
        return nowhere._replace(by_row=["".join(of_row) for of_row in by_row])
    shared = [len(of_column) <= 1 for of_column in by_column]
    by_cell = [["" if shared[i] else text or "" for i, text in enumerate(row)] for row in texts]
    heads = ["".join(map(str, of_column)) * alone for of_column, alone in zip(by_column, shared, strict=True)]
    return nowhere._replace(by_column=heads, by_cell=by_cell)


def label(column: Column) -> str:
    """Return a column's label with an arrow to where it is better, if either way is."""
    if column.lower_is_better is None:
        return column.label
    return f"{column.label} {'↓' if column.lower_is_better else '↑'}"
