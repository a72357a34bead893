"""Persona triples as text (paper A.2): `<object, relation, subject>`, one a line, and where they occur in utterances."""

import re
from collections.abc import Iterable, Sequence

from idl_hf.schema import Triple

# Strict: a broken triple cannot swallow the next one on its line, as the paper's lazy `<.*?,.*?,.*?>` lets it
_TRIPLE = re.compile(r"<([^<>\n]*,[^<>\n]*,[^<>\n]*)>")


def format_triples(triples: Iterable[Triple]) -> str:
    return "\n".join(f"<{triple.object}, {triple.relation}, {triple.subject}>" for triple in triples)


def parse_triples(text: str) -> list[Triple]:
    """The well-formed triples of a text. Only the object may hold commas; triples with an empty element are left out."""
    parts = ([part.strip() for part in match.rsplit(",", 2)] for match in _TRIPLE.findall(text))
    return [Triple(subject, relation, obj) for obj, relation, subject in parts if obj and relation and subject]


def mentions(utterance: str, triple: Triple) -> bool:
    """Whether an utterance contains the triple's object as whole words, or else all of its words (5 % of PersonaExt's
    objects are not contiguous)."""
    words = triple.object.casefold().split()
    text = utterance.casefold()
    if re.search(rf"(?<!\w){re.escape(' '.join(words))}(?!\w)", text):
        return True
    return len(words) > 1 and set(words) <= set(re.findall(r"[\w']+", text))


def persona_utterances(utterances: Sequence[str], triples: Sequence[Triple]) -> list[int]:
    """Indices of the utterances that contain the object of at least one triple (paper Eq. 2)."""
    return [i for i, utterance in enumerate(utterances) if any(mentions(utterance, triple) for triple in triples)]
