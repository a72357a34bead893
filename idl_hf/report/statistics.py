"""Means over people with their intervals, and paired tests against the best baseline, as in the paper's tables."""

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from scipy.stats import bootstrap, ttest_rel

from idl_hf.report.results import Column, Line, Table

LEVEL = 0.05
_TO_BEAT = {"ours": ("baseline", "theirs"), "theirs": ("ours",)}  # by the role of a line, those of which it has a †


class Place(NamedTuple):
    """Where a value stands in its table: the number of the line and the key of the column."""

    line: int
    column: str


@dataclass(frozen=True)
class Estimate:
    """A mean over people with its 95 % bootstrap interval; the bounds are NaN below two people."""

    mean: float
    low: float
    high: float
    people: int

    def __str__(self) -> str:
        return f"{self.mean:.3f} [{self.low:.3f}, {self.high:.3f}]"


@dataclass(frozen=True)
class Comparison:
    """A line in one column against the best of those that it has to beat, over the same people."""

    against: str
    difference: float  # of the means, line - best
    p: float  # two-sided paired t-test
    corrected_p: float = math.nan  # over all comparisons of the table
    dagger: bool = False  # the line is better, and significantly so


@dataclass(frozen=True)
class Differences:
    """A line of ours minus another line, both by their number in the table."""

    line: int
    other: int
    estimates: dict[str, Estimate]  # by key of the columns that both have


def mean_over_people(values: Mapping[str, float], seed: int = 0) -> Estimate:
    """Return the mean and bootstrap interval over people (dialogues of one depend on each other); one NaN, all NaN."""
    sample = _sample(values)
    if len(sample) < 2 or not np.isfinite(sample).all():
        return Estimate(float(sample.mean()), math.nan, math.nan, len(sample))
    rng = np.random.default_rng(seed)
    interval = bootstrap((sample,), np.mean, method="percentile", rng=rng, batch=1000).confidence_interval
    return Estimate(float(sample.mean()), float(interval.low), float(interval.high), len(sample))


def mean_difference(minuend: Mapping[str, float], subtrahend: Mapping[str, float], seed: int = 0) -> Estimate:
    """Return the mean over people of the difference of their two values, with its bootstrap interval.

    Persona gain is that of the NLL under another person's references (minuend) and under the person's own.
    Raises ValueError where the values are of different people.
    """
    if minuend.keys() != subtrahend.keys():
        raise ValueError("A difference compares the same people under two conditionings; found different people.")
    return mean_over_people({person: value - subtrahend[person] for person, value in minuend.items()}, seed)


def estimate(line: Line, key: str) -> Estimate | None:
    """Return the line's mean in a column, None without a value; a value as a whole has neither people nor interval."""
    if line.values.get(key):
        return mean_over_people(line.values[key])
    return Estimate(line.whole[key], math.nan, math.nan, 0) if key in line.whole else None


def paired_p(values: Mapping[str, float], others: Mapping[str, float]) -> float:
    """Return the p-value of a two-sided paired t-test over people.

    NaN below three people, with a value that is not finite, and where all differ by the same, such as not at all.
    """
    first, second = _sample(values), np.array([others[person] for person in sorted(values)])
    if len(first) < 3 or not np.isfinite([first, second]).all():
        return math.nan
    differences = first - second
    if np.allclose(differences, differences[0], rtol=1e-9, atol=1e-12):
        return math.nan
    return float(ttest_rel(first, second).pvalue)


def holm(p_values: Sequence[float]) -> list[float]:
    """Return p-values after Holm's step-down correction. A NaN stays one and counts, since the comparison was made."""
    corrected = [math.nan] * len(p_values)
    reached = 0.0
    order = sorted((i for i, p in enumerate(p_values) if not math.isnan(p)), key=lambda i: p_values[i])
    for rank, i in enumerate(order):
        reached = max(reached, min(1.0, (len(p_values) - rank) * p_values[i]))
        corrected[i] = reached
    return corrected


def comparable(table: Table) -> list[list[int]]:
    """Return the numbers of the lines that are compared with each other: of one group, or of curves those at one x."""
    sets: dict[str | float, list[int]] = defaultdict(list)
    for i, line in enumerate(table.lines):
        sets[line.group if line.x is None else line.x].append(i)
    return list(sets.values())


def compare(table: Table) -> dict[Place, Comparison]:
    """Return each line of ours against the best comparable line that is a baseline or another system's, and each of
    another system's against the best of ours, by mean. A column in which neither way is better has no comparisons.
    Raises ValueError if people differ."""
    comparisons = {}
    for members in comparable(table):
        for column in table.columns:
            measured = {i: table.lines[i] for i in members if table.lines[i].values.get(column.key)}
            lines = {i: line for i, line in measured.items() if line.role}
            _require_same_people(table, column, list(lines.values()))
            for i, line in lines.items():
                to_beat = [other for other in lines.values() if other.role in _TO_BEAT.get(line.role, ())]
                if to_beat and column.lower_is_better is not None:
                    comparisons[Place(i, column.key)] = _against_best(line, to_beat, column)
    corrected = holm([comparison.p for comparison in comparisons.values()])
    sign = {column.key: -1 if column.lower_is_better else 1 for column in table.columns}
    return {
        place: replace(test, corrected_p=p, dagger=p < LEVEL and sign[place.column] * test.difference > 0)
        for (place, test), p in zip(comparisons.items(), corrected, strict=True)
    }


def differences(table: Table) -> list[Differences]:
    """Return each line of ours minus each comparable one, over people; of two of ours the later minus the earlier."""
    return [
        Differences(i, j, _differences(table.lines[i], table.lines[j], table.columns))
        for members in comparable(table)
        for i in members
        for j in members
        if table.lines[i].role == "ours" and (j < i or (j > i and table.lines[j].role != "ours"))
    ]


def _differences(line: Line, other: Line, columns: Sequence[Column]) -> dict[str, Estimate]:
    keys = [column.key for column in columns if line.values.get(column.key) and other.values.get(column.key)]
    return {key: mean_difference(line.values[key], other.values[key]) for key in keys}


def _against_best(line: Line, others: list[Line], column: Column) -> Comparison:
    means = [float(_sample(other.values[column.key]).mean()) for other in others]
    sign = 1 if column.lower_is_better else -1
    best = min(range(len(means)), key=lambda i: (math.isnan(means[i]), sign * means[i]))
    values = line.values[column.key]
    p = paired_p(values, others[best].values[column.key])
    return Comparison(others[best].name, float(_sample(values).mean()) - means[best], p)


def _sample(values: Mapping[str, float]) -> np.ndarray:
    return np.array([values[person] for person in sorted(values)])


def _require_same_people(table: Table, column: Column, lines: list[Line]) -> None:
    for line in lines[1:]:
        ours, theirs = lines[0].values[column.key].keys(), line.values[column.key].keys()
        for name, only in ((lines[0].name, ours - theirs), (line.name, theirs - ours)):
            if only:
                raise ValueError(
                    f"'{table.title}', {column.label}: the lines '{lines[0].name}' and '{line.name}' are compared "
                    f"over the same people, but only '{name}' has {', '.join(sorted(only)[:5])}"
                    f"{f' and {len(only) - 5} more' if len(only) > 5 else ''}. Measure both on the same people."
                )
