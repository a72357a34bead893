"""Criterion replies (paper 3.3.2): between the chosen and the rejected, each wrong about the person in one known way.

A builder returns None where it cannot make a reply that is what it claims; rows.py then tries another type.
"""

import re
from collections.abc import Collection, Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from idl_hf.schema import Triple

CRITERION_TYPES = ("inconsistency", "fabrication", "inversion")
TOP_M = 10  # the paper's m, unpublished


def inconsistency(
    chosen: str, stated: Sequence[Triple], known: Sequence[Triple], rng: np.random.Generator
) -> str | None:
    """The chosen reply with the object of one of its triples swapped for another that the person's dialogues show.

    stated: the triples of the chosen reply. known: those of the references and the context. Another object of the same
    relation is preferred, so that "i am a farmer" becomes "i am a spaceman" rather than "i am a pizza".
    """
    for i in rng.permutation(len(stated)):
        triple = stated[i]
        others = [other for other in known if other.object.casefold() not in chosen.casefold()]
        same = [other for other in others if other.relation == triple.relation]
        pool = list(dict.fromkeys(other.object for other in same or others))
        if not pool:
            continue
        reply = _swap(chosen, triple.object, pool[rng.integers(len(pool))])
        if reply is not None:
            return reply
    return None


def fabrication(
    statements: Iterable[tuple[str, Sequence[Triple]]], known: Sequence[Triple], rng: np.random.Generator
) -> str | None:
    """Another person's statement, near the chosen reply in meaning, none of whose facts the person ever showed.

    statements: sentences with their facts, the most similar to the chosen reply first. Chosen at random from the first
    TOP_M that qualify.
    """
    shown = {(triple.relation, triple.object.casefold()) for triple in known}
    qualified: list[str] = []
    for sentence, stated in statements:
        facts = {(triple.relation, triple.object.casefold()) for triple in stated}
        if facts and not facts & shown:
            qualified.append(sentence)
        if len(qualified) == TOP_M:
            break
    return qualified[rng.integers(len(qualified))] if qualified else None


def inversion(
    chosen_vector: NDArray, partner_texts: Sequence[str], vectors: NDArray, taken: Collection[str]
) -> str | None:
    """The partner's utterance most similar to the chosen reply, as if the person were the partner.

    partner_texts: of the references and the context, with their unit vectors (n, d); those in `taken` are passed over.
    """
    similarity = vectors @ chosen_vector if len(partner_texts) else np.zeros(0)
    for i in np.argsort(-similarity, kind="stable"):
        if partner_texts[i] not in taken:
            return partner_texts[i]
    return None


def _swap(text: str, old: str, new: str) -> str | None:
    """`old` replaced by `new` where it first stands as whole words, with the article before it in agreement."""
    match = re.search(rf"(?:\b(an?) )?(?<!\w){re.escape(old)}(?!\w)", text, re.IGNORECASE)
    if match is None:
        return None
    article = match.group(1)
    if article:
        agreeing = "an" if new[0].lower() in "aeiou" else "a"
        new = f"{agreeing} {new}"
    return text[: match.start()] + new + text[match.end() :]
