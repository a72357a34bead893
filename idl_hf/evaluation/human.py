"""What people prefer: win, tie and lose of one system against another, and how far raters agree (paper Figure 3)."""

import math
import warnings
from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from itertools import combinations

import numpy as np

from idl_hf.evaluation.ratings import ALL, CRITERIA, OUTCOMES, Pair, Ratings, Study, Verdicts, is_done, standing
from idl_hf.report.results import Column, Line, Report, Table
from idl_hf.shown import without_paths

_EXAMPLES = 6
_SHARES = (
    Column("win", "win", lower_is_better=None, note="The share of ratings that prefer the first system."),
    Column("tie", "tie", lower_is_better=None),
    Column("lose", "lose", lower_is_better=None),
    Column("net", "win - lose", lower_is_better=None, note="Above 0 the first system is preferred, below 0 the "
           "second; an interval that holds 0 shows no difference."),
)  # fmt: skip
_AGREEMENT = (
    Column("kappa", "Cohen's kappa", 1, None, "Agreement of two raters beyond that of chance, 1 at most and 0 for "
           "chance; of several pairs of raters the mean."),
    Column("agreement", "same rating", 100, None, "The share of the pairs of replies that two raters rate alike."),
)  # fmt: skip
Votes = dict[int, dict[str, str]]  # by number of the pair: the outcome that each rater gave


@dataclass(frozen=True)
class Agreement:
    """How far two raters agree by one criterion. kappa is NaN where both always say the same one thing."""

    raters: tuple[str, str]
    kappa: float
    share: float  # of `common` that they rate alike
    common: int  # pairs of replies that both rated


def votes(ratings: Ratings, criterion: str) -> Votes:
    """Return what raters said of each pair by one criterion; not of those that nobody was asked about."""
    given: Votes = defaultdict(dict)
    for rater, pairs in standing(ratings.ratings).items():
        for number, verdicts in pairs.items():
            if criterion in verdicts and not ratings.study.pairs[number].is_identical:
                given[number][rater] = verdicts[criterion]
    return dict(given)


def shares(study: Study, given: Votes) -> dict[str, dict[str, float]]:
    """Return the shares of win, tie and lose, and win - lose, by person.

    Of a person the mean over pairs, of a pair that over its raters. A pair of identical replies is a tie, where raters
    have come past it: else these pairs would weigh too much in a study that goes on.
    """
    by_person: dict[str, list[list[float]]] = defaultdict(list)
    for number in counted(study, given):
        said = Counter(given[number].values()) if number in given else Counter(["tie"])
        by_person[study.pairs[number].person_id].append([said[outcome] / said.total() for outcome in OUTCOMES])
    means = {person: np.mean(rows, axis=0).tolist() for person, rows in by_person.items()}
    found = {
        outcome: {person: mean[place] for person, mean in means.items()} for place, outcome in enumerate(OUTCOMES)
    }
    return {**found, "net": {person: found["win"][person] - found["lose"][person] for person in means}}


def counted(study: Study, given: Votes) -> list[int]:
    """Return the numbers of the pairs that count: those that were rated, and identical ones before the last of these,
    or all where all others were."""
    reached = len(study.pairs) if len(given) == len(study.asked) else max(given, default=-1)
    return [i for i, pair in enumerate(study.pairs) if i in given or (pair.is_identical and i < reached)]


def agreements(given: Votes) -> list[Agreement]:
    """Return the agreement of each two raters over the pairs that both rated; those without one are left out."""
    raters = sorted({rater for said in given.values() for rater in said})
    found = []
    for first, second in combinations(raters, 2):
        both = [(said[first], said[second]) for said in given.values() if first in said and second in said]
        if both:
            same = float(np.mean([one == other for one, other in both]))
            found.append(Agreement((first, second), _kappa(both), same, len(both)))
    return found


def _kappa(both: list[tuple[str, str]]) -> float:
    from sklearn.metrics import cohen_kappa_score

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a division by zero, which is told below
        ours, theirs = zip(*both, strict=True)
        return float(cohen_kappa_score(ours, theirs, labels=list(OUTCOMES)))


def human_report(ratings: Ratings, seconds: float = 0.0) -> Report:
    """Return the report of a human evaluation. Raises ValueError where nothing was rated yet."""
    study = _without_folders(ratings.study)
    given = {criterion: votes(ratings, criterion) for criterion in CRITERIA}
    if not any(given.values()):
        raise ValueError("The file of ratings holds no rating yet. Judge some pairs with `idl-hf app --ratings FILE`.")
    found = {criterion: agreements(said) for criterion, said in given.items()}
    tables = [_shares_table(study, given)] + ([_agreement_table(found)] if any(found.values()) else [])
    first, second = study.systems
    about = (
        f"People read a reply of '{first}' and one of '{second}' to the same conversation, in random order and "
        f"without names, and said which is better. A win is one of '{first}', lose one of '{second}'."
    )
    settings = {"first": first, "second": second, "seed": study.seed, **study.made_from}
    notes = [*study.notes, *_notes(ratings, given, found)]
    title = f"Human evaluation: {first} against {second}"
    return Report(title, about, tables, _examples(study, given), settings=settings, notes=notes, seconds=seconds)


def _without_folders(study: Study) -> Study:
    """Return a study that names no folder of this machine: systems by their last parts, told apart where these are
    alike."""
    first, second = without_paths(study.systems)
    if first == second:
        first, second = f"{first} (first)", f"{second} (second)"
    notes = tuple(without_paths(study.notes))
    return replace(study, systems=(first, second), made_from=without_paths(study.made_from), notes=notes)


