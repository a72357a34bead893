"""Which of a dialogue's strangers a step compares with."""

import numpy as np

from idl_hf.rows.strangers import AT_RANDOM, MOST_ALIKE


def drawn_strangers(count: int, random: int, nearest: int, seed: int, step: int | None) -> list[int]:
    """Return the places of so many of a dialogue's `count` strangers, of whom four at random come first, then the most
    alike: as many of either kind as there are, others at each step. step: None takes the first of each.

    Raises ValueError where that is nobody.
    """
    orders = [np.arange(AT_RANDOM), np.arange(MOST_ALIKE)]
    if step is not None:
        rng = np.random.default_rng([seed, step])
        orders = [rng.permutation(order) for order in orders]
    places = [orders[0], AT_RANDOM + orders[1]]
    drawn = [
        int(place)
        for order, wanted in zip(places, (random, nearest), strict=True)
        for place in order[order < count][:wanted]
    ]
    if not drawn:
        raise ValueError(
            f"A dialogue has {count} strangers, the first {AT_RANDOM} of whom count as drawn at random, so that with "
            f"random_strangers={random} and nearest_strangers={nearest} it has nobody to be compared with. Pass "
            "random_strangers."
        )
    return drawn
