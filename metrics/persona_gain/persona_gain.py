"""Persona gain: how much better a model foresees a person's replies given that person's own dialogues."""

import math
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sized
from numbers import Real

import evaluate
import numpy as np
from datasets import Features, Value
from scipy.stats import bootstrap

REAL, WHOLE = "float64", "int64"
COLUMNS = {"own_nll": REAL, "own_tokens": WHOLE, "other_nll": REAL, "other_tokens": WHOLE, "person_id": "string"}
CELLS_AT_ONCE = 10_000_000  # of resampled people: 80 MB

_CITATION = """\
@article{cheng2024indialogues,
  title = {"In Dialogues We Learn": Towards Personalized Dialogue Without Pre-defined Profiles through In-Dialogue
    Learning},
  author = {Cheng, Chuanqi and Tu, Quan and Shang, Shuo and Mao, Cunli and Yu, Zhengtao and Wu, Wei and Yan, Rui},
  journal = {arXiv preprint arXiv:2403.03102}, year = {2024}}
@book{efron1993introduction, title = {An Introduction to the Bootstrap},
  author = {Efron, Bradley and Tibshirani, Robert J.}, publisher = {Chapman and Hall}, year = {1993}}
"""

_DESCRIPTION = """\
Persona gain is the negative log-likelihood per token of people's replies given another person's dialogues, minus that
given their own. It is zero for a model that ignores the person, whatever else it learnt, and needs no generated text.
"""

_KWARGS_DESCRIPTION = """
Args:
    own_nll (`list[float]`): for each scored dialogue, the summed negative log-likelihood in nats of the person's
        replies, given the person's own reference dialogues.
    own_tokens (`list[int]`): how many tokens that sum is over.
    other_nll (`list[float]`): the sum for the same replies, given another person's reference dialogues.
    other_tokens (`list[int]`): how many tokens that sum is over: as many as in `own_tokens`.
    person_id (`list[str]`): whose replies they are. A person may have any number of dialogues.
    seed (`int`, defaults to 0): of the bootstrap.
Returns:
    persona_gain (`float`): mean over people of other_nll - own_nll, each a person's summed NLL / summed tokens.
    low (`float`), high (`float`): its 95 % percentile bootstrap interval over people, 9,999 resamples. NaN below two
        people.
    own_nll (`float`), other_nll (`float`): means over people, in nats per token.
    n_people (`int`): how many people.
Raises:
    ValueError: for no dialogues, a sum that is not a number from 0 on, different or no tokens, or inputs of the wrong
        shape.
Examples:
    >>> import idl_hf
    >>> import evaluate
    >>> persona_gain = evaluate.load("persona_gain")
    >>> results = persona_gain.compute(
    ...     own_nll=[30.0, 12.0, 66.0, 28.0],
    ...     own_tokens=[10, 5, 20, 10],
    ...     other_nll=[33.0, 12.0, 68.0, 31.0],
    ...     other_tokens=[10, 5, 20, 10],
    ...     person_id=["ruth", "ruth", "kit", "ann"],
    ... )
    >>> print({name: round(value, 4) for name, value in results.items()})
    {'persona_gain': 0.2, 'low': 0.1, 'high': 0.3, 'own_nll': 2.9667, 'other_nll': 3.1667, 'n_people': 3}
"""


