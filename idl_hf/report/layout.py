"""Tables of lines as they are printed: each value with its interval, rank, test and denominator."""

import math
from dataclasses import dataclass

from idl_hf.report.results import Column, Table
from idl_hf.report.statistics import LEVEL, Comparison, Estimate, comparable, compare, differences, estimate


@dataclass(frozen=True)
class Cell:
    """One value of a table, with all that is printed beside it."""

    column: Column
    estimate: Estimate
    rows: int | None  # how many replies or dialogues were scored
    paper: float | None
    rank: int | None  # 1 and 2: best and second best of the comparable lines, as shown; bounds have none
    comparison: Comparison | None

    @property
    def value(self) -> str:
        return number(self.column, self.estimate.mean)

    @property
    def dagger(self) -> str:
        return "†" if self.comparison is not None and self.comparison.dagger else ""

    @property
    def interval(self) -> str:
        low, high = self.estimate.low, self.estimate.high
        return "" if math.isnan(low) else f"[{number(self.column, low)}, {number(self.column, high)}]"

    @property
    def paper_value(self) -> str:
        return "" if self.paper is None else f"({self.paper:.{self.column.digits}f})"

    @property
    def denominator(self) -> str:
        rows = f"n\xa0=\xa0{self.rows:,}" if self.rows is not None else ""
        people = f"{self.estimate.people:,}\xa0people" if self.estimate.people else ""
        return ", ".join(filter(None, (rows, people)))


Cells = dict[tuple[int, str], Cell]  # by number of the line and key of the column


@dataclass(frozen=True)
class Grid:
    """A table as it is printed: one of a table of lines, one for each column of a table of curves."""

    title: str  # "" where that of the table says all
    corner: str
    heads: list[tuple[str, str]]  # label, and the denominator if all cells below share it
    rows: list[tuple[str, str, str, list[Cell | None]]]  # group, name, role, cells


def number(column: Column, value: float) -> str:
    return f"{round(column.scale * value, column.digits) + 0:.{column.digits}f}"  # + 0: no minus before a zero


def measure(table: Table) -> Cells:
    """Raises ValueError where lines to compare were measured on different people."""
    comparisons, cells = compare(table), {}
    for members in comparable(table):
        for column in table.columns:
            key = column.key
            found = {i: estimate(table.lines[i], key) for i in members}
            estimates = {i: of for i, of in found.items() if of is not None}
            ranks = _ranks(column, {i: of for i, of in estimates.items() if table.lines[i].role != "bound"})
            for i, of in estimates.items():
                line = table.lines[i]
                about = (line.rows.get(key), line.paper.get(key), ranks.get(i), comparisons.get((i, key)))
                cells[i, key] = Cell(column, of, *about)
    return cells


def _ranks(column: Column, estimates: dict[int, Estimate]) -> dict[int, int]:
    """Values that are shown alike rank alike, and the worst has no rank."""
    shown = {i: float(number(column, of.mean)) for i, of in estimates.items() if not math.isnan(of.mean)}
    best = sorted(set(shown.values()), reverse=not column.lower_is_better)[:-1][:2]
    return {i: best.index(value) + 1 for i, value in shown.items() if value in best}


def grids(table: Table, cells: Cells) -> list[Grid]:
    """Without the columns that no line has a value in."""
    columns = [column for column in table.columns if any(key == column.key for _, key in cells)]
    if not table.on_x:
        rows = [
            (line.group, line.name, str(line.role), [cells.get((i, column.key)) for column in columns])
            for i, line in enumerate(table.lines)
        ]
        return [_grid("", "", [label(column) for column in columns], rows)] if columns else []
    places = {(line.curve, line.x): i for i, line in enumerate(table.lines)}
    curves = list(dict.fromkeys(line.curve for line in table.lines))
    positions = sorted({line.x for line in table.lines if line.x is not None})
    made = []
    for column in columns:
        at = {place: cells.get((i, column.key)) for place, i in places.items()}
        rows = [("", f"{x:g}", "", [at.get((curve, x)) for curve in curves]) for x in positions]
        made.append(_grid(label(column), table.x_label, curves, rows))
    return made


def difference_grids(table: Table) -> list[Grid]:
    """A table for each line of ours: ours - the others. None for curves; report.json has theirs."""
    made = []
    for i, others in ({} if table.on_x else differences(table)).items():
        measured = set().union(*others.values())
        columns = [column for column in table.columns if column.key in measured]
        rows: list[tuple[str, str, str, list[Cell | None]]] = []
        for j, of in others.items():
            cells = [Cell(c, of[c.key], None, None, None, None) if c.key in of else None for c in columns]
            rows.append(("", table.lines[j].name, str(table.lines[j].role), cells))
        title = " ".join(filter(None, (table.lines[i].group, table.lines[i].name, "minus another line")))
        made += [_grid(title, "", [label(column) for column in columns], rows)] if columns else []
    return made


def _grid(title: str, corner: str, labels: list[str], rows: list[tuple[str, str, str, list[Cell | None]]]) -> Grid:
    heads = []
    for i, name in enumerate(labels):
        below = [cells[i] for *_, cells in rows if cells[i] is not None]
        denominators = {cell.denominator for cell in below if cell is not None}
        paper = " (paper)" if any(cell is not None and cell.paper is not None for cell in below) else ""
        heads.append((name + paper, denominators.pop() if len(denominators) == 1 else ""))
    return Grid(title, corner, heads, rows)


def label(column: Column) -> str:
    return f"{column.label} {'↓' if column.lower_is_better else '↑'}"


def legend(table: Table, cells: Cells) -> list[str]:
    """What the marks of a table mean, and what each column is."""
    measured = {key for _, key in cells}
    comparisons = [cell.comparison for cell in cells.values() if cell.comparison is not None]
    lines = []
    if any(cell.interval for cell in cells.values()):
        lines.append("Mean over people [95 % bootstrap interval].")
    if any(cell.rows is not None for cell in cells.values()):
        lines.append("n: how many replies or dialogues were scored.")
    if any(cell.rank for cell in cells.values()):
        among = (
            " at one position" if table.on_x else " of one group" if any(line.group for line in table.lines) else ""
        )
        lines.append(f"Bold: best, underlined: second best of the lines{among}, bounds aside.")
    if comparisons:
        lines.append(
            f"†: better than the best baseline of the column over the same people (paired t-test, p < {LEVEL} after "
            f"Holm's correction over the {len(comparisons)} comparisons of this table)."
        )
    if any(cell.paper is not None for cell in cells.values()):
        lines.append("In parentheses: the paper's figure by the same score, of its own models and data.")
    notes = dict.fromkeys(column.note for column in table.columns if column.note and column.key in measured)
    for note in notes:
        labels = [column.label for column in table.columns if column.note == note and column.key in measured]
        lines.append(f"{'; '.join(labels)}: {note}")
    missing = [column.label for column in table.columns if column.key not in measured]
    return [*lines, f"Not measured: {', '.join(missing).rstrip('.')}."] if missing else lines  # a label may end in one
