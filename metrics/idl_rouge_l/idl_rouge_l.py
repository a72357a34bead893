"""IDL ROUGE-L: the longest common subsequence of responses and gold replies."""

import math
import re
import warnings
from collections.abc import Callable, Sequence

import evaluate
from datasets import Features, Value
from rouge_score.rouge_scorer import RougeScorer
from rouge_score.scoring import Score

from ._rows import check_columns, check_each, plain, word_splitter

PRESETS = ("standard", "paper", "dhap")
LETTERS_LOST = re.compile(r"(?=.*[^\W\d_])[^a-zA-Z0-9]+", re.DOTALL)  # letters, none of which rouge_score knows

_CITATION = """\
@inproceedings{lin2004rouge, title = {{ROUGE}: A Package for Automatic Evaluation of Summaries},
  author = {Lin, Chin-Yew}, booktitle = {Text Summarization Branches Out}, pages = {74--81}, year = {2004}}
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
"""

_DESCRIPTION = """\
IDL ROUGE-L measures how long a sequence of words, gaps allowed, a response shares with the gold reply. It is that of
rouge_score, with or without stemming; the preset "dhap" gives the recall of different words that the scripts of DHAP,
MSP and CLV report under the same name.
"""

_KWARGS_DESCRIPTION = """
Args:
    predictions (`list[str]`): the responses.
    references (`list[str]`): for each response the gold reply.
    preset (`str`, defaults to "standard"): "standard" is rouge_score: tokens are lower-case runs of letters and
        digits. "paper" is the same with stemming and with response and gold reply exchanged, as in the released code
        of the In-Dialogue Learning paper: precision and recall change places, F1 does not. "dhap" is the recall of the
        package `rouge`: words split at blanks, sentences at full stops, each different word of the common subsequences
        once.
    stemmer (`bool`, optional): whether words longer than three letters lose their endings (Porter). By default only in
        the preset "paper". "dhap" has no stemmer, and no tokenizer of `tokenize` has.
    tokenize (`str`, optional): a tokenizer of sacrebleu instead of splitting at white space, for text without spaces:
        "zh" for Chinese, "ja-mecab" for Japanese, "char" for single characters, and others.
Returns:
    rouge_l (`float`): mean over the responses of 2 * precision * recall / (precision + recall), in [0, 1]. Where one
        side is empty or nothing is shared, all three are 0.
    precision (`float`): mean of the length of the longest common subsequence / length of the response.
    recall (`float`): mean of the same / length of the gold reply. In the preset "dhap" this is the value to report.
Raises:
    ValueError: for an unknown option, no responses, or inputs of the wrong shape.
Examples:
    >>> import idl_hf
    >>> import evaluate
    >>> idl_rouge_l = evaluate.load("idl_rouge_l")
    >>> predictions = ["i enjoyed playing games with my dogs .", "i like dogs and i like cats"]
    >>> references = ["i enjoy a game with my dog .", "i like my dogs and i like my cats"]
    >>> for preset in ("standard", "paper", "dhap"):
    ...     results = idl_rouge_l.compute(predictions=predictions, references=references, preset=preset)
    ...     print(preset, {name: round(value, 4) for name, value in results.items()})
    standard {'rouge_l': 0.6518, 'precision': 0.7143, 'recall': 0.6032}
    paper {'rouge_l': 0.8661, 'precision': 0.8175, 'recall': 0.9286}
    dhap {'rouge_l': 0.6688, 'precision': 0.7143, 'recall': 0.631}
"""


def split_sentences(text: str) -> list[list[str]]:
    """Return the words of each sentence as the package `rouge` finds them: an empty sentence holds one empty word."""
    joined = " ".join(text.lower().split())
    return [sentence.strip().split(" ") for sentence in joined.split(".") if sentence]


def common_words(reference: Sequence[str], response: Sequence[str]) -> set[str]:
    """Return the different words of the longest common subsequence; of several such, the one that `rouge` finds."""
    lengths = [[0] * (len(response) + 1) for _ in range(len(reference) + 1)]
    for i, word in enumerate(reference, 1):
        for j, other in enumerate(response, 1):
            same = lengths[i - 1][j - 1] + 1 if word == other else 0
            lengths[i][j] = same or max(lengths[i - 1][j], lengths[i][j - 1])
    common = set()
    i, j = len(reference), len(response)
    while i and j:
        if reference[i - 1] == response[j - 1]:
            common.add(reference[i - 1])
            i, j = i - 1, j - 1
        elif lengths[i - 1][j] > lengths[i][j - 1]:
            i -= 1
        else:
            j -= 1
    return common


