"""Every score of a report: what it is, and how it is computed from what was measured of a line.

A new score takes an entry in SCORES and, unless one that is there computes it along, a function.
"""

import functools
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any, NamedTuple

import evaluate
import numpy as np
from sacrebleu.tokenizers.tokenizer_13a import Tokenizer13a

from idl_hf.cache import Cache, code_identity, digest
from idl_hf.evaluation.author import Case, verify_authors
from idl_hf.evaluation.data import DialogueKey
from idl_hf.evaluation.measured_model import Judge, MeasuredLine, Reply
from idl_hf.models.identity import model_identity
from idl_hf.models.likelihood import SummedNLL, per_token
from idl_hf.models.responder import NoLogProbsError
from idl_hf.registration import folder
from idl_hf.report.results import Column, Line, Role
from idl_hf.rows.strangers import AT_RANDOM

NLL_OF = {"nll_none": "none", "nll_profile": "profile"}  # the prompts' conditioning
WORDS = ["bleu_1", "bleu_2", "rouge_l", "distinct_1", "distinct_2", "corpus_distinct_1", "p_f1", "p_co"]
AUTHOR = ["author", "author_floor", "author_ceiling"]
_IDENTIFICATION = {"id_hits": "hits@1", "id_log_loss": "log_loss"}


class NotMeasuredError(Exception):
    """A score that a line cannot have; the message, which may be empty, is the note that a report has of it."""


class Scored(NamedTuple):
    """The values of one score of one line: by person, or of all replies as a whole; and of how many rows."""

    values: dict[str, float] | float
    rows: int


@dataclass(frozen=True)
class Score:
    """One score. `compute` takes a line and the keys that are asked for, and returns those scores: several that are
    computed at once share it. It raises NotMeasuredError."""

    key: str
    label: str
    compute: Callable[[MeasuredLine, Sequence[str]], Mapping[str, Scored]]
    note: str
    scale: float = 100.0
    lower_is_better: bool | None = False  # None: neither is better

    @property
    def column(self) -> Column:
        """How a table shows it."""
        return Column(self.key, self.label, self.scale, self.lower_is_better, self.note)


def score_line(line: MeasuredLine, keys: Sequence[str]) -> dict[str, Scored]:
    """Return the scores of a line by key. Those that it cannot have are left out, and noted."""
    together: dict[Callable[..., Mapping[str, Scored]], list[str]] = defaultdict(list)
    for key in keys:
        together[SCORES[key].compute].append(key)
    scored: dict[str, Scored] = {}
    for compute, asked in together.items():
        try:
            scored |= {key: value for key, value in compute(line, asked).items() if key in asked}
        except (NotMeasuredError, NoLogProbsError) as reason:
            if str(reason):
                line.notes.add(str(reason))
    return {key: scored[key] for key in keys if key in scored}


def as_line(name: str, role: Role, scored: Mapping[str, Scored]) -> Line:
    """Return the line of a table with these scores."""
    by_person = {key: score.values for key, score in scored.items() if isinstance(score.values, dict)}
    whole = {key: score.values for key, score in scored.items() if not isinstance(score.values, dict)}
    return Line(name, role, by_person, whole, {key: score.rows for key, score in scored.items()})


def _likelihoods(line: MeasuredLine, keys: Sequence[str]) -> dict[str, Scored]:
    if not line.comparable_tokens:
        raise NotMeasuredError(_OTHER_TOKENIZER.format(line.label))
    nll = {"nll": line.nll()}
    for key, conditioning in NLL_OF.items():
        if key not in keys:
            continue
        if key == "nll_profile" and not all(map(line.data.profiles().get, line.data.only or ())):
            line.notes.add(f"{line.test}: {SCORES[key].label} is left out, since some people have no profile.")
            continue
        nll[key] = line.nll(conditioning=conditioning)
    dialogues = len(line.data.only or ())
    return {key: Scored(values, dialogues) for key, values in nll.items()}


