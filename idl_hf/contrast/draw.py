"""Which of a dialogue's strangers a step compares with."""

import numpy as np

from idl_hf.rows.strangers import AT_RANDOM, MOST_ALIKE


def drawn_strangers(count: int, random: int, nearest: int, seed: int, step: int | None) -> list[int]:
    """Return the places of so many of a dialogue's `count` strangers, of whom four at random come first, then the most
    alike: as many of either kind as there are, others at each step. step: None takes the first of each."""
    orders = [np.arange(AT_RANDOM), np.arange(MOST_ALIKE)]
    if step is not None:
        rng = np.random.default_rng([seed, step])
        orders = [rng.permutation(order) for order in orders]
    places = [orders[0], AT_RANDOM + orders[1]]
    return [
        int(place)
        for order, wanted in zip(places, (random, nearest), strict=True)
        for place in order[order < count][:wanted]
    ]
