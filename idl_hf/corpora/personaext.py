"""PersonaExt (Zhu et al., PAED, 2023): sentences of PersonaChat with one persona fact each, to train an extractor on.
JSON Lines, `{"triplets": [{"tokens": [...], "head": [0], "tail": [2, 3], "label": "have_pet", ...}]}`. The subject of
the fact are the words at `head`, its object those at `tail`. The 15 folders that are published divide the same
sentences in different ways: read one file that holds each of them once."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from random import Random
from typing import TypeGuard, TypeVar

from idl_hf.corpora.errors import CorpusError, ErrorLog
from idl_hf.corpora.jsonl import is_text, read_json
from idl_hf.schema import Triple, clean, plain

Item = TypeVar("Item")
# The paper's 4K samples of 35K sentences have 8.75 each; how many it stacks in one it does not say. Their mean is 8.75
_SIZES = (6, 7, 7, 8, 9, 10, 11, 12)


@dataclass(frozen=True)
class Sentence:
    """A sentence and the fact it states."""

    text: str
    triple: Triple


@dataclass(frozen=True)
class Sample:
    """What the extractor reads at once: sentences, and for each of them the facts it states, none or more."""

    sentences: tuple[str, ...]
    triples: tuple[tuple[Triple, ...], ...]


def read_sentences(path: str | Path, log: ErrorLog | None = None) -> list[Sentence]:
    """Return the sentences in file order; malformed lines are reported to `log`.
    Sentences + log.drops.total() = lines that are not blank. Raises CorpusError where there is no sentence."""
    log = log or ErrorLog()
    sentences: dict[str, Sentence] = {}
    for _, sentence in read_json(path, log, _parse):
        fact = sentence.triple
        if sentence.text in sentences:
            log.drops["sentence that was there before"] += 1  # it could be on both sides of the split
        elif re.search("[<>,]", f"{fact.subject}{fact.relation}") or re.search("[<>]", fact.object):
            log.drops["fact with a bracket, or with a comma outside the object, which its text cannot hold"] += 1
        else:
            sentences[sentence.text] = sentence
    if not sentences:
        raise CorpusError(f"{path}: Expected at least one sentence in the file, found none that can be read.")
    return list(sentences.values())


def _parse(record: object) -> Sentence:
    if not isinstance(record, dict) or not isinstance(record.get("triplets"), list):
        raise CorpusError(f'Expected a JSON object with a list "triplets", found {str(record)[:80]!r}.')
    if len(record["triplets"]) != 1 or not isinstance(record["triplets"][0], dict):
        raise CorpusError(f"Expected one object in triplets, found {str(record['triplets'])[:80]!r}.")
    fields = record["triplets"][0]
    tokens, label = fields.get("tokens"), fields.get("label")
    if not isinstance(tokens, list) or not tokens or not all(_is_word(token) for token in tokens):
        raise CorpusError(f"Expected tokens to be a list of words, found {str(tokens)[:80]!r}.")
    if not _is_word(label):
        raise CorpusError(f"Expected label to be a word, the relation, found {str(label)[:80]!r}.")
    # In the order given: it may run backwards, and an index may come twice ("bora bora" is [7, 7])
    subject, obj = (" ".join(tokens[i] for i in _indices(fields, name, len(tokens))) for name in ("head", "tail"))
    return Sentence(clean(" ".join(tokens)), Triple(clean(subject), label, clean(obj)))


def _indices(fields: Mapping[str, object], name: str, length: int) -> list[int]:
    indices = fields.get(name)
    if not isinstance(indices, list) or not indices or not all(type(i) is int and 0 <= i < length for i in indices):
        shown = str(indices)[:80]
        raise CorpusError(f"Expected {name} to be a list of indices of the {length} tokens, found {shown!r}.")
    return indices


def _is_word(value: object) -> TypeGuard[str]:
    """Return whether this is a text without white space that can be written down again, no half surrogate pair."""
    return is_text(value) and value.split() == [value]


def split_sentences(sentences: Sequence[Item], seed: int = 0, held_out: float = 0.1) -> dict[str, list[Item]]:
    """Return the sentences of the splits "train" and "validation", in random order. Split before stacking, so that no
    sample shares a sentence with another; the paper splits afterwards, which is the same if its samples share none."""
    if not 0 < held_out < 1:
        raise ValueError(f"held_out={held_out} is no share to hold out. Expected a number between 0 and 1.")
    shuffled = Random(seed).sample(sentences, len(sentences))
    count = round(len(shuffled) * held_out)
    return {"train": shuffled[count:], "validation": shuffled[:count]}


def stack(
    sentences: Sequence[Sentence], negatives: Sequence[str], negative_share: float = 0.3, seed: int = 0
) -> list[Sample]:
    """Return samples of 6 to 12 sentences, 8.75 on average, in random order; fewer only where there are not six.
    PersonaExt has only sentences that state something, and an extractor that never saw another kind invents facts for
    greetings. So `negative_share` of all sentences are `negatives`, texts that state nothing, each used at most
    once."""
    if not 0 <= negative_share < 1:
        raise ValueError(f"negative_share={negative_share} is no share. Expected a number from 0 to below 1.")
    if not sentences:
        raise ValueError("Expected at least one sentence to stack, found none. Read more, or choose another held_out.")
    needed = round(len(sentences) * negative_share / (1 - negative_share))
    if needed > len(negatives):
        possible = int(100 * len(negatives) / (len(negatives) + len(sentences))) / 100
        raise ValueError(
            f"Expected at least {needed} texts that state nothing, for a share of {negative_share} beside "
            f"{len(sentences)} sentences, found {len(negatives)}. Give more of them, or lower negative_share, "
            f"to {possible} for so many."
        )
    rng = Random(seed)
    rows: list[tuple[str, tuple[Triple, ...]]] = [(sentence.text, (sentence.triple,)) for sentence in sentences]
    rows += [(text, ()) for text in rng.sample(negatives, needed)]
    return in_blocks(rows, rng)


def in_blocks(rows: Sequence[tuple[str, tuple[Triple, ...]]], rng: Random) -> list[Sample]:
    """Return (sentence, its triples) pairs, in random order, as samples of 6 to 12 sentences."""
    rest = iter(rng.sample(rows, len(rows)))
    blocks = [list(islice(rest, size)) for size in _sizes(len(rows), rng)]
    return [Sample(tuple(text for text, _ in block), tuple(triples for _, triples in block)) for block in blocks]


def _sizes(count: int, rng: Random) -> Iterator[int]:
    """Yield sizes that sum to `count`: one is chosen only if what it leaves is enough for another, or nothing."""
    while count:
        fitting = [size for size in _SIZES if size == count or count - size >= min(_SIZES)]
        size = rng.choice(fitting or [count])
        yield size
        count -= size


# What surely states nothing of its speaker. The rules of persona.patterns are no judge of that: of the turns in which
# they find nothing, many state a fact all the same ("my job is selling cars", "manager at a gas station"), and as a
# negative it would teach silence. So each clause has to be a courtesy, a mood, a question to the partner or a remark
# on what they said, and only moods may hold a word of the first person, which nearly every sentence of PersonaExt has.
_COURTESY = frozenset(
    """
    a absolutely agreed ah amazing aw awesome aww bad bummer bye care congrats congratulations cool course day
    definitely evening exactly exciting fantastic fine fun funny good goodbye goodnight great ha haha have hello here
    hey hi hmm indeed interesting later lol lot lovely luck man maybe meet morning neat nice night no nope not of oh ok
    okay ouch perhaps please pretty probably really right same see so sorry soon sure sweet take thank thanks then
    there to today tonight too totally tough true ugh very well with wonderful wow yea yeah yep yes yikes you yup
    """.split()
)
_FIRST_PERSON = re.compile(r"\b(?:i|im|ive|id|ill|me|my|mine|myself|we|us|our|ours|ourselves)\b")
_MOOD = re.compile(
    r"(?:i am|i'm|im)(?: (?:so|very|really|just|pretty|quite|doing|all|also))*"
    r" (?:good|great|well|fine|ok|okay|alright|right|awesome|fantastic|wonderful|sorry|glad|happy|sure)"
    r"(?: (?:to hear that|about that|for you|today|tonight|here|too|thanks|thank you))*"
    r"|i (?:see|agree|understand|bet|know|know right|guess|guess so|hope so|think so|hear you)(?: too)?"
)
_QUESTION = re.compile(
    r"(?:what|where|why|how|which|who|whose)(?:'?s|'?re)?\b"
    r"|(?:do|does|did|are|is|was|were|can|could|would|will|have|has|had|should|don't|didn't|aren't|isn't)"
    r" (?:you|your|yours|u|ya|it|that|there|the|they|those|these)\b"
)
_REMARK = re.compile(
    r"(?:you|your|yours|you're|you'll|you've|that|that's|thats|those|these|it|it's|its|sounds)\b"
    r"(?!.*\b(?:and|but|or|because|since)\b)"  # behind these a fact may follow without "i"
)


def is_plainly_no_statement(text: str) -> bool:
    """Return whether every clause of an utterance is a courtesy, a mood, a question to the partner or a remark."""
    clauses = [clause.split() for clause in re.split(r"[.!?,;:…]+", plain(text).casefold())]
    return any(clauses) and all(map(_is_plain, clauses))


def _is_plain(words: list[str]) -> bool:
    courtesies = next((i for i, word in enumerate(words) if word not in _COURTESY), len(words))
    rests = (" ".join(words[i:]) for i in range(courtesies + 1))  # "you" is a courtesy, and begins remarks
    return courtesies == len(words) or any(
        _MOOD.fullmatch(rest) or (not _FIRST_PERSON.search(rest) and (_QUESTION.match(rest) or _REMARK.match(rest)))
        for rest in rests
    )
