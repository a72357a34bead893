"""Who stands beside a person where a model shall tell whose past dialogues their replies go with."""

from collections.abc import Sequence

from idl_hf.cache import digest
from idl_hf.encoding import rounded
from idl_hf.rows.people import People, speaking_of, without
from idl_hf.schema import Dialogue, Person

AT_RANDOM, MOST_ALIKE = 4, 3


def strangers_of(person: Person, target: Dialogue, references: int, people: People, seed: int) -> list[Person]:
    """Return up to seven others for a dialogue of a person: four at random, then of the rest the three most alike.

    Each has so many dialogues to refer to, as far as there are enough such people, none of them the target as its
    partner has it; who is drawn depends on hashes of ids alone. Raises ValueError where there is nobody.
    """
    counts = people.counts_beside(target)
    if not any(counts.values()):
        raise ValueError("conditioning='strangers' needs a second person in the same split, or negatives.")
    able = [people.beside(target, other) for other in people.speaking if counts.get(other.person_id)]
    lacking = {other.person_id: max(0, references - counts[other.person_id]) for other in able}
    key = (seed, "strangers", target.dialogue_id)
    drawn = sorted(able, key=lambda other: (lacking[other.person_id], digest(*key, other.person_id)))[:AT_RANDOM]
    rest = [other for other in able if other not in drawn]
    most_lacking = sorted(lacking[other.person_id] for other in rest)[:MOST_ALIKE][-1:]
    rest = [other for other in rest if [lacking[other.person_id]] <= most_lacking]
    known = without(target, speaking_of(person))
    return [*drawn, *(nearest_people(known, rest, MOST_ALIKE, people) if known.dialogues else rest[:MOST_ALIKE])]


def nearest_people(person: Person, others: Sequence[Person], count: int, people: People) -> list[Person]:
    """Return the other people whose utterances are most alike, by the cosine of their mean vectors."""
    own = people.mean_vector(person)
    return sorted(others, key=lambda other: (-rounded(own @ people.mean_vector(other)), other.person_id))[:count]
