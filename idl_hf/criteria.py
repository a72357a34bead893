"""Criterion replies (paper 3.3.2): between the chosen and the rejected, each wrong about the person in one known way.
A builder raises RefusedError where it cannot make a reply that is what it claims; idl_hf.rows then tries another type.
`known` is what the person says in all dialogues, made ready once for all of their replies."""

import re
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from idl_hf.encoding import rounded
from idl_hf.persona import grammar
from idl_hf.persona.claims import Fact, contradicting, fact_of, of_partner
from idl_hf.schema import Triple, comparable
from idl_hf.schema import plain as plain_signs

CRITERION_TYPES = ("inconsistency", "fabrication", "inversion")
TOP_M = 20  # the paper's m, unpublished

Statement = tuple[str, Sequence[Triple]]  # what was said and what it states
Draw = Callable[[Sequence[str]], str]  # one of several texts, whatever their order

_FIRST_PERSON = re.compile(r"\b(?:i|my|me|mine|myself|we|our|us)\b", re.IGNORECASE)


class RefusedError(Exception):
    """No reply of this type can be made; the message says why in a few words that can be counted."""


@dataclass(frozen=True)
class Known:
    """What a person says, each utterance with the triples it states."""

    statements: Sequence[Statement]

    @cached_property
    def facts(self) -> list[Fact]:
        """What they state."""
        return [fact_of(triple, utterance) for utterance, triples in self.statements for triple in triples]

    @cached_property
    def utterances(self) -> frozenset[str]:
        """What they say, as `plain` returns it."""
        return frozenset(plain(utterance) for utterance, _ in self.statements)

    @cached_property
    def words(self) -> set[str]:
        """What they show of themselves: the words of the objects, and of whole sentences in the first person, for no
        extractor finds every fact."""
        objects = (grammar.content(triple.object) for _, triples in self.statements for triple in triples)
        return set().union(*objects, *(_of_oneself(utterance) for utterance, _ in self.statements))


def inconsistency(
    chosen: str, stated: Sequence[Triple], known: Known, partner: Sequence[Statement], draw: Draw
) -> str:
    """Return the chosen reply with the object of one of its triples swapped, so that it denies what the person states.
    The new object is another one from the person's dialogues, and what the reply then states is not stated itself. One
    of the same relation is preferred; of what is counted the number alone is swapped. stated: the triples of the
    chosen reply. partner: what the partners said in the references and the context."""
    if not stated:
        raise RefusedError("the reply states nothing")
    foreign = [
        of_partner(fact_of(triple, utterance))
        for utterance, triples in partner
        for triple in triples
        if _is_foreign(triple, known.words)
    ]
    facts = [*known.facts, *foreign]
    slots = [fact_of(triple, chosen) for triple in stated]
    pairs = [(slot, fact) for slot in slots for fact in contradicting(slot, facts, chosen)]
    if not pairs:
        raise RefusedError("nothing that was said contradicts it")
    fitting: dict[bool, list[str]] = {}
    for slot, fact in pairs:
        reply = grammar.swap(chosen, slot.object, fact.object) if grammar.fits(slot.form, fact.form) else None
        if reply is not None:
            fitting.setdefault(slot.relation != fact.relation, []).append(reply)
    if not fitting:
        raise RefusedError("nothing that contradicts it fits its grammar")
    return draw(fitting[min(fitting)])


def fabrication(statements: Iterable[Statement], known: Known, taken: Collection[str], draw: Draw) -> str:
    """Return another person's statement, near the chosen reply in meaning, that shares nothing with the person's.
    It is a random one of the TOP_M most similar. statements: those of the dataset, the most similar to the chosen
    reply first. taken: replies that must not be repeated."""
    passed = known.utterances.union(map(plain, taken))
    near = islice((statement for statement in statements if plain(statement[0]) not in passed), TOP_M)
    qualified = [
        text
        for text, stated in near
        if any(grammar.form(triple, text) for triple in stated)
        and all(_is_foreign(triple, known.words) for triple in stated)
    ]
    if not qualified:
        raise RefusedError("the most similar statements all share something with the person")
    return draw(qualified)


def inversion(
    chosen_vector: NDArray,
    partner: Sequence[Statement],
    vectors: NDArray,
    known: Known,
    taken: Collection[str],
) -> str:
    """Return a partner's utterance, as if the person were the partner: the one most similar to the chosen reply.
    It states something of the partner which the person does not share. partner: what the partners said in the
    references and the context, with its unit vectors (n, d). taken: replies that must not be repeated."""
    passed = {plain(text) for text in taken}
    similarity = vectors @ chosen_vector if len(partner) else np.zeros(0)
    for i in np.argsort(-rounded(similarity), kind="stable"):
        text, stated = partner[i]
        foreign = any(grammar.form(triple, text) and _is_foreign(triple, known.words) for triple in stated)
        if foreign and plain(text) not in passed:
            return text
    raise RefusedError("the partners state nothing that the person does not share")


def plain(text: str) -> str:
    """Return a text without case and punctuation, to tell whether two are the same reply."""
    return " ".join(re.findall(r"\w+", comparable(text)))


@lru_cache(maxsize=1 << 14)
def _of_oneself(utterance: str) -> frozenset[str]:
    sentences = re.findall(r"[^.!?]+[.!?]?", plain_signs(utterance))
    own = (sentence for sentence in sentences if _FIRST_PERSON.search(sentence) and not sentence.endswith("?"))
    return frozenset(grammar.content(" ".join(own)))


def _is_foreign(triple: Triple, shown: set[str]) -> bool:
    """Return whether nothing of the object is among what the person shows."""
    words = grammar.content(triple.object)
    return bool(words) and not grammar.share(words, shown)
