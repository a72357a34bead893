"""P-Co: how close a response is to what the same person said before."""

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence, Sized
from numbers import Real

import evaluate
from datasets import Features, List, Value

from ._rows import check_columns, check_each, word_splitter

METHODS = ("cosine", "tfidf", "cover_msp", "cover_dhap", "cover_song")
METHODS_WITH_TABLE = ("tfidf", "cover_msp", "cover_song")
Tokens = tuple[str, ...]

_CITATION = """\
@article{cheng2024indialogues,
  title = {"In Dialogues We Learn": Towards Personalized Dialogue Without Pre-defined Profiles through In-Dialogue
    Learning},
  author = {Cheng, Chuanqi and Tu, Quan and Shang, Shuo and Mao, Cunli and Yu, Zhengtao and Wu, Wei and Yan, Rui},
  journal = {arXiv preprint arXiv:2403.03102}, year = {2024}}
@inproceedings{ma2021one,
  title = {One Chatbot Per Person: Creating Personalized Chatbots Based on Implicit User Profiles},
  author = {Ma, Zhengyi and Dou, Zhicheng and Zhu, Yutao and Zhong, Hanxun and Wen, Ji-Rong},
  booktitle = {Proceedings of the 44th International ACM SIGIR Conference on Research and Development in Information
    Retrieval}, pages = {555--564}, year = {2021}}
@article{zhong2022less,
  title = {Less is More: Learning to Refine Dialogue History for Personalized Dialogue Generation},
  author = {Zhong, Hanxun and Dou, Zhicheng and Zhu, Yutao and Qian, Hongjin and Wen, Ji-Rong},
  journal = {arXiv preprint arXiv:2204.08128}, year = {2022}}
"""

_DESCRIPTION = """\
P-Co compares each response with the past utterances of the person it should sound like. The In-Dialogue Learning paper
calls P-Co "persona cosine similarity"; the published evaluation scripts behind it compute P-Cover, a coverage weighted
by inverse document frequency. Both are here, chosen by `method`; the default is the cosine.
"""

_KWARGS_DESCRIPTION = """
Args:
    predictions (`list[str]`): the responses. Tokens are the lower-cased text split at white space.
    histories (`list[list[str]]`): for each response, all past utterances of its target person, in any order.
    method (`str`, defaults to "cosine"): how one response is scored.
        "cosine": cosine of the word counts of the response and of the whole history.
        "tfidf": the same, each count times the word's idf.
        "cover_msp": sum of the idf of the words shared with one utterance, divided by the number of tokens of the
            response; the largest value over the utterances.
        "cover_dhap": the same sum, not divided, with an idf of the person's own utterances.
        "cover_song": mean of 1 / (1 + ln(1 + count)) over the tokens of one utterance found in the response; the
            largest value over the utterances.
    idf (`dict[str, float]`, optional): a fixed table of word weights for "tfidf", "cover_msp" and "cover_song"; make
        one with `idf_table(utterances, method)` of the loaded metric. Words it lacks weigh 0 (1 for "cover_song").
        By default the table is made of the histories of this call, equal histories counted once: ln(N / df).
    tokenize (`str`, optional): a tokenizer of sacrebleu instead of splitting at white space, for text without spaces:
        "zh" for Chinese, "ja-mecab" for Japanese, "char" for single characters, and others.
Returns:
    p_co (`float`): mean score over the responses. An empty response or history scores 0. "cosine", "tfidf" and
        "cover_song" lie in [0, 1]; "cover_msp" and "cover_dhap" have no fixed upper end.
    n_without_history (`int`): how many responses had a history without a single token.
Raises:
    ValueError: for an unknown method, an `idf` the method does not take, no responses, or inputs of the wrong shape.
Examples:
    >>> import idl_hf
    >>> import evaluate
    >>> p_co = evaluate.load("p_co")
    >>> farmer = ["i love my two dogs .", "i work as a farmer in texas .", "do you like country music ?",
    ...           "my dogs love country music ."]
    >>> nurse = ["i am a nurse .", "do you have pets ?", "i live in texas ."]
    >>> predictions = ["i love my dogs and country music .", "i am a nurse in ohio ."]
    >>> results = p_co.compute(predictions=predictions, histories=[farmer, nurse])
    >>> print({name: round(value, 4) for name, value in results.items()})
    {'p_co': 0.7466, 'n_without_history': 0}
    >>> results = p_co.compute(predictions=predictions, histories=[farmer, nurse], method="cover_msp")
    >>> print({name: round(value, 4) for name, value in results.items()})
    {'p_co': 0.844, 'n_without_history': 0}
"""


def read_history(history: Iterable[str], words: Callable[[str], list[str]]) -> tuple[Tokens, ...]:
    """Tokenize the utterances, drop those without a token, and sort them: their order carries no meaning here."""
    return tuple(sorted(tokens for tokens in map(tuple, map(words, history)) if tokens))


def word_weights(utterances: Sequence[Tokens], method: str) -> dict[str, float]:
    """Return each word's weight: 1 / (1 + ln(1 + count)) in "cover_song", else ln(utterances / those that hold it)."""
    if method == "cover_song":
        counts = Counter(word for tokens in utterances for word in tokens)
        return {word: 1 / (1 + math.log(1 + count)) for word, count in counts.items()}
    frequencies = Counter(word for tokens in utterances for word in set(tokens))
    return {word: math.log(len(utterances) / count) for word, count in frequencies.items()}


