"""Means over people with their intervals, and paired tests against the best baseline, as in the paper's tables."""

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.stats import bootstrap, ttest_rel

from idl_hf.report.results import Column, Line, Table

LEVEL = 0.05
_FEWEST_PEOPLE = 3


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
    """A line of ours against the best baseline in one column, over the same people."""

    against: str
    difference: float  # of the means, ours - baseline
    p: float  # two-sided paired t-test
    corrected_p: float = math.nan  # over all comparisons of the table
    dagger: bool = False  # ours is better, and significantly so


def mean_over_people(values: dict[str, float], seed: int = 0) -> Estimate:
    """People are the unit: dialogues of one person are not independent. One value that is NaN makes all NaN."""
    sample = np.array([values[person] for person in sorted(values)])
    if len(sample) < 2 or not np.isfinite(sample).all():
        return Estimate(float(sample.mean()), math.nan, math.nan, len(sample))
    rng = np.random.default_rng(seed)
    interval = bootstrap((sample,), np.mean, method="percentile", rng=rng, batch=1000).confidence_interval
    return Estimate(float(sample.mean()), float(interval.low), float(interval.high), len(sample))


def estimate(line: Line, key: str) -> Estimate | None:
    """None where the line has no value. One without people has neither people nor an interval."""
    if line.values.get(key):
        return mean_over_people(line.values[key])
    return Estimate(line.whole[key], math.nan, math.nan, 0) if key in line.whole else None


def paired_p(one: dict[str, float], other: dict[str, float]) -> float:
    """Of the two-sided t-test. NaN where it says nothing: below three people, with a value that is not finite, and
    where all people differ by the same, such as not at all."""
    people = sorted(one)
    first, second = (np.array([values[person] for person in people]) for values in (one, other))
    if len(people) < _FEWEST_PEOPLE or not np.isfinite([first, second]).all():
        return math.nan
    differences = first - second
    if np.allclose(differences, differences[0], rtol=1e-9, atol=1e-12):
        return math.nan
    return float(ttest_rel(first, second).pvalue)


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down correction. A NaN stays one and counts as a comparison, since it was made."""
    corrected = [math.nan] * len(p_values)
    reached = 0.0
    order = sorted((i for i, p in enumerate(p_values) if not math.isnan(p)), key=lambda i: p_values[i])
    for rank, i in enumerate(order):
        reached = max(reached, min(1.0, (len(p_values) - rank) * p_values[i]))
        corrected[i] = reached
    return corrected


def comparable(table: Table) -> list[list[int]]:
    """Numbers of the lines that are compared with each other: those of one group, and of curves those at one x."""
    sets: dict[str | float, list[int]] = defaultdict(list)
    for i, line in enumerate(table.lines):
        sets[line.group if line.x is None else line.x].append(i)
    return list(sets.values())


def compare(table: Table) -> dict[tuple[int, str], Comparison]:
    """By number of the line and key of the column: each line of ours against the best baseline, by mean, of those that
    it is comparable with. Raises ValueError where lines were measured on different people."""
    found = {}
    for members in comparable(table):
        for column in table.columns:
            lines = {i: table.lines[i] for i in members if table.lines[i].values.get(column.key)}
            _require_same_people(table, column, list(lines.values()))
            baselines = [line for line in lines.values() if line.role == "baseline"]
            ours = {i: line for i, line in lines.items() if line.role == "ours"} if baselines else {}
            for i, line in ours.items():
                found[i, column.key] = _against_best(line, baselines, column)
    corrected = holm([comparison.p for comparison in found.values()])
    better = {column.key: -1 if column.lower_is_better else 1 for column in table.columns}
    return {
        (i, key): replace(of, corrected_p=p, dagger=p < LEVEL and better[key] * of.difference > 0)
        for ((i, key), of), p in zip(found.items(), corrected, strict=True)
    }


def differences(table: Table) -> dict[int, dict[int, dict[str, Estimate]]]:
    """By number of a line of ours, of one comparable with it, and column: ours - the other, the mean of the people's
    differences with its interval. Two lines of ours are compared once, the later with the earlier."""
    found = {}
    for members in comparable(table):
        for i in (i for i in members if table.lines[i].role == "ours"):
            others = [j for j in members if j < i or (j > i and table.lines[j].role != "ours")]
            found[i] = {j: _differences(table.lines[i], table.lines[j], table.columns) for j in others}
    return found


def _differences(line: Line, other: Line, columns: Sequence[Column]) -> dict[str, Estimate]:
    return {
        key: mean_over_people(
            {person: value - other.values[key][person] for person, value in line.values[key].items()}
        )
        for key in (column.key for column in columns)
        if line.values.get(key) and other.values.get(key)
    }


def _against_best(line: Line, baselines: list[Line], column: Column) -> Comparison:
    means = [_mean(baseline.values[column.key]) for baseline in baselines]
    sign = 1 if column.lower_is_better else -1
    best = min(range(len(means)), key=lambda i: (math.isnan(means[i]), sign * means[i]))
    values = line.values[column.key]
    p = paired_p(values, baselines[best].values[column.key])
    return Comparison(baselines[best].name, _mean(values) - means[best], p)


def _mean(values: dict[str, float]) -> float:
    return float(np.mean([values[person] for person in sorted(values)]))


def _require_same_people(table: Table, column: Column, lines: list[Line]) -> None:
    for line in lines[1:]:
        ours, theirs = (of.values[column.key].keys() for of in (lines[0], line))
        for name, only in ((lines[0].name, ours - theirs), (line.name, theirs - ours)):
            if only:
                raise ValueError(
                    f"'{table.title}', {column.label}: the lines '{lines[0].name}' and '{line.name}' are compared over "
                    f"the same people, but only '{name}' has {', '.join(sorted(only)[:5])}"
                    f"{f' and {len(only) - 5} more' if len(only) > 5 else ''}. Measure both on the same people."
                )
