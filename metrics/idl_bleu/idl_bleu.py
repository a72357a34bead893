"""IDL BLEU: n-grams that responses share with gold replies, of words, or of characters as in the paper's tables."""

import math
from collections import Counter
from collections.abc import Sequence

import evaluate
from datasets import Features, Value

from ._rows import check_columns, check_each, word_splitter

ORDERS = (1, 2, 3, 4)
PRESETS = {
    "standard": {"tokens": "words", "cumulative": True, "swap": False},
    "paper": {"tokens": "characters", "cumulative": False, "swap": True},
}

_CITATION = """\
@inproceedings{papineni2002bleu, title = {{BLEU}: a Method for Automatic Evaluation of Machine Translation},
  author = {Papineni, Kishore and Roukos, Salim and Ward, Todd and Zhu, Wei-Jing},
  booktitle = {Proceedings of the 40th Annual Meeting of the Association for Computational Linguistics},
  pages = {311--318}, year = {2002}}
@article{cheng2024indialogues,
  title = {"In Dialogues We Learn": Towards Personalized Dialogue Without Pre-defined Profiles through In-Dialogue
    Learning},
  author = {Cheng, Chuanqi and Tu, Quan and Shang, Shuo and Mao, Cunli and Yu, Zhengtao and Wu, Wei and Yan, Rui},
  journal = {arXiv preprint arXiv:2403.03102}, year = {2024}}
"""

_DESCRIPTION = """\
IDL BLEU measures which n-grams of a response occur in the gold reply. The standard preset is BLEU of words. The preset
"paper" is what the evaluation code of the In-Dialogue Learning paper computes: characters instead of words, one order
at a time, response and gold reply exchanged. Two unrelated human replies get about 49 of 100 with it, 10 with words.
"""

_KWARGS_DESCRIPTION = """
Args:
    predictions (`list[str]`): the responses.
    references (`list[str]`): for each response the gold reply.
    preset (`str`, defaults to "standard"): "standard" stands for tokens="words", cumulative=True, swap=False; "paper"
        for tokens="characters", cumulative=False, swap=True. An option given by name wins over the preset.
    tokens (`str`, optional): "words", the lower-cased text split at white space, or "characters", the text as it is.
    cumulative (`bool`, optional): whether order n takes the geometric mean of the precisions of the orders 1 to n, or
        the precision of order n alone.
    swap (`bool`, optional): whether response and gold reply change places, as in the released call.
    smoothing (`str`, optional): "method1" counts 0.1 matches where there is none. None leaves them 0.
    tokenize (`str`, optional): a tokenizer of sacrebleu instead of splitting at white space, for text without spaces:
        "zh" for Chinese, "ja-mecab" for Japanese, "char" for single characters, and others.
        Not for "characters".
Returns:
    bleu_1 ... bleu_4 (`float`): mean over the responses of brevity penalty times precision, in [0, 1]. A response
        without a match of order 1 scores 0 in all.
    corpus_bleu_1 ... corpus_bleu_4 (`float`): the same of the counts and lengths of all responses together.
    brevity_penalty (`float`): mean over the responses of min(1, exp(1 - length of the gold reply / length)).
Raises:
    ValueError: for an unknown option, no responses, or inputs of the wrong shape.
Examples:
    >>> import idl_hf
    >>> import evaluate
    >>> idl_bleu = evaluate.load("idl_bleu")
    >>> predictions = ["hi , how are you doing today ?", "i like dogs"]
    >>> references = ["hello , how are you ?", "i like my two dogs"]
    >>> results = idl_bleu.compute(predictions=predictions, references=references)
    >>> print([round(results[f"bleu_{order}"], 4) for order in (1, 2, 3, 4)])
    [0.5692, 0.4403, 0.2235, 0.1828]
    >>> results = idl_bleu.compute(predictions=predictions, references=references, preset="paper")
    >>> print([round(results[f"bleu_{order}"], 4) for order in (1, 2, 3, 4)])
    [0.5847, 0.5384, 0.4729, 0.4171]
"""


def count_ngrams(tokens: Sequence[str], order: int) -> Counter:
    """Return how often each n-gram occurs."""
    return Counter(zip(*(tokens[start:] for start in range(order)), strict=False))


def count_matches(hypothesis: Sequence[str], reference: Sequence[str]) -> list[int]:
    """Return for each order how many n-grams of the hypothesis the reference holds, each at most as often as there."""
    return [(count_ngrams(hypothesis, order) & count_ngrams(reference, order)).total() for order in ORDERS]


def brevity_penalty(length: int, reference_length: int) -> float:
    """Return exp(1 - reference length / length) where shorter than the reference, 0 for an empty text, else 1."""
    return math.exp(min(0.0, 1 - reference_length / length)) if length else 0.0