def mean_interval(values: np.ndarray, seed: int) -> dict[str, float]:
    """Return `low` and `high` of the mean's 95 % percentile bootstrap interval, NaN below two values."""
    if len(values) < 2:
        return {"low": math.nan, "high": math.nan}
    batch, rng = max(1, CELLS_AT_ONCE // len(values)), np.random.default_rng(seed)
    interval = bootstrap((values,), np.mean, method="percentile", batch=batch, rng=rng).confidence_interval
    return {"low": float(interval.low), "high": float(interval.high)}


def per_token(nll: Iterable[float], tokens: Iterable[int], people: Iterable[str]) -> dict[str, float]:
    """Return the nats per token of all replies of each person, by sorted person."""
    sums, counts = defaultdict(list), defaultdict(int)
    for row_nll, row_tokens, person in zip(nll, tokens, people, strict=True):
        sums[person].append(row_nll)
        counts[person] += row_tokens
    return {person: math.fsum(sums[person]) / counts[person] for person in sorted(sums)}


def check_row(row: int, values: Mapping[str, object]) -> None:
    """Raise ValueError for a row that holds no sum, no tokens or nobody, or compares different replies."""
    expected = f"persona_gain expected row {row} of"
    for name in ("own_nll", "other_nll"):
        nll = values[name]
        if isinstance(nll, bool) or not isinstance(nll, Real) or not 0 <= nll < math.inf:
            raise ValueError(
                f"{expected} `{name}` to be a sum of negative log-likelihoods, a number from 0 on, but found {nll!r}."
            )
    for name in ("own_tokens", "other_tokens"):
        tokens = values[name]
        if isinstance(tokens, bool) or not isinstance(tokens, Real) or tokens % 1 or tokens < 1:
            raise ValueError(f"{expected} `{name}` to be a whole number from 1 on, but found {tokens!r}.")
    if values["own_tokens"] != values["other_tokens"]:
        raise ValueError(
            f"persona_gain compares the same replies under two conditions, but found {values['own_tokens']} tokens "
            f"with own and {values['other_tokens']} tokens with other references in row {row}."
        )
    if not isinstance(values["person_id"], str):
        kind = type(values["person_id"]).__name__
        raise ValueError(f"{expected} `person_id` to be a string, but found {kind}.")


def check_rows(columns: Mapping[str, Collection]) -> None:
    """Raise ValueError for anything but five columns of the same length with comparable rows."""
    for name, column in columns.items():
        if isinstance(column, str) or not isinstance(column, Sized):
            kind = type(column).__name__
            raise ValueError(
                f"persona_gain expected `{name}` to be a list with one entry per dialogue, but found {kind}."
            )
    if len(set(map(len, columns.values()))) > 1:
        lengths = ", ".join(f"{len(column)} of `{name}`" for name, column in columns.items())
        raise ValueError(f"persona_gain expected one entry per dialogue in each list, but found {lengths}.")
    for row, values in enumerate(zip(*columns.values(), strict=True)):
        check_row(row, dict(zip(columns, values, strict=True)))


@evaluate.utils.file_utils.add_start_docstrings(_DESCRIPTION, _KWARGS_DESCRIPTION)
class PersonaGain(evaluate.Metric):
    """NLL with another person's references minus NLL with own ones, over people."""

    def _info(self) -> evaluate.MetricInfo:
        features = Features({name: Value(dtype) for name, dtype in COLUMNS.items()})
        urls = ["https://arxiv.org/abs/2403.03102"]
        return evaluate.MetricInfo(_DESCRIPTION, _CITATION, features, _KWARGS_DESCRIPTION, reference_urls=urls)

    def add(self, **row):
        """Add one dialogue: own_nll, own_tokens, other_nll, other_tokens, person_id."""
        check_rows({name: [row.get(name)] for name in COLUMNS})
        evaluate.Metric.add(self, **row)

    def add_batch(self, **columns):
        """Add dialogues: own_nll, own_tokens, other_nll, other_tokens, person_id, each a list."""
        check_rows({name: columns.get(name) for name in COLUMNS})
        evaluate.Metric.add_batch(self, **columns)

    def _compute(
        self,
        own_nll: list[float],
        own_tokens: list[int],
        other_nll: list[float],
        other_tokens: list[int],
        person_id: list[str],
        seed: int = 0,
    ) -> dict[str, float]:
        if len(person_id) == 0:
            raise ValueError("persona_gain expected at least one dialogue, but found none.")
        own, other = per_token(own_nll, own_tokens, person_id), per_token(other_nll, other_tokens, person_id)
        gains = np.array([other[person] - own[person] for person in own])
        return {
            "persona_gain": float(gains.mean()),
            **mean_interval(gains, seed),
            "own_nll": math.fsum(own.values()) / len(own),
            "other_nll": math.fsum(other.values()) / len(other),
            "n_people": len(own),
        }