def _among_strangers(line: MeasuredLine, keys: Sequence[str]) -> dict[str, Scored]:
    """Return what the same replies are worth given the past of others: likelihoods of those drawn at random, and the
    decisions among all, which models of any tokenizer can be compared by."""
    if not line.shows_dialogues:
        raise NotMeasuredError("")
    identified = not _IDENTIFICATION.keys().isdisjoint(keys)
    lineup = line.lineup(None if identified else AT_RANDOM)
    scored = {}
    if line.comparable_tokens:
        own = per_token([key.person_id for key in lineup], [scores[0] for scores in lineup.values()])
        drawn = [_mean_of(scores[1 : 1 + AT_RANDOM]) for scores in lineup.values()]
        others = per_token([key.person_id for key in lineup], drawn)
        scored = {"nll_other": others, "gain": {person: nll - own[person] for person, nll in others.items()}}
    elif not {"nll_other", "gain"}.isdisjoint(keys):
        line.notes.add(_OTHER_TOKENIZER.format(line.label))
    if identified:
        decisions: dict[str, list[list[float]]] = defaultdict(list)
        for key, scores in lineup.items():
            decisions[key.person_id].append([-score.nll for score in scores])
        told = {
            person: _metric("identification").compute(predictions=totals, references=[0] * len(totals))
            for person, totals in decisions.items()
        }
        for column, name in _IDENTIFICATION.items():
            scored[column] = {person: of_person[name] for person, of_person in told.items()}
    return {key: Scored(values, len(lineup)) for key, values in scored.items()}


def _mean_of(scores: Sequence[SummedNLL]) -> SummedNLL:
    """Return the mean of what the same replies are worth before several people, so that a dialogue weighs the same
    however many there are."""
    return SummedNLL(fmean(score.nll for score in scores), scores[0].tokens)


def _words(line: MeasuredLine, keys: Sequence[str]) -> dict[str, Scored]:
    replies = line.replies
    dialogues = list(dict.fromkeys(reply.dialogue for reply in replies))
    known = dict(zip(dialogues, line.data.histories(dialogues), strict=True))
    release = any(key.startswith("release_") or key in ("bleu_3", "bleu_4") for key in keys)
    if empty := sum(not reply.text.strip() for reply in replies):
        line.notes.add(f"{empty} of {len(replies)} replies are empty, and scored as such", line.label)
    scores: dict[str, dict[str, float]] = defaultdict(dict)
    for person, own in _of_each_person(replies).items():
        texts, golds = [replies[i].text for i in own], [replies[i].gold for i in own]
        for key, value in score_replies(texts, golds, [known[replies[i].dialogue] for i in own], release).items():
            scores[key][person] = value
    together = _metric("distinct").compute(predictions=_tokens([reply.text for reply in replies]))
    scored = {key: Scored(values, len(replies)) for key, values in scores.items()}
    return scored | {key: Scored(together[key], len(replies)) for key in ("corpus_distinct_1", "corpus_distinct_2")}


def _author(line: MeasuredLine, keys: Sequence[str]) -> dict[str, Scored]:
    by_dialogue: dict[DialogueKey, list[Reply]] = defaultdict(list)
    for reply in line.replies:
        by_dialogue[reply.dialogue].append(reply)
    if len({key.person_id for key in by_dialogue}) < 2:
        raise NotMeasuredError("Author verification needs replies of two people, and is left out.")
    known = dict(zip(by_dialogue, line.data.histories(by_dialogue), strict=True))
    if silent := len({key.person_id for key, texts in known.items() if not any(texts)}):
        raise NotMeasuredError(f"Author verification is left out: {silent} people say nothing in other dialogues.")
    cases = [
        Case(
            key.person_id,
            known=" ".join(_tokens(known[key])),
            written=" ".join(_tokens([reply.text for reply in replies])),
            real=" ".join(_tokens([reply.gold for reply in replies])),
        )
        for key, replies in by_dialogue.items()
    ]
    shares = dict(zip(AUTHOR, verify_authors(cases), strict=True))
    return {key: Scored(of_people, len(line.replies)) for key, of_people in shares.items()}


def _judged(line: MeasuredLine, keys: Sequence[str]) -> dict[str, Scored]:
    if line.judge is None:
        raise NotMeasuredError("Coh. and Coh-Con. need an NLI model (--nli_model), and none was given.")
    profiles = line.profiles
    if not all(profiles):
        raise NotMeasuredError(
            f"{line.data.dataset_name}: Coh. and Coh-Con. are left out, since {profiles.count([])} of {len(profiles)} "
            "replies are of people without a profile."
        )
    texts = [reply.text for reply in line.replies]
    labels = line.judge(texts, profiles)
    values: dict[str, dict[str, float]] = {"coh": {}, "coh_con": {}}
    for person, own in _of_each_person(line.replies).items():
        columns = {"predictions": [texts[i] for i in own], "profiles": [profiles[i] for i in own]}
        judged = _metric("coh_con").compute(**columns, labels=[labels[i] for i in own])
        for key in values:
            values[key][person] = judged[key]
    return {key: Scored(of_people, len(texts)) for key, of_people in values.items()}