def weighted_counts(tokens: Iterable[str], weights: Mapping[str, float] | None) -> dict[str, float]:
    """Return the count of each word, times its weight where there are weights."""
    counts = Counter(tokens).items()
    return {word: count if weights is None else count * weights.get(word, 0.0) for word, count in counts}


def cosine(left: Mapping[str, float], right: Mapping[str, float]) -> float:
    """Return the cosine of two sparse vectors, 0 if one of them is zero."""
    dot = math.fsum(value * right[word] for word, value in left.items() if word in right)
    norms = math.fsum(value**2 for value in left.values()) * math.fsum(value**2 for value in right.values())
    return min(1.0, dot / math.sqrt(norms)) if norms > 0 else 0.0


def cover(response: Tokens, utterance: Tokens, method: str, weights: Mapping[str, float]) -> float:
    """Return how much of one past utterance the response takes up."""
    shared = set(response).intersection(utterance)
    if not shared:
        return 0.0
    if method == "cover_song":
        covered = [weights.get(word, 1.0) for word in utterance if word in shared]
        return math.fsum(covered) / len(covered)
    total = math.fsum(weights.get(word, 0.0) for word in shared)
    return total / len(response) if method == "cover_msp" else total


def score(response: Tokens, history: Sequence[Tokens], method: str, weights: Mapping[str, float] | None) -> float:
    """Return the score of one tokenized response against the tokenized history of its person."""
    if not response or not history:
        return 0.0
    if method in ("cosine", "tfidf"):
        pooled = [word for utterance in history for word in utterance]
        return cosine(weighted_counts(response, weights), weighted_counts(pooled, weights))
    if method == "cover_dhap":
        weights = word_weights(history, method)
    return max(cover(response, utterance, method, weights) for utterance in history)


def check_method(method: str, idf: Mapping[str, float] | None) -> None:
    """Raise ValueError if the method is unknown or cannot use the table."""
    if method not in METHODS:
        raise ValueError(f"p_co found the method {method!r}, but expected one of: {', '.join(METHODS)}.")
    if idf is not None and method not in METHODS_WITH_TABLE:
        raise ValueError(
            f"p_co found an `idf` table together with the method {method!r}, which does not read one. "
            f"Leave `idf` out, or choose one of: {', '.join(METHODS_WITH_TABLE)}."
        )
    if idf is not None and not isinstance(idf, Mapping):
        raise ValueError(f"p_co expected `idf` to be a dict from word to weight, but found {type(idf).__name__}.")
    for word, weight in (idf or {}).items():
        if isinstance(weight, bool) or not isinstance(weight, Real) or not math.isfinite(weight):
            raise ValueError(
                f"p_co expected the weight of {word!r} in `idf` to be a finite number, but found {weight!r}."
            )


@evaluate.utils.file_utils.add_start_docstrings(_DESCRIPTION, _KWARGS_DESCRIPTION)
class PCo(evaluate.Metric):
    """Mean closeness of responses to their person's past utterances."""

    def _info(self) -> evaluate.MetricInfo:
        features = Features({"predictions": Value("string"), "histories": List(Value("string"))})
        urls = ["https://arxiv.org/abs/2403.03102", "https://arxiv.org/abs/2204.08128"]
        return evaluate.MetricInfo(_DESCRIPTION, _CITATION, features, _KWARGS_DESCRIPTION, reference_urls=urls)

    @staticmethod
    def idf_table(utterances: list[str], method: str = "cover_msp", tokenize: str | None = None) -> dict[str, float]:
        """Make the table of word weights that `compute(idf=...)` takes, for instance of all training utterances."""
        if method not in METHODS_WITH_TABLE:
            raise ValueError(f"p_co makes tables for {', '.join(METHODS_WITH_TABLE)}, but found {method!r}.")
        check_each(Sized, [utterances], "p_co expected `utterances` to be a list of utterances")
        check_each(str, utterances, "p_co expected utterance {} to be a string")
        return word_weights(read_history(utterances, word_splitter("p_co", tokenize, utterances)), method)

    def add(self, *, prediction=None, histories=None, **kwargs):
        """Add one response and the past utterances of its person."""
        self.add_batch(predictions=[prediction], histories=[histories], **kwargs)

    def add_batch(self, *, predictions=None, histories=None, **kwargs):
        """Add responses and, for each, the past utterances of its person."""
        check_columns("p_co", "entry per response", predictions, histories=histories)
        check_each(str, predictions, "p_co expected prediction {} to be a string")
        check_each(Sized, histories, "p_co expected history {} to be a list of utterances")
        for row, history in enumerate(histories):
            check_each(str, history, f"p_co expected the utterances of history {row} to be strings")
        evaluate.Metric.add_batch(self, predictions=predictions, histories=histories, **kwargs)

    def _compute(
        self,
        predictions: list[str],
        histories: list[list[str]],
        method: str = "cosine",
        idf: Mapping[str, float] | None = None,
        tokenize: str | None = None,
    ) -> dict[str, float]:
        check_method(method, idf)
        if len(predictions) == 0:
            raise ValueError("p_co expected at least one prediction, but found none.")
        words = word_splitter("p_co", tokenize, [*predictions, *(text for history in histories for text in history)])
        tokenized = [read_history(history, words) for history in histories]
        weights = idf
        if weights is None and method in METHODS_WITH_TABLE:
            weights = word_weights([tokens for history in set(tokenized) for tokens in history], method)
        pairs = zip(map(tuple, map(words, predictions)), tokenized, strict=True)
        scores = [score(response, history, method, weights) for response, history in pairs]
        return {"p_co": math.fsum(scores) / len(scores), "n_without_history": tokenized.count(())}