def _shares_table(study: Study, given: Mapping[str, Votes]) -> Table:
    lines = [
        Line(criterion, "", shares(study, said), rows=dict.fromkeys((*OUTCOMES, "net"), len(counted(study, said))))
        for criterion, said in given.items()
        if said
    ]
    people = len({pair.person_id for pair in study.pairs})
    return Table(f"Preferences, {people} people", list(_SHARES), lines, shares=OUTCOMES)


def _agreement_table(found: Mapping[str, list[Agreement]]) -> Table:
    lines = []
    for criterion, pairs in found.items():
        if pairs:
            lines.append(_agreement_line(criterion, f"mean of {len(pairs)}" if len(pairs) > 1 else "", pairs))
    several = [(criterion, pairs) for criterion, pairs in found.items() if len(pairs) > 1]
    lines += [
        _agreement_line(criterion, " and ".join(pair.raters), [pair]) for criterion, pairs in several for pair in pairs
    ]
    return Table("Agreement of raters", list(_AGREEMENT), lines)


def _agreement_line(criterion: str, whose: str, pairs: list[Agreement]) -> Line:
    kappas = [pair.kappa for pair in pairs if not math.isnan(pair.kappa)]
    values = {"agreement": float(np.mean([pair.share for pair in pairs]))}
    values |= {"kappa": float(np.mean(kappas))} if kappas else {}
    rows = dict.fromkeys(values, sum(pair.common for pair in pairs))
    return Line(", ".join(filter(None, (criterion, whose))), "", {}, values, rows)


def _notes(ratings: Ratings, given: Mapping[str, Votes], found: Mapping[str, list[Agreement]]) -> list[str]:
    study, asked = ratings.study, len(ratings.study.asked)
    notes = [f"{len(study.pairs)} pairs of replies. {_raters(ratings, asked)}"]
    if identical := len(study.pairs) - asked:
        notes.append(
            f"{identical} of the {len(study.pairs)} pairs are identical replies, a tie that nobody was asked about. "
            "They count as ties once raters have come past them, and not in the agreement."
        )
    missing = [criterion for criterion in CRITERIA if not given[criterion]]
    notes += [f"Nothing was rated by: {', '.join(missing)}."] if missing else []
    notes += [_left_note(ratings)]
    if not any(found.values()):
        notes.append("No two raters rated the same pair, so nothing is known of their agreement.")
    undefined = [pair for pairs in found.values() for pair in pairs if math.isnan(pair.kappa)]
    if undefined:
        notes.append(
            f"Kappa is not defined for {len(undefined)} of the comparisons of two raters, who both gave one and the "
            "same rating throughout. Means are without them."
        )
    return notes


def _raters(ratings: Ratings, asked: int) -> str:
    counts = []
    for rater, pairs in standing(ratings.ratings).items():
        skipped = sum(ALL in verdicts for verdicts in pairs.values())
        done = sum(map(is_done, pairs.values())) - skipped
        begun = len(pairs) - done - skipped
        parts = [f"{done} of {asked}", f"{skipped} skipped" * bool(skipped), f"{begun} in part" * bool(begun)]
        counts.append(f"{rater} ({', '.join(filter(None, parts))})")
    return f"{len(counts)} raters: {', '.join(counts)}." if len(counts) > 1 else f"One rater: {counts[0]}."


def _left_note(ratings: Ratings) -> str:
    """Return a sentence on whether the place of a reply mattered, which it should not."""
    last = {(rating.rater, rating.pair, rating.criterion): rating for rating in ratings.ratings}
    holding = standing(ratings.ratings)
    decided = [
        rating
        for rating in last.values()
        if holding[rating.rater][rating.pair].get(rating.criterion) in ("win", "lose")
    ]
    left = sum((rating.outcome == "win") == (rating.left == 0) for rating in decided)
    if not decided:
        return "No rating prefers either reply."
    return f"Of {len(decided)} ratings that prefer one reply, {left} prefer the one on the left; half is expected."


def _examples(study: Study, given: Mapping[str, Votes]) -> list[dict[str, str]]:
    """Return some pairs that were rated, with what was said of them."""
    rated = sorted({number for said in given.values() for number in said})
    places = np.linspace(0, len(rated) - 1, min(_EXAMPLES, len(rated))).round().astype(int).tolist()
    return [
        _example(study, study.pairs[number], _said(given, number)) for number in (rated[place] for place in places)
    ]


def _example(study: Study, pair: Pair, said: str) -> dict[str, str]:
    partner = {"partner": pair.context[-1].text} if pair.context else {}
    return {**partner, **dict(zip(study.systems, pair.replies, strict=True)), "ratings": said}


def _said(given: Mapping[str, Votes], number: int) -> str:
    parts = []
    for criterion, said in given.items():
        counts = Counter(said.get(number, {}).values())
        named = [f"{counts[outcome]} {outcome}" for outcome in OUTCOMES if counts[outcome]]
        parts += [f"{criterion}: {', '.join(named)}"] if named else []
    return "\n".join(parts)


def exported(ratings: Ratings) -> dict[str, object]:
    """Return all of a study as one JSON object: each pair with what holds of every rater's ratings."""
    study, holding = _without_folders(ratings.study), standing(ratings.ratings)
    pairs: list[dict[str, object]] = []
    for number, pair in enumerate(study.pairs):
        said: dict[str, Verdicts] = {rater: own[number] for rater, own in holding.items() if number in own}
        pairs.append({**asdict(pair), "identical": pair.is_identical, "ratings": said})
    about = {"systems": study.systems, "outcomes": f"of '{study.systems[0]}'", "seed": study.seed}
    return {**about, "made_from": dict(study.made_from), "notes": study.notes, "pairs": pairs}
