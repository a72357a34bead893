"""The first two refiners of MSP: which people talk alike, and what was answered to posts near this one."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from idl_hf.baselines.inputs import Exchange, Known

Encode = Callable[[Sequence[str]], NDArray]  # texts to unit vectors, (n, d)


class Refiner:
    """Chooses past answers among those of a person and of people who talk alike.

    A person is the mean vector of their answers. Of the `similar` people with the largest dot product, and of the
    person, the answers to the posts nearest the last turn are taken.
    """

    def __init__(
        self, people: Mapping[str, Sequence[Exchange]], encode: Encode, lines: int, similar: int = 10
    ) -> None:
        """people: the exchanges of those who may be taken, by person_id. lines: how many answers there are room for;
        of others come at most half of them."""
        self._people, self._encode, self._lines, self._similar = dict(people), encode, lines, similar
        self._names = [name for name, exchanges in self._people.items() if exchanges]
        self._vectors = np.array([self._person(self._people[name]) for name in self._names])

    def refine(self, known: Known, person_id: str | None = None) -> Known:
        """Return what is known with other past: answers of others first, then the person's own, both from far to near.

        person_id: who is not one of the others.
        """
        own, post = known.past, known.turns[-1]
        others = [exchange for name in self._alike(own, person_id) for exchange in self._people[name]]
        chosen = self._nearest(others, post, self._lines // 2)
        return Known(known.profile, [*chosen, *self._nearest(own, post, self._lines - len(chosen))], known.turns)

    def _person(self, exchanges: Sequence[Exchange]) -> NDArray:
        return self._encode([exchange.reply for exchange in exchanges]).mean(0)

    def _alike(self, own: Sequence[Exchange], person_id: str | None) -> list[str]:
        if not own or not self._names:
            return []
        order = np.argsort(-(self._vectors @ self._person(own)), kind="stable")
        return [name for place in order if (name := self._names[place]) != person_id][: self._similar]

    def _nearest(self, exchanges: Sequence[Exchange], post: str, count: int) -> list[Exchange]:
        """Return so many exchanges, the nearest last."""
        if not exchanges or count < 1:
            return []
        near = self._encode([exchange.post for exchange in exchanges]) @ self._encode([post])[0]
        return [exchanges[place] for place in np.argsort(near, kind="stable")[-count:]]
