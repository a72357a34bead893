"""Small studies of two systems, written by hand, for the tests of ratings."""

from idl_hf.evaluation.ratings import Pair, Study
from idl_hf.schema import Turn

SYSTEMS = ("runs/secret-adapter", "baseline-words.jsonl")


def pair(number: int, person: str, replies: tuple[str, str] | None = None) -> Pair:
    past = ((Turn("partner", f"past question {number}"), Turn("self", f"past answer {number}")),)
    own = replies or (f"first says {number}", f"second says {number}")
    return Pair(person, f"{person}-{number}", 2 * number + 1, past, (Turn("partner", f"question {number} ?"),), own)


def study(count: int = 8, people: int = 4, identical: tuple[int, ...] = (), seed: int = 5) -> Study:
    """Return a study whose i-th pair is of person i % people; identical: numbers of pairs of the same replies."""
    same = dict.fromkeys(identical, ("we say the same", "we say the same"))
    pairs = tuple(pair(i, f"p{i % people}", same.get(i)) for i in range(count))
    return Study(SYSTEMS, pairs, seed, {"dataset_name": "idl_hf/dialogues_idl", "split": "validation"}, ("A note.",))
