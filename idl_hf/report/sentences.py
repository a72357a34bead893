"""Sentences of a table: what its tests say of each line, and what its marks and columns mean."""

import math
from collections.abc import Iterable

from idl_hf.report.layout import Cell, Cells, number
from idl_hf.report.results import Table
from idl_hf.report.statistics import LEVEL


def headlines(table: Table, cells: Cells) -> list[str]:
    """Return a sentence for each line of ours that has a baseline to beat: in which columns it is better or worse, and
    in which no difference can be told. Of curves those at their last position."""
    sentences = []
    last = max((line.x for line in table.lines if line.x is not None), default=None)
    for i, line in enumerate(table.lines):
        told = _verdicts([cell for place, cell in cells.items() if place.line == i])
        if line.role == "ours" and line.x == last and told:
            name = " ".join(filter(None, (line.group, line.name)))
            if line.x is not None:
                name = f"{line.curve}, {line.x:g} {table.x_label}".rstrip()
            sentences.append(f"{name}, against {_best(table)}: {'; '.join(told)}.")
    return sentences


def _best(table: Table) -> str:
    """Return what lines of ours are compared with."""
    return "the best baseline" + " or line of theirs" * any(line.role == "theirs" for line in table.lines)


def _verdicts(cells: Iterable[Cell]) -> list[str]:
    """Return what the tests of a line's cells say, nothing without any."""
    better, worse, alike, untested = [], [], [], []
    for cell in cells:
        if (test := cell.comparison) is not None:
            other = number(cell.column, cell.estimate.mean - test.difference)
            name = f"{cell.column.label} ({cell.value} against {other})"
            if math.isnan(test.corrected_p) and test.difference != 0:  # a missing value is not 0 either
                untested.append(cell.column.label)
            elif cell.dagger:
                better.append(name)
            elif test.corrected_p < LEVEL:
                worse.append(name)
            else:
                alike.append(cell.column.label)
    kinds = (
        ("better in", better), ("worse in", worse), ("no difference beyond chance in", alike),
        ("not tested (fewer than three people, a missing value, or differences that are all alike) in", untested),
    )  # fmt: skip
    return [f"{kind} {_listed(names)}" for kind, names in kinds if names]


def _listed(names: Iterable[str]) -> str:
    *first, last = names
    return f"{', '.join(first)} and {last}" if first else last


def about_differences(table: Table) -> str:
    """Return a sentence on what stands in the tables of differences."""
    mean, _, interval = about_means(table).rstrip(".").partition(" [")
    return f"{mean} of the difference [{interval}, not corrected for how many there are."


def about_means(table: Table) -> str:
    """Return a sentence on what means and intervals are over."""
    over_people = "Mean over people [95 % bootstrap interval]"
    if not _has_seeds(table):
        return f"{over_people}."
    return (
        "Mean over people and seeds of training [95 % interval for other people and other seeds, crossed random "
        f"effects]; without training: {over_people[0].lower()}{over_people[1:]}."
    )


def _has_seeds(table: Table) -> bool:
    return any(len(line.by_seed) > 1 for line in table.lines)


def legend(table: Table, cells: Cells) -> list[str]:
    """Return what the marks of a table mean, and what each column is."""
    measured = {place.column for place in cells}
    comparisons = [cell.comparison for cell in cells.values() if cell.comparison is not None]
    lines = []
    if any(cell.interval for cell in cells.values()):
        lines.append(about_means(table))
    if any(cell.rows is not None for cell in cells.values()):
        lines.append("n: how many replies or dialogues were scored.")
    if any(cell.rank for cell in cells.values()):
        grouped = any(line.group for line in table.lines)
        among = " at one position" if table.on_x else " of one group" if grouped else ""
        lines.append(f"Bold: best, underlined: second best of the lines{among}, bounds aside.")
    if comparisons:
        theirs = any(line.role == "theirs" for line in table.lines)
        best = _best(table) + " (a line of theirs: than the best of ours)" * theirs
        seeds = " and seeds" if _has_seeds(table) else ""
        lines.append(
            f"†: better than {best} in the column, over the same people{seeds} (paired t-test, p < {LEVEL} after "
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