def bleu(
    matches: Sequence[int], totals: Sequence[int], penalty: float, cumulative: bool, smoothing: str | None
) -> list[float]:
    """Return BLEU of each order from its counts."""
    if matches[0] == 0:
        return [0.0 for _ in ORDERS]
    no_match = 0.1 if smoothing == "method1" else 0.0
    precisions = [(count or no_match) / total for count, total in zip(matches, totals, strict=True)]
    logs = [math.log(precision) if precision > 0 else -math.inf for precision in precisions]
    if cumulative:
        logs = [math.fsum(logs[:order]) / order for order in ORDERS]
    return [penalty * math.exp(log) for log in logs]


def read_options(preset: str, given: dict[str, str | bool | None], smoothing: str | None) -> dict[str, str | bool]:
    """Return the preset's options with those given by name in their place."""
    if preset not in PRESETS:
        raise ValueError(f"idl_bleu found the preset {preset!r}, but expected one of: {', '.join(PRESETS)}.")
    options = PRESETS[preset] | {name: value for name, value in given.items() if value is not None}
    if options["tokens"] not in ("words", "characters"):
        raise ValueError(f'idl_bleu expected `tokens` to be "words" or "characters", but found {options["tokens"]!r}.')
    for name in ("cumulative", "swap"):
        if not isinstance(options[name], bool):
            raise ValueError(f"idl_bleu expected `{name}` to be True or False, but found {options[name]!r}.")
    if smoothing not in (None, "method1"):
        raise ValueError(f'idl_bleu expected `smoothing` to be None or "method1", but found {smoothing!r}.')
    return options


@evaluate.utils.file_utils.add_start_docstrings(_DESCRIPTION, _KWARGS_DESCRIPTION)
class IdlBleu(evaluate.Metric):
    """BLEU-1 to BLEU-4 of responses, by sentence and of the whole corpus."""

    def _info(self) -> evaluate.MetricInfo:
        features = Features({"predictions": Value("string"), "references": Value("string")})
        urls = ["https://aclanthology.org/P02-1040", "https://arxiv.org/abs/2403.03102"]
        return evaluate.MetricInfo(_DESCRIPTION, _CITATION, features, _KWARGS_DESCRIPTION, reference_urls=urls)

    def add(self, *, prediction=None, reference=None, **kwargs):
        """Add one response and its gold reply."""
        self.add_batch(predictions=[prediction], references=[reference], **kwargs)

    def add_batch(self, *, predictions=None, references=None, **kwargs):
        """Add responses and, for each, its gold reply."""
        check_columns("idl_bleu", "text per response", predictions, references=references)
        check_each(str, predictions, "idl_bleu expected row {} of `predictions` to be a string")
        check_each(str, references, "idl_bleu expected row {} of `references` to be a string")
        evaluate.Metric.add_batch(self, predictions=predictions, references=references, **kwargs)

    def _compute(
        self,
        predictions: list[str],
        references: list[str],
        preset: str = "standard",
        tokens: str | None = None,
        cumulative: bool | None = None,
        swap: bool | None = None,
        smoothing: str | None = None,
        tokenize: str | None = None,
    ) -> dict[str, float]:
        options = read_options(preset, {"tokens": tokens, "cumulative": cumulative, "swap": swap}, smoothing)
        if len(predictions) == 0:
            raise ValueError("idl_bleu expected at least one prediction, but found none.")
        if options["swap"]:
            predictions, references = references, predictions
        if options["tokens"] == "words":
            split = word_splitter("idl_bleu", tokenize, [*predictions, *references])
        elif tokenize is None:
            split = str
        else:
            raise ValueError('idl_bleu found `tokenize`, which is for words, together with tokens="characters".')
        predictions, references = ([split(text) for text in side] for side in (predictions, references))
        pairs = list(zip(predictions, references, strict=True))
        matches = [count_matches(hypothesis, reference) for hypothesis, reference in pairs]
        # Where a hypothesis is too short for an order, 1 (unmatched), as in nltk
        totals = [[max(1, len(hypothesis) - order + 1) for order in ORDERS] for hypothesis in predictions]
        penalties = [brevity_penalty(len(hypothesis), len(reference)) for hypothesis, reference in pairs]
        how = options["cumulative"], smoothing
        rows = [bleu(*counts, *how) for counts in zip(matches, totals, penalties, strict=True)]
        means = [math.fsum(column) / len(rows) for column in zip(*rows, strict=True)]
        summed = ([sum(column) for column in zip(*counts, strict=True)] for counts in (matches, totals))
        lengths = (sum(map(len, side)) for side in (predictions, references))
        corpus = bleu(*summed, brevity_penalty(*lengths), *how)
        return {
            **{f"bleu_{order}": value for order, value in zip(ORDERS, means, strict=True)},
            **{f"corpus_bleu_{order}": value for order, value in zip(ORDERS, corpus, strict=True)},
            "brevity_penalty": math.fsum(penalties) / len(penalties),
        }
