"""Means over people, and over seeds of training, with their intervals; paired tests against the best baseline, as in
the paper's tables.

What was measured of a line in a column is a matrix here: a row for each person, a column for each seed of training,
one column where nothing was trained or one seed was.
"""

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import bisect
from scipy.stats import bootstrap, ttest_1samp
from scipy.stats import t as student

from idl_hf.report.results import Column, Line, Table

LEVEL = 0.05
_OTHER_PEOPLE = "A difference compares the same people under two conditionings; found different people."
_SMALLEST = -600.0  # the logarithm of the smallest p that is told
_ROUNDING = 1e-12  # of the variance of values
_TO_BEAT = {"ours": ("baseline", "theirs"), "theirs": ("ours",)}  # by the role of a line, those of which it has a †


class Place(NamedTuple):
    """Where a value stands in its table: the number of the line and the key of the column."""

    line: int
    column: str


@dataclass(frozen=True)
class Estimate:
    """A mean over people, or over people and seeds, with its 95 % interval; the bounds are NaN below two people."""

    mean: float
    low: float
    high: float
    people: int
    seeds: int = 0  # of training; 0: none was, or it is not told

    def __str__(self) -> str:
        return f"{self.mean:.3f} [{self.low:.3f}, {self.high:.3f}]"


@dataclass(frozen=True)
class Comparison:
    """A line in one column against the best of those that it has to beat, over the same people."""

    against: str
    difference: float  # of the means, line - best
    p: float  # two-sided paired t-test, over people or over people and seeds
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
    return _estimate(_sample(values)[:, None], 0, seed)


def mean_difference(minuend: Mapping[str, float], subtrahend: Mapping[str, float], seed: int = 0) -> Estimate:
    """Return the mean over people of the difference of their two values, with its bootstrap interval.

    Persona gain is that of the NLL under another person's references (minuend) and under the person's own.
    Raises ValueError where the values are of different people.
    """
    if minuend.keys() != subtrahend.keys():
        raise ValueError(_OTHER_PEOPLE)
    return mean_over_people({person: value - subtrahend[person] for person, value in minuend.items()}, seed)


def estimate(line: Line, key: str) -> Estimate | None:
    """Return the line's mean in a column, None without a value; a value as a whole has neither people nor interval."""
    seeds = len(line.by_seed)
    if line.values.get(key):
        return _estimate(_matrix(line, key, list(line.by_seed)), seeds)
    return Estimate(line.whole[key], math.nan, math.nan, 0, seeds) if key in line.whole else None


class Crossed(NamedTuple):
    """The standard error of a mean over people and seeds, and whose two parts it has: weights of their t quantiles."""

    error: float
    of_people: float
    of_seeds: float
    people: int
    seeds: int

    def quantile(self, p: float) -> float:
        """Return what a mean without effect exceeds, in standard errors and to either side, with probability p."""
        parts = (self.of_people, self.people - 1), (self.of_seeds, self.seeds - 1)
        # A part that is not there is left out, since its quantile may be infinite
        return float(sum(weight * student.isf(p / 2, freedom) for weight, freedom in parts if weight))


def crossed_error(matrix: NDArray[np.float64]) -> Crossed:
    """Return the standard error of the mean of values (people, seeds), where either could have been others.

    Two random effects, crossed, without replication: value = mean + person + seed + rest. Its variance, var(person) /
    people + (var(seed) + var(rest) / people) / seeds, is estimated from the mean squares (Searle, Casella and
    McCulloch, Variance Components, 1992, chapter 4): the second part is that of the means of the seeds; the first is
    what the means of people vary more than the rest makes them, none if they do not. A quantile is the mean of those
    of t with people - 1 and seeds - 1 degrees of freedom, weighted by the two parts (Cochran, Biometrics 20, 1964,
    191-195). So 95 % intervals of 3 seeds cover 94.7 to 97.4 % in simulations, whichever of the three varies (some of
    these are tests); by Satterthwaite's degrees of freedom they cover 89 to 97 %. The error is 0 where values are all
    the same and NaN where they vary but neither part does, as decisions of a few dialogues may: that tells nothing.
    """
    people, seeds = matrix.shape
    means, by_seed = matrix.mean(axis=1), matrix.mean(axis=0)
    rest = matrix - means[:, None] - by_seed + matrix.mean()
    rest_square = (rest**2).sum() / ((people - 1) * (seeds - 1))
    parts = max(0.0, seeds * means.var(ddof=1) - rest_square), people * by_seed.var(ddof=1)
    total = sum(parts)
    if total <= _ROUNDING * matrix.var():
        return Crossed(math.nan if _varies(matrix) else 0.0, 0.0, 1.0, people, seeds)
    error = math.sqrt(total / (people * seeds))
    return Crossed(error, parts[0] / total, parts[1] / total, people, seeds)


