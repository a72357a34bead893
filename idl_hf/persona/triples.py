"""Persona triples as text (paper A.2), where they occur in utterances, and how right they are.
A triple is `<object, relation, subject>`, one a line. The released code writes them without brackets and commas, which
tears subjects of two words apart."""

import re
from collections.abc import Iterable, Sequence, Set
from typing import NamedTuple

from idl_hf.schema import Triple, plain

# Strict: a broken triple cannot swallow the next one on its line, as the paper's lazy `<.*?,.*?,.*?>` lets it. One
# star only: where a model repeats commas to no end, three would try every way to share them out
_TRIPLE = re.compile(r"<([^<>\n]*)>")
_SEPARATOR = "\n\nTriples:\n"
_Samples = Sequence[Sequence[Triple]]


def format_triples(triples: Iterable[Triple]) -> str:
    """Return triples as text, one a line."""
    return "\n".join(map(_format, triples))


def parse_triples(text: str) -> list[Triple]:
    """Return the well-formed triples of a text, those with an empty element left out; only objects may hold commas."""
    split = ([part.strip() for part in body.rsplit(",", 2)] for body in _TRIPLE.findall(text))
    parts = (elements for elements in split if len(elements) == 3)
    return [Triple(subject, relation, obj) for obj, relation, subject in parts if obj and relation and subject]


def format_prompt(sentences: Sequence[str]) -> str:
    """Return what the extractor reads: the sentences, one a line, and a separator.
    The paper has no instruction, and does not say what separates input and output."""
    return "\n".join(map(_on_one_line, sentences)) + _SEPARATOR


def format_sample(triples: _Samples) -> str:
    """Return what the extractor writes: line i holds the triples of sentence i, or `<>` where it states nothing.
    The paper stacks sentences with one triple each and writes one triple a line; so does this. Utterances of a
    dialogue may state nothing, or more than one thing, and then the line still tells whose triples these are."""
    return "\n".join(_on_one_line(" ".join(map(_format, own))) or "<>" for own in triples)


def parse_sample(text: str, count: int) -> list[list[Triple]]:
    """Return the triples of each of `count` sentences, by line; missing lines are empty, surplus ones are ignored."""
    lines = text.split("\n", count)[:count]
    return [parse_triples(line) for line in lines] + [[] for _ in range(count - len(lines))]


def _format(triple: Triple) -> str:
    return f"<{triple.object}, {triple.relation}, {triple.subject}>"


def _on_one_line(text: str) -> str:
    # Not splitlines(), which also ends a line at U+2028, a form feed and others
    return re.sub(r"[\r\n]+", " ", text)


def mentions(utterance: str, triple: Triple) -> bool:
    """Return whether an utterance contains the triple's object as whole words, or else all of its words.
    5 % of PersonaExt's objects are not contiguous."""
    words = plain(triple.object).casefold().split()
    text = plain(utterance).casefold()
    if re.search(rf"(?<!\w){re.escape(' '.join(words))}(?!\w)", text):
        return True
    return len(words) > 1 and set(words) <= set(re.findall(r"[\w']+", text))


def persona_utterances(utterances: Sequence[str], triples: Sequence[Triple]) -> list[int]:
    """Return the indices of the utterances that contain the object of at least one triple (paper Eq. 2)."""
    return [i for i, utterance in enumerate(utterances) if any(mentions(utterance, triple) for triple in triples)]


# How right an extractor is. Each function takes the triples of each sample, as predicted and as they should be, in
# order; elements count as equal only if every character is. Where nothing is to be found and nothing was, that is 1.


class Overlap(NamedTuple):
    """How far what was predicted is what was expected."""

    precision: float
    recall: float
    f1: float


def sample_accuracy(predictions: _Samples, references: _Samples) -> float:
    """Return the share of samples in which no element of any triple differs and the order is kept (paper A.2)."""
    pairs = _pairs(predictions, references)
    return sum(list(predicted) == list(expected) for predicted, expected in pairs) / len(pairs)


def triple_accuracy(predictions: _Samples, references: _Samples) -> float:
    """Return the share of the expected triples that were predicted at their very place in the sample.
    Surplus ones behind them go unseen. The paper's 87 % may be this: if it is of samples, with 8.75 triples each, 98.4
    % of triples were right."""
    pairs = _pairs(predictions, references)
    right = sum(a == b for predicted, expected in pairs for a, b in zip(predicted, expected, strict=False))
    return _share(right, sum(len(expected) for _, expected in pairs), sum(len(predicted) for predicted, _ in pairs))


def precision_recall_f1(predictions: _Samples, references: _Samples) -> Overlap:
    """Return precision, recall and F1 of all samples together: a sample's distinct triples count, in any order."""
    return _overlap([(set(predicted), set(expected)) for predicted, expected in _pairs(predictions, references)])


def object_f1(predictions: _Samples, references: _Samples) -> float:
    """Return the F1 of the objects alone: all that `persona_utterances` looks at."""
    objects = [
        ({triple.object for triple in predicted}, {triple.object for triple in expected})
        for predicted, expected in _pairs(predictions, references)
    ]
    return _overlap(objects).f1


def _pairs(predictions: _Samples, references: _Samples) -> list[tuple[Sequence[Triple], Sequence[Triple]]]:
    if len(predictions) != len(references) or not references:
        raise ValueError(
            "Expected the triples of at least one sample, as predicted and as they should be, found "
            f"{len(predictions)} predictions and {len(references)} references."
        )
    return list(zip(predictions, references, strict=True))


def _overlap(pairs: Sequence[tuple[Set[object], Set[object]]]) -> Overlap:
    shared = sum(len(predicted & expected) for predicted, expected in pairs)
    found, wanted = (sum(map(len, side)) for side in zip(*pairs, strict=True))
    return Overlap(_share(shared, found, wanted), _share(shared, wanted, found), _share(2 * shared, found + wanted))


def _share(part: int, whole: int, other: int = 0) -> float:
    """Return part / whole; of nothing it is 1, unless the other side has something."""
    return part / whole if whole else float(other == 0)