def _attention(line: MeasuredLine, keys: Sequence[str]) -> dict[str, Scored]:
    """Return the mean of each person. One whose profile has no word in the dialogues has no lift."""
    if not line.attention_rows or not line.shows_dialogues:
        raise NotMeasuredError("")
    scored = {}
    for key in keys:
        values: dict[str, list[float]] = defaultdict(list)
        for dialogue, attention in line.attention.items():
            if not np.isnan(value := getattr(attention, key)):
                values[dialogue.person_id].append(value)
        means = {person: float(np.mean(of_person)) for person, of_person in values.items()}
        scored[key] = Scored(means, sum(map(len, values.values())))
    return {key: value for key, value in scored.items() if value.values}


def _of_each_person(replies: Sequence[Reply]) -> dict[str, list[int]]:
    """Return the places of each person's replies."""
    places: dict[str, list[int]] = defaultdict(list)
    for place, reply in enumerate(replies):
        places[reply.dialogue.person_id].append(place)
    return places


_OTHER_TOKENIZER = (
    "{} has another tokenizer. Its NLL and persona gain are not shown, since likelihoods per token of different "
    "tokenizers cannot be compared."
)
_RELEASE = "as the authors' released code counts it: two unrelated human replies get a BLEU-1 of 49"
_BLEU = "Of words, punctuation apart (sacrebleu's 13a), sentence level, without smoothing."
_ALL = (
    Score("nll", "NLL", _likelihoods, "Negative log-likelihood of the person's own replies, nats per token. It "
          "compares models of one tokenizer.", 1, True),
    Score("nll_other", "NLL, other person", _among_strangers, "The same given another person's dialogues, the mean of "
          "four drawn at random.", 1, None),
    Score("nll_none", "NLL, none", _likelihoods, "The same given no past dialogue.", 1, True),
    Score("nll_profile", "NLL, profile", _likelihoods, "The same given the person's profile instead.", 1, True),
    Score("gain", "persona gain", _among_strangers, "NLL given another person's dialogues instead, minus NLL; 0 for a "
          "model that ignores the person.", 1),
    Score("id_hits", "identified", _among_strangers, "Share of dialogues whose replies are likeliest given the "
          "person's own past, among eight people (fewer where there are fewer): the three most alike and four at "
          "random; 12.5 by chance."),
    Score("id_log_loss", "log-loss", _among_strangers, "Of the softmax over these people's totals, in nats; the log "
          "of their number, 2.079 of eight, for a model that ignores the person.", 1, True),
    *(Score(f"bleu_{n}", f"BLEU-{n}", _words, _BLEU) for n in range(1, 5)),
    Score("rouge_l", "ROUGE-L", _words, "F1 of words, without stemming."),
    Score("distinct_1", "Dist-1", _words, "Share of different tokens (sacrebleu's 13a) within a reply."),
    Score("distinct_2", "Dist-2", _words, "Share of different pairs of tokens within a reply."),
    Score("corpus_distinct_1", "corpus Dist-1", _words, "Share of different tokens in all replies together."),
    Score("corpus_distinct_2", "corpus Dist-2", _words, "Share of different pairs of tokens in all replies together."),
    Score("p_f1", "P-F1", _words, "Overlap of the reply's content words with those of all the person has said "
          "elsewhere."),
    Score("p_co", "P-Co", _words, "Cosine of word counts, without punctuation, of the reply and all the person has "
          "said elsewhere."),
    Score("author", "author", _author, "Share of the test's other people whose past the replies are less alike to "
          "than to the person's own, by n-grams of characters; 50 for a model that knows nothing of the person."),
    Score("author_floor", "author, floor", _author, "The same of another person's real replies, cut to the same "
          "length, of strangers but that person.", lower_is_better=None),
    Score("author_ceiling", "author, ceiling", _author, "The same of the person's own real replies, cut to the same "
          "length.", lower_is_better=None),
    Score("coh", "Coh.", _judged, "Share of (profile sentence, reply) pairs that an NLI model does not call a "
          "contradiction."),
    Score("coh_con", "Coh-Con.", _judged, "Share of these pairs that it calls an entailment."),
    *(Score(f"release_bleu_{n}", f"BLEU-{n}, release", _words, f"Of letters, sides swapped, {_RELEASE}.")
      for n in range(1, 5)),
    Score("release_rouge_l", "ROUGE-L, release", _words, "F1 of stemmed words, as the released code counts it."),
    Score("mass", "attention on profile", _attention, "Of the attention to content words of the person's past "
          "dialogues, the share on words of the profile."),
    Score("lift", "lift", _attention, "That share over these words' share of the tokens of all content words.", 1),
    Score("keywords_in_top", "in top 100", _attention, "Words of the profile among the 100 tokens with the most "
          "attention (paper A.5).", 1),
)  # fmt: skip
SCORES = {score.key: score for score in _ALL}


