"""P-F1: word overlap of a response with everything the same person said before."""

import math
from collections.abc import Iterable, Sized

import evaluate
from datasets import Features, List, Value

from ._rows import check_columns, check_each, plain, word_splitter

# Function words of English in the forms that ConvAI2 text has (lower case, "don't" and "i'm" as one token), the split
# contractions of Treebank text, and punctuation. Written for this metric; the list of the MSP authors is unpublished.
ENGLISH_STOP_WORDS = frozenset(
    """
    a an the this that these those such same other another each every either neither both all any some no none i
    me my mine myself you your yours yourself yourselves he him his himself she her hers herself it its itself we
    us our ours ourselves they them their theirs themselves one ones who whom whose which what am is are was were
    be been being do does did doing done have has had having can could will would shall should may might must
    ought not and or but nor so yet if then than because since while although though unless until whether as of in
    on at by to from for with without about against between among into onto through during before after above
    below over under up down off out across along around behind beside near toward towards upon within per via
    when where why how here there now just too very also only again once i'm i've i'd i'll you're you've you'd
    you'll he's he'd he'll she's she'd she'll it's it'd it'll we're we've we'd we'll they're they've they'd
    they'll that's there's here's what's who's where's how's let's don't doesn't didn't isn't aren't wasn't
    weren't haven't hasn't hadn't can't cannot couldn't won't wouldn't shan't shouldn't mustn't ain't n't 's 'm
    're 've 'd 'll . , ? ! ; : ' " ` `` '' ( ) [ ] { } - -- … ... / & * _
    """.split()
)

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
P-F1 (persona F1) compares the set of words of a response with the set of words of all past utterances of the person it
should sound like, stop words left out on both sides, as the published evaluation script of MSP does.
"""

_KWARGS_DESCRIPTION = """
Args:
    predictions (`list[str]`): the responses. Tokens are the lower-cased text split at white space.
    histories (`list[list[str]]`): for each response, all past utterances of its target person, in any order.
    stop_words (`list[str]` or "english", optional): words that count on neither side. `None` and "english" stand for
        the list of English function words and punctuation in this module; `[]` leaves nothing out.
    tokenize (`str`, optional): a tokenizer of sacrebleu instead of splitting at white space, for text without spaces:
        "zh" for Chinese, "ja-mecab" for Japanese, "char" for single characters, and others.
Returns:
    p_f1 (`float`): mean over the responses of 2 * precision * recall / (precision + recall), in [0, 1]. A response
        that is empty, that has no history, or that shares no word with it scores 0.
    precision (`float`): mean share of the response's distinct words that the person has used before.
    recall (`float`): mean share of the person's distinct words that the response uses.
    n_without_history (`int`): how many responses had a history without a single token.
Raises:
    ValueError: for stop words that are neither a list nor "english", no responses, or inputs of the wrong shape.
Examples:
    >>> import idl_hf
    >>> import evaluate
    >>> p_f1 = evaluate.load("p_f1")
    >>> history = ["i love my two dogs .", "i work as a farmer in texas .", "do you like country music ?",
    ...            "my dogs love country music ."]
    >>> predictions = ["i love my dogs and country music .", "i am a nurse in ohio ."]
    >>> results = p_f1.compute(predictions=predictions, histories=[history, history])
    >>> print({name: round(value, 4) for name, value in results.items()})
    {'p_f1': 0.3077, 'precision': 0.5, 'recall': 0.2222, 'n_without_history': 0}
    >>> results = p_f1.compute(predictions=predictions, histories=[history, history], stop_words=[])
    >>> print({name: round(value, 4) for name, value in results.items()})
    {'p_f1': 0.4292, 'precision': 0.7232, 'recall': 0.3056, 'n_without_history': 0}
"""


def read_stop_words(stop_words: Iterable[str] | str | None) -> set[str]:
    """Return the stop words to leave out, lower-cased as the tokens are."""
    if stop_words is None or (isinstance(stop_words, str) and stop_words == "english"):
        return set(ENGLISH_STOP_WORDS)
    if isinstance(stop_words, str) or not isinstance(stop_words, Iterable):
        raise ValueError(f'p_f1 expected `stop_words` to be a list of words or "english", but found {stop_words!r}.')
    stop_words = list(stop_words)
    check_each(str, stop_words, "p_f1 expected `stop_words` to hold strings")
    return {plain(word).lower() for word in stop_words}


def overlap(response: set[str], history: set[str]) -> dict[str, float]:
    """Return F1, precision and recall of two sets of words, zeros if they share nothing."""
    shared = len(response & history)
    if shared == 0:
        return {"p_f1": 0.0, "precision": 0.0, "recall": 0.0}
    precision, recall = shared / len(response), shared / len(history)
    return {"p_f1": 2 * precision * recall / (precision + recall), "precision": precision, "recall": recall}


@evaluate.utils.file_utils.add_start_docstrings(_DESCRIPTION, _KWARGS_DESCRIPTION)
class P_F1(evaluate.Metric):  # `evaluate` makes the metric's name, p_f1, out of it: hence the underscore
    """Mean word overlap of responses with their person's past utterances."""

    def _info(self) -> evaluate.MetricInfo:
        features = Features({"predictions": Value("string"), "histories": List(Value("string"))})
        urls = ["https://arxiv.org/abs/2403.03102", "https://arxiv.org/abs/2204.08128"]
        return evaluate.MetricInfo(_DESCRIPTION, _CITATION, features, _KWARGS_DESCRIPTION, reference_urls=urls)

    def add(self, *, prediction=None, histories=None, **kwargs):
        """Add one response and the past utterances of its person."""
        self.add_batch(predictions=[prediction], histories=[histories], **kwargs)

    def add_batch(self, *, predictions=None, histories=None, **kwargs):
        """Add responses and, for each, the past utterances of its person."""
        check_columns("p_f1", "entry per response", predictions, histories=histories)
        check_each(str, predictions, "p_f1 expected prediction {} to be a string")
        check_each(Sized, histories, "p_f1 expected history {} to be a list of utterances")
        for row, history in enumerate(histories):
            check_each(str, history, f"p_f1 expected the utterances of history {row} to be strings")
        evaluate.Metric.add_batch(self, predictions=predictions, histories=histories, **kwargs)

    def _compute(
        self,
        predictions: list[str],
        histories: list[list[str]],
        stop_words: Iterable[str] | str | None = None,
        tokenize: str | None = None,
    ) -> dict[str, float]:
        left_out = read_stop_words(stop_words)
        if len(predictions) == 0:
            raise ValueError("p_f1 expected at least one prediction, but found none.")
        words = word_splitter("p_f1", tokenize, [*predictions, *(text for history in histories for text in history)])
        pooled = [set(words(" ".join(history))) for history in histories]
        pairs = zip((set(words(text)) for text in predictions), pooled, strict=True)
        rows = [overlap(response - left_out, history - left_out) for response, history in pairs]
        means = {name: math.fsum(row[name] for row in rows) / len(rows) for name in rows[0]}
        return {**means, "n_without_history": sum(not history for history in pooled)}
