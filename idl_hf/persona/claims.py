"""What statements of a person claim, and which of them deny one another. Relations of one claim stand in the same
sentence ("i am a ..."), so that what a person states by one of them is true in the sentence of another. What is not
known to deny another statement is taken not to: one may like, own and do many things."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

from idl_hf.persona import grammar
from idl_hf.schema import Triple

# The claim, by how the relation begins
_CLAIMS = {
    "dislike": "dislikes", "do_not": "dislikes", "have_no": "has no", "want_no": "has no", "have": "has",
    "like_goto": "going", "international_exp": "going", "live_in": "living", "place_origin": "living",
    "like": "likes", "favorite": "favorite", "employed_by": "working", "want_job": "wish",
    "has_profession": "being", "school_status": "being", "belief": "being", "diet": "being", "gender": "being",
}  # fmt: skip
# Of these a person has one at a time, so that another object denies it; objects of these claims make sense there
_SINGLE = {
    "being": ("wish", "used_to", "has_degree"),
    "wish": ("being", "used_to", "has_degree"),
    "living": ("going", "working", "pre_employed_by_company"),
    "working": ("going", "living", "pre_employed_by_company"),
    "favorite": ("likes", "dislikes"),
}
_OPPOSITES = {
    "likes": ("dislikes",), "dislikes": ("likes", "habit", "has"), "has": ("has no",), "has no": ("has",),
}  # fmt: skip
# Two values of these deny one another even where the person gives both; of all others both are taken for true
_EXCLUSIVE = ("age", "marital_status", "name")
_BEING = re.compile(
    r"(?:\b|['’])(?:am|m|is|re|are|was|be|being|been|as|become|became|becoming)(?: (?!also)\w+)? (?:an? |the )?$",
    re.IGNORECASE,
)
_LIKING = re.compile(r"\b(?:lov|lik|enjoy|ador|prefer|fan of|into)\w*(?: the| to)? $", re.IGNORECASE)


@dataclass(frozen=True)
class Fact:
    """A triple as it was said, with what matters when objects are swapped."""

    subject: str
    relation: str
    object: str
    form: grammar.Form | None
    claim: str
    words: frozenset[str]  # of the object


@lru_cache(maxsize=1 << 14)
def fact_of(triple: Triple, utterance: str) -> Fact:
    """Return what a triple of an utterance claims, and how."""
    form = grammar.form(triple, utterance)
    shape = form.shape if form else ""
    relation = "age" if shape == "age" else triple.relation
    claim = next((claim for start, claim in _CLAIMS.items() if relation.startswith(start)), relation)
    lead = {"likes": _LIKING, "being": _BEING}.get(claim)
    if lead and (not lead.search(grammar.before(triple.object, utterance)) or shape == "verb"):
        claim = "habit"  # "i watch tv", "i teach piano"
    words = frozenset(grammar.content(triple.object) or {triple.object.casefold()})
    return Fact(triple.subject.casefold(), relation, triple.object, form, claim, words)


def of_partner(fact: Fact) -> Fact:
    """Return the fact as one of somebody else, whoever it is about."""
    return replace(fact, subject=f"{fact.subject} (partner)")


def contradicting(slot: Fact, facts: Sequence[Fact], chosen: str) -> Iterator[Fact]:
    """Yield the facts whose object makes the slot's statement deny what the person states, not being stated itself."""
    own = {word for fact in facts if (fact.claim, fact.subject) == (slot.claim, slot.subject) for word in fact.words}
    in_reply = grammar.content(chosen) | slot.words
    not_either = in_reply | own
    for fact in facts:
        exclusive = slot.relation == fact.relation in _EXCLUSIVE
        denies = exclusive or _denies(slot, fact)
        if denies and not grammar.share(fact.words, in_reply if exclusive else not_either):
            yield fact
    yield from _recounted(slot, facts)


def _denies(slot: Fact, fact: Fact) -> bool:
    if fact.claim in _OPPOSITES.get(slot.claim, ()):
        return fact.subject == slot.subject
    if slot.claim not in _SINGLE or slot.form is None or slot.form.article == "my":
        return False  # "i work with my husband" names no workplace
    if slot.claim == "favorite":
        return fact.claim in ("favorite", *_SINGLE["favorite"]) and _same_sort(slot, fact)
    if fact.claim == slot.claim:  # of somebody else
        return slot.claim in ("living", "working") or slot.relation == fact.relation
    return fact.subject == slot.subject and fact.claim in _SINGLE[slot.claim]


def _same_sort(slot: Fact, fact: Fact) -> bool:
    """Return whether both are, say, a color, as far as their relations ("like_color") and words tell."""
    sort, other_sort = (fact.relation.rpartition("_")[2] for fact in (slot, fact))
    kinds = grammar.kinds(slot.object)
    return sort == other_sort or bool(kinds & grammar.kinds(fact.object)) or (sort == "favorite" and not kinds)


def _recounted(slot: Fact, facts: Sequence[Fact]) -> Iterator[Fact]:
    """Yield the slot's fact with each number that is given of other things alone.
    "two dogs", where there are "three kids", as "three dogs"."""
    counted = grammar.counted(slot.object)
    if counted is not None and slot.claim == "has":
        counts = [(fact, count) for fact in facts if (count := grammar.counted(fact.object))]
        own_numbers = {counted.number, *(count.number for fact, count in counts if fact.words & slot.words)}
        other_words = dict.fromkeys(count.word for _, count in counts if count.number not in own_numbers)
        yield from (replace(slot, object=f"{word} {counted.things}") for word in other_words)