def dhap_score(response: str, reference: str) -> Score:
    """Return precision, recall and F1 of the different words in the common subsequences of all pairs of sentences."""
    sentences, gold_sentences = split_sentences(response), split_sentences(reference)
    shared = set().union(*(common_words(gold, sentence) for gold in gold_sentences for sentence in sentences))
    if not shared:
        return Score(0.0, 0.0, 0.0)
    precision = len(shared) / len(set().union(*sentences))
    recall = len(shared) / len(set().union(*gold_sentences))
    return Score(precision, recall, 2 * precision * recall / (precision + recall))


def read_stemmer(preset: str, stemmer: bool | None) -> bool:
    """Return whether to stem: as given, else as the preset has it."""
    if preset not in PRESETS:
        raise ValueError(f"idl_rouge_l found the preset {preset!r}, but expected one of: {', '.join(PRESETS)}.")
    if stemmer not in (None, True, False):
        raise ValueError(f"idl_rouge_l expected `stemmer` to be True, False or None, but found {stemmer!r}.")
    if stemmer and preset == "dhap":
        raise ValueError('idl_rouge_l has no stemmer in the preset "dhap": leave `stemmer` out, or change `preset`.')
    return preset == "paper" if stemmer is None else stemmer


class Words:
    """A tokenizer as rouge_score takes it."""

    def __init__(self, words: Callable[[str], list[str]]) -> None:
        self.tokenize = words


def warn_of_lost_letters(texts: Sequence[str]) -> None:
    """Warn of texts of which rouge_score's own tokenizer leaves nothing: it knows the letters from a to z alone."""
    lost = sum(bool(LETTERS_LOST.fullmatch(text)) for text in texts)
    if lost:
        warnings.warn(
            f"idl_rouge_l counts the letters from a to z alone in this preset, as rouge_score does, and {lost} of "
            f'{len(texts)} texts have none. Give `tokenize`, e.g. "intl" for text with spaces.',
            stacklevel=2,
        )


@evaluate.utils.file_utils.add_start_docstrings(_DESCRIPTION, _KWARGS_DESCRIPTION)
class IdlRougeL(evaluate.Metric):
    """Mean ROUGE-L of responses and gold replies."""

    def _info(self) -> evaluate.MetricInfo:
        features = Features({"predictions": Value("string"), "references": Value("string")})
        urls = ["https://aclanthology.org/W04-1013", "https://arxiv.org/abs/2403.03102"]
        return evaluate.MetricInfo(_DESCRIPTION, _CITATION, features, _KWARGS_DESCRIPTION, reference_urls=urls)

    def add(self, *, prediction=None, reference=None, **kwargs):
        """Add one response and its gold reply."""
        self.add_batch(predictions=[prediction], references=[reference], **kwargs)

    def add_batch(self, *, predictions=None, references=None, **kwargs):
        """Add responses and, for each, its gold reply."""
        check_columns("idl_rouge_l", "text per response", predictions, references=references)
        check_each(str, predictions, "idl_rouge_l expected row {} of `predictions` to be a string")
        check_each(str, references, "idl_rouge_l expected row {} of `references` to be a string")
        evaluate.Metric.add_batch(self, predictions=predictions, references=references, **kwargs)

    def _compute(
        self,
        predictions: list[str],
        references: list[str],
        preset: str = "standard",
        stemmer: bool | None = None,
        tokenize: str | None = None,
    ) -> dict[str, float]:
        use_stemmer = read_stemmer(preset, stemmer)
        if stemmer and tokenize is not None:
            raise ValueError("idl_rouge_l has no stemmer for the words of `tokenize`: leave one of the two out.")
        if len(predictions) == 0:
            raise ValueError("idl_rouge_l expected at least one prediction, but found none.")
        if preset == "paper":
            predictions, references = references, predictions
        predictions, references = (list(map(plain, side)) for side in (predictions, references))
        texts = [*predictions, *references]
        words = word_splitter("idl_rouge_l", tokenize, texts)
        pairs = zip(predictions, references, strict=True)
        if preset == "dhap":
            scores = [dhap_score(" ".join(words(response)), " ".join(words(reply))) for response, reply in pairs]
        else:
            if tokenize is None:
                warn_of_lost_letters(texts)
            own = Words(words) if tokenize else None
            scorer = RougeScorer(["rougeL"], use_stemmer=use_stemmer and not tokenize, tokenizer=own)
            scores = [scorer.score(reply, response)["rougeL"] for response, reply in pairs]
        precision, recall, f1 = (math.fsum(column) / len(scores) for column in zip(*scores, strict=True))
        return {"rouge_l": f1, "precision": precision, "recall": recall}
