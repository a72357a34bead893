"""What people are asked and say in a human evaluation: pairs of replies, and ratings of them (paper 4.4.2)."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from idl_hf.cache import digest
from idl_hf.schema import Turn, comparable

CRITERIA = ("persona", "style", "fluency")  # paper 4.4.2
OUTCOMES = ("win", "tie", "lose")  # of the first system against the second
ALL, SKIPPED = "all", "skipped"  # the criterion and outcome of a rater who passes over a pair
_LONGEST_NAME = 60


@dataclass(frozen=True)
class Pair:
    """Two replies to judge: what the person is known by, the conversation so far, and each system's reply to it."""

    person_id: str
    dialogue_id: str
    turn: int  # of the dialogue, which the replies are instead of
    past: tuple[tuple[Turn, ...], ...]  # dialogues
    context: tuple[Turn, ...]
    replies: tuple[str, str]

    @property
    def is_identical(self) -> bool:
        """Whether both systems reply the same, which is a tie that nobody is asked about."""
        return self.replies[0] == self.replies[1]


@dataclass(frozen=True)
class Study:
    """What is judged. seed: of which system stands on the left, by rater and pair."""

    systems: tuple[str, str]
    pairs: tuple[Pair, ...]
    seed: int
    made_from: Mapping[str, object] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def asked(self) -> list[int]:
        """Return the numbers of the pairs that raters are asked about, in their order."""
        return [number for number, pair in enumerate(self.pairs) if not pair.is_identical]

    def left(self, rater: str) -> dict[int, int]:
        """Return which system, 0 or 1, a rater sees on the left, by number of the pair: each in half of the pairs.

        Drawn by seed, rater and pair, so that it is the same after a restart, and of one rater tells nothing of
        another.
        """
        drawn = sorted(self.asked, key=lambda number: digest("left", self.seed, rater, number))
        half = (len(drawn) + digest("odd", self.seed, rater)[0] % 2) // 2
        return {number: int(place < half) for place, number in enumerate(drawn)}


@dataclass(frozen=True)
class Rating:
    """What a rater said of a pair by one criterion, the outcome being the first system's; or ALL and SKIPPED."""

    rater: str
    pair: int
    criterion: str
    outcome: str
    left: int  # the system on the left, 0 or 1


Verdicts = dict[str, str]  # of one rater on one pair: outcome by criterion, or {ALL: SKIPPED}


class Ratings(NamedTuple):
    """What a file of ratings holds."""

    study: Study
    ratings: list[Rating]


def rater_name(typed: str) -> str:
    """Return the name that a rater goes by, the same however it is spaced and capitalised. Raises ValueError for none
    and for one that is too long."""
    name = comparable(typed.encode("utf-8", "replace").decode())  # without halves of a character
    if not name or len(name) > _LONGEST_NAME:
        raise ValueError(f"Type a name of 1 to {_LONGEST_NAME} characters, and the same one when you come back.")
    return name


def standing(ratings: Iterable[Rating]) -> dict[str, dict[int, Verdicts]]:
    """Return what holds of all ratings, by rater and pair: of one criterion the last one. One that passes over a pair
    takes back what was said of it before, and the other way round."""
    holding: dict[str, dict[int, Verdicts]] = {}
    for rating in ratings:
        hold(holding, rating)
    return holding


def hold(holding: dict[str, dict[int, Verdicts]], rating: Rating) -> None:
    """Add a rating to what holds."""
    verdicts = holding.setdefault(rating.rater, {}).setdefault(rating.pair, {})
    if SKIPPED in (rating.outcome, verdicts.get(ALL)):
        verdicts.clear()
    verdicts[rating.criterion] = rating.outcome


def is_done(verdicts: Verdicts) -> bool:
    """Return whether a rater needs to say no more of a pair."""
    return ALL in verdicts or len(verdicts) == len(CRITERIA)