def _varies(matrix: NDArray[np.float64]) -> bool:
    return not np.allclose(matrix, matrix[0, 0], rtol=1e-9, atol=1e-12)


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
    estimates = {}
    for column in columns:
        if line.values.get(key := column.key) and other.values.get(key):
            if line.values[key].keys() != other.values[key].keys():
                raise ValueError(_OTHER_PEOPLE)
            pair = _pair(line, other, key)
            estimates[key] = _estimate(pair.matrix - pair.other, pair.seeds)
    return estimates


def _against_best(line: Line, others: list[Line], column: Column) -> Comparison:
    means = [float(_sample(other.values[column.key]).mean()) for other in others]
    sign = 1 if column.lower_is_better else -1
    best = min(range(len(means)), key=lambda i: (math.isnan(means[i]), sign * means[i]))
    pair = _pair(line, others[best], column.key)
    difference = float(pair.matrix.mean()) - float(pair.other.mean())
    return Comparison(others[best].name, difference, _p_value(pair.matrix - pair.other))


class _Pair(NamedTuple):
    """The values of two lines on the same people; the seeds are those that both have, or those of the only one that
    has any."""

    matrix: NDArray[np.float64]  # (people, seeds)
    other: NDArray[np.float64]  # alike, or (people, 1)
    seeds: int


def _pair(line: Line, other: Line, key: str) -> _Pair:
    """Return the values of two lines in a column. Of a report so far, some lines may have fewer seeds. Raises
    ValueError where both have seeds and none in common."""
    seeds = [list(one.by_seed) for one in (line, other)]
    if all(seeds):
        seeds = [[seed for seed in line.by_seed if seed in other.by_seed]] * 2
        if not seeds[0]:
            raise ValueError(
                f"'{line.name}' has the seeds {', '.join(map(str, line.by_seed))} and '{other.name}' the seeds "
                f"{', '.join(map(str, other.by_seed))}. Lines are compared seed by seed: train both with the same."
            )
    matrices = [_matrix(one, key, own) for one, own in zip((line, other), seeds, strict=True)]
    return _Pair(matrices[0], matrices[1], max(map(len, seeds)))


def _matrix(line: Line, key: str, seeds: Sequence[int]) -> NDArray[np.float64]:
    """Return a line's values in a column (people, seeds), of a line without seeds (people, 1)."""
    columns = [line.by_seed[seed].values[key] for seed in seeds] if seeds else [line.values[key]]
    return np.stack([_sample(values) for values in columns], axis=1)


def _estimate(matrix: NDArray[np.float64], seeds: int, seed: int = 0) -> Estimate:
    """Return the mean of values (people, seeds) and its interval: over both or, of one column, over people alone, by a
    bootstrap. seeds: what the estimate says of them. seed: of the bootstrap."""
    people, columns = matrix.shape
    mean = float(matrix.mean())
    if people < 2 or not np.isfinite(matrix).all():
        return Estimate(mean, math.nan, math.nan, people, seeds)
    if columns > 1:
        crossed = crossed_error(matrix)
        half = crossed.error * crossed.quantile(LEVEL)
        return Estimate(mean, mean - half, mean + half, people, seeds)
    rng = np.random.default_rng(seed)
    interval = bootstrap((matrix[:, 0],), np.mean, method="percentile", rng=rng, batch=1000).confidence_interval
    return Estimate(mean, float(interval.low), float(interval.high), people, seeds)


def _p_value(differences: NDArray[np.float64]) -> float:
    """Return the p-value of a two-sided t-test of differences (people, seeds): over both, or over people alone where
    there is one column. NaN below three people, with a value that is not finite, where all are the same, such as
    zero, and where `crossed_error` is NaN."""
    if len(differences) < 3 or not np.isfinite(differences).all():
        return math.nan
    if not _varies(differences):
        return math.nan
    if differences.shape[1] == 1:
        return float(ttest_1samp(differences[:, 0], 0.0).pvalue)
    crossed = crossed_error(differences)
    if math.isnan(crossed.error):
        return math.nan
    distance = abs(float(differences.mean())) / crossed.error
    if crossed.quantile(math.exp(_SMALLEST)) <= distance:
        return math.exp(_SMALLEST)
    return math.exp(bisect(lambda log_p: crossed.quantile(math.exp(log_p)) - distance, _SMALLEST, 0))


def _sample(values: Mapping[str, float]) -> NDArray[np.float64]:
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