def score_replies(
    predictions: Sequence[str], references: Sequence[str], histories: Sequence[Sequence[str]], release: bool = False
) -> dict[str, float]:
    """Return all word scores of some replies, as fractions and means over replies.

    predictions: replies. references: the persons' own. histories: each person's past utterances. Word BLEU of order 1
    and 2 (sentence level, no smoothing), ROUGE-L F1 without stemming, distinct-1 and -2 within a reply and over all,
    P-F1 and P-Co. Tokens are those of sacrebleu's 13a, which sets punctuation apart, so that "dogs." and the "dogs ."
    of ConvAI2 are the same; P-F1 and P-Co take no punctuation, since everybody's full stops are alike. release: also
    BLEU-3 and -4, and BLEU and ROUGE-L as the authors' released code counts them, on the text as it is. Raises
    ValueError where the numbers of replies differ.
    """
    if not len(predictions) == len(references) == len(histories):
        raise ValueError(
            f"Expected one reference and one history per prediction, found {len(predictions)} predictions, "
            f"{len(references)} references and {len(histories)} histories."
        )
    tokens = {"predictions": _tokens(predictions), "references": _tokens(references)}
    computed = _metric("idl_bleu").compute(**tokens) | _metric("idl_rouge_l").compute(**tokens)
    computed |= _metric("distinct").compute(predictions=tokens["predictions"])
    computed |= _overlaps(predictions, histories)
    keys = [f"bleu_{order}" for order in range(1, 5 if release else 3)] + ["rouge_l"]
    keys += ["distinct_1", "corpus_distinct_1", "distinct_2", "corpus_distinct_2", "p_f1", "p_co"]
    return {key: computed[key] for key in keys} | (_as_released(predictions, references) if release else {})


def _overlaps(predictions: Sequence[str], histories: Sequence[Sequence[str]]) -> dict[str, float]:
    """Return P-F1 and P-Co. Replies that share a history are scored at once, since a metric copies the history for
    each reply that it is given: of a person with thousands of replies that would be gigabytes."""
    sharing: dict[int, list[int]] = defaultdict(list)
    for place, history in enumerate(histories):
        sharing[id(history)].append(place)
    sums = {"p_f1": 0.0, "p_co": 0.0}
    for places in sharing.values():
        replies = _without_punctuation([predictions[place] for place in places])
        said = " ".join(_without_punctuation(histories[places[0]]))
        for key in sums:
            found = _metric(key).compute(predictions=replies, histories=[[said]] * len(replies))
            sums[key] += found[key] * len(replies)
    return {key: total / len(predictions) for key, total in sums.items()}


_split = Tokenizer13a()  # puts a space between each two tokens


def _tokens(texts: Sequence[str]) -> list[str]:
    return [_split(text) for text in texts]


def _without_punctuation(texts: Sequence[str]) -> list[str]:
    """Return the tokens with a letter or a digit."""
    return [" ".join(token for token in text.split() if any(map(str.isalnum, token))) for text in _tokens(texts)]


def _as_released(predictions: Sequence[str], references: Sequence[str]) -> dict[str, float]:
    pairs = {"predictions": list(predictions), "references": list(references)}
    bleu, rouge = (_metric(name).compute(**pairs, preset="paper") for name in ("idl_bleu", "idl_rouge_l"))
    orders = {f"release_bleu_{order}": bleu[f"bleu_{order}"] for order in range(1, 5)}
    return {**orders, "release_rouge_l": rouge["rouge_l"]}


def kept_judge(model: str, cache: Cache) -> Judge:
    """Return an NLI model's judgement, each pair of fact and reply read once for all runs that share the cache."""
    identity = (model_identity(model), code_identity("idl_hf.metrics.coh_con", "torch", "transformers"))

    def labels(predictions: Sequence[str], profiles: Sequence[Sequence[str]]) -> list[list[str]]:
        pairs = [(fact, reply) for reply, facts in zip(predictions, profiles, strict=True) for fact in facts]

        def judge(places: list[int]) -> Iterator[dict[int, bytes]]:
            facts, replies = [[pairs[place][0]] for place in places], [pairs[place][1] for place in places]
            for place, (label,) in zip(places, _metric("coh_con").judge(replies, facts, model), strict=True):
                yield {place: label.encode()}

        found = iter(cache.values([digest("nli", identity, pair) for pair in pairs], judge))
        return [[next(found).decode() for _ in facts] for facts in profiles]

    return labels


@functools.cache
def _metric(name: str) -> Any:
    return evaluate.load(str(folder("metrics") / name), keep_in_memory=True)
