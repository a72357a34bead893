"""Coh. and Coh-Con.: whether responses contradict or entail the sentences of their person's profile."""

import math
from collections.abc import Iterable, Mapping, Sequence, Sized
from numbers import Integral, Real

import evaluate
from datasets import Features, List, Value

from ._rows import check_columns, check_each, plain

LABELS = ("contradiction", "neutral", "entailment")

_CITATION = """\
@article{cheng2024indialogues,
  title = {"In Dialogues We Learn": Towards Personalized Dialogue Without Pre-defined Profiles through In-Dialogue
    Learning},
  author = {Cheng, Chuanqi and Tu, Quan and Shang, Shuo and Mao, Cunli and Yu, Zhengtao and Wu, Wei and Yan, Rui},
  journal = {arXiv preprint arXiv:2403.03102}, year = {2024}}
@inproceedings{tang2023enhancing,
  title = {Enhancing Personalized Dialogue Generation with Contrastive Latent Variables: Combining Sparse and Dense
    Persona},
  author = {Tang, Yihong and Wang, Bo and Fang, Miao and Zhao, Dongming and Huang, Kun and He, Ruifang and Hou,
    Yuexian},
  booktitle = {Proceedings of the 61st Annual Meeting of the Association for Computational Linguistics (Volume 1: Long
    Papers)}, year = {2023}}
@inproceedings{madotto2019personalizing, title = {Personalizing Dialogue Agents via Meta-Learning},
  author = {Madotto, Andrea and Lin, Zhaojiang and Wu, Chien-Sheng and Fung, Pascale},
  booktitle = {Proceedings of the 57th Annual Meeting of the Association for Computational Linguistics},
  pages = {5454--5459}, year = {2019}}
"""

_DESCRIPTION = """\
Coh. and Coh-Con. ask a natural language inference (NLI) model, for every sentence of a person's profile, whether it
contradicts the response, entails it, or neither. Coh. is the share of pairs without a contradiction, Coh-Con. the
share with an entailment, as the released code of the In-Dialogue Learning paper computes them; shares by response and
the C-score come with them.
"""

_KWARGS_DESCRIPTION = """
Args:
    predictions (`list[str]`): the responses.
    profiles (`list[list[str]]`): for each response the persona sentences of its person.
    model (`str`, optional): an NLI model, from the Hub or a folder: any cross-encoder or sequence-classification model
        with the three labels contradiction, neutral and entailment. It reads (persona sentence, response).
    labels (`list[list]`, optional): instead of a model, what one said of each persona sentence of each response: a
        label by name, by number, or three probabilities, of which the largest counts (of equal ones, the first).
        `judge` of the loaded metric makes them.
    id2label (`dict[int, str]`, optional): what the numbers mean, e.g. {0: "contradiction", 1: "neutral", 2:
        "entailment"}. Models differ in it. By default that of the model's configuration.
    batch_size (`int`, defaults to 64): how many pairs the model reads at once, on a GPU if there is one.
Returns:
    coh (`float`): share of the pairs of persona sentence and response that are no contradiction, of all responses.
    coh_con (`float`): share of these pairs that are an entailment.
    response_coh, response_coh_con (`float`): mean over the responses of their own shares.
    any_entailed, any_contradicted (`float`): share of the responses that any persona sentence entails, or contradicts.
    c_score (`float`): mean over the responses of the number of entailments minus that of contradictions.
    n_without_profile (`int`): how many responses have no persona sentence. They count in none of the above.
Raises:
    ValueError: for both or neither of model and labels, labels whose meaning is unknown, no responses, no persona
        sentence at all, or inputs of the wrong shape.
Examples:
    >>> import idl_hf
    >>> import evaluate
    >>> coh_con = evaluate.load("coh_con")
    >>> results = coh_con.compute(
    ...     predictions=["i walk my dogs every day .", "i never had a pet ."],
    ...     profiles=[["i have two dogs .", "i live in texas ."], ["i have two dogs .", "i love country music ."]],
    ...     labels=[["entailment", "neutral"], ["contradiction", "neutral"]],
    ... )
    >>> for name, value in results.items():
    ...     print(name, value)
    coh 0.75
    coh_con 0.25
    response_coh 0.75
    response_coh_con 0.25
    any_entailed 0.5
    any_contradicted 0.5
    c_score 0.0
    n_without_profile 0
"""


def read_id2label(id2label: Mapping[int, str] | None, source: str) -> list[str] | None:
    """Return the three labels in the order of their numbers; `source` says in errors where they come from."""
    if id2label is None:
        return None
    names = [str(id2label.get(number)).lower() for number in range(3)] if isinstance(id2label, Mapping) else []
    if sorted(names) != sorted(LABELS) or len(id2label) != 3:
        raise ValueError(
            f"coh_con expected {source} to say which of 0, 1 and 2 is contradiction, neutral and entailment, "
            f'but found {id2label!r}. Give `id2label`, e.g. {{0: "contradiction", 1: "neutral", 2: "entailment"}}.'
        )
    return names


def read_label(label: str | int | Iterable[float], names: Sequence[str] | None, row: int) -> str:
    """Return the name of a label that was given by name, by number, or by three scores of which the largest counts."""
    if isinstance(label, str) and label.lower() in LABELS:
        return label.lower()
    if names is None and not isinstance(label, str):
        raise ValueError(
            "coh_con found labels given as numbers, which mean something else in each model. "
            'Give `id2label` too, e.g. {0: "contradiction", 1: "neutral", 2: "entailment"}.'
        )
    if isinstance(label, Iterable) and not isinstance(label, str):
        scores = list(label)
        if len(scores) == 3 and all(isinstance(score, Real) and not math.isnan(score) for score in scores):
            return names[scores.index(max(scores))]
    if isinstance(label, Integral) and not isinstance(label, bool) and 0 <= label < 3:
        return names[label]
    raise ValueError(
        f"coh_con expected each label of response {row} to be contradiction, neutral or entailment, a number from 0 "
        f"to 2, or three scores, but found {label!r}."
    )


def read_labels(
    labels: Iterable[Iterable], profiles: Sequence[Sequence[str]], id2label: Mapping[int, str] | None
) -> list[list[str]]:
    """Return by name the labels that were computed elsewhere, one for each persona sentence of each response."""
    names = read_id2label(id2label, "`id2label`")
    for value in [labels, *labels] if isinstance(labels, Sized) else [labels]:
        if isinstance(value, str) or not isinstance(value, Sized):
            raise ValueError(f"coh_con expected `labels` to be a list of lists, but found {value!r} in it.")
    if len(labels) != len(profiles):
        raise ValueError(f"coh_con expected labels for {len(profiles)} responses, but found them for {len(labels)}.")
    for row, (row_labels, profile) in enumerate(zip(labels, profiles, strict=True)):
        if len(row_labels) != len(profile):
            raise ValueError(
                f"coh_con expected a label for each of the {len(profile)} persona sentences of response {row}, "
                f"but found {len(row_labels)}."
            )
    return [[read_label(label, names, row) for label in row_labels] for row, row_labels in enumerate(labels)]


def run_model(
    predictions: Sequence[str],
    profiles: Sequence[Sequence[str]],
    model: str,
    id2label: Mapping[int, str] | None = None,
    batch_size: int = 64,
) -> list[list[str]]:
    """Return the model's labels of each response. Equal pairs are read once, those of like length together."""
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    device = "cuda" if torch.cuda.is_available() else "cpu"
    tokenizer = AutoTokenizer.from_pretrained(model, trust_remote_code=False)
    # Weights in a pickle may run code
    network = AutoModelForSequenceClassification.from_pretrained(model, trust_remote_code=False, use_safetensors=True)
    network = network.float().eval().to(device)
    source = "`id2label`" if id2label else f"`id2label` in the configuration of the model '{model}'"
    names = read_id2label(id2label or network.config.id2label, source)
    rows = [(plain(text), list(map(plain, profile))) for text, profile in zip(predictions, profiles, strict=True)]
    pairs = {(sentence, response) for response, profile in rows for sentence in profile}
    queue = sorted(pairs, key=lambda pair: (len(pair[0]) + len(pair[1]), pair))
    labels: dict[tuple[str, str], str] = {}
    for start in range(0, len(queue), batch_size):
        batch = queue[start : start + batch_size]
        first, second = map(list, zip(*batch, strict=True))
        inputs = tokenizer(first, second, padding=True, truncation=True, max_length=128, return_tensors="pt")
        with torch.inference_mode():
            best = network(**inputs.to(device)).logits.argmax(-1).tolist()
        labels |= {pair: names[number] for pair, number in zip(batch, best, strict=True)}
    return [[labels[sentence, response] for sentence in profile] for response, profile in rows]


def aggregate(judgements: Sequence[Sequence[str]]) -> dict[str, float]:
    """Return all values from the labels of each response's persona sentences."""
    rows = [labels for labels in judgements if labels]
    if not rows:
        raise ValueError("coh_con expected at least one response with a persona sentence, but all profiles are empty.")
    pairs = [label for labels in rows for label in labels]

    def mean(values: Iterable[float]) -> float:
        return math.fsum(values) / len(rows)

    return {
        "coh": 1 - pairs.count("contradiction") / len(pairs),
        "coh_con": pairs.count("entailment") / len(pairs),
        "response_coh": mean(1 - labels.count("contradiction") / len(labels) for labels in rows),
        "response_coh_con": mean(labels.count("entailment") / len(labels) for labels in rows),
        "any_entailed": mean("entailment" in labels for labels in rows),
        "any_contradicted": mean("contradiction" in labels for labels in rows),
        "c_score": mean(labels.count("entailment") - labels.count("contradiction") for labels in rows),
        "n_without_profile": len(judgements) - len(rows),
    }


def check_rows(predictions: Iterable[str], profiles: Iterable[Iterable[str]]) -> None:
    """Raise ValueError for the wrong shapes that `datasets` would turn into strings without a word."""
    check_columns("coh_con", "entry per response", predictions, profiles=profiles)
    check_each(str, predictions, "coh_con expected prediction {} to be a string")
    check_each(Sized, profiles, "coh_con expected profile {} to be a list of sentences")
    for row, profile in enumerate(profiles):
        check_each(str, profile, f"coh_con expected the sentences of profile {row} to be strings")


@evaluate.utils.file_utils.add_start_docstrings(_DESCRIPTION, _KWARGS_DESCRIPTION)
class CohCon(evaluate.Metric):
    """Contradictions and entailments between persona sentences and responses."""

    def _info(self) -> evaluate.MetricInfo:
        features = Features({"predictions": Value("string"), "profiles": List(Value("string"))})
        urls = ["https://arxiv.org/abs/2403.03102", "https://aclanthology.org/P19-1542"]
        return evaluate.MetricInfo(_DESCRIPTION, _CITATION, features, _KWARGS_DESCRIPTION, reference_urls=urls)

    @staticmethod
    def judge(predictions: list[str], profiles: list[list[str]], model: str, **options) -> list[list[str]]:
        """Make the labels that `compute(labels=...)` takes; options are id2label and batch_size."""
        check_rows(predictions, profiles)
        return run_model(predictions, profiles, model, **options)

    def add(self, *, prediction=None, profiles=None, **kwargs):
        """Add one response and the persona sentences of its person."""
        self.add_batch(predictions=[prediction], profiles=[profiles], **kwargs)

    def add_batch(self, *, predictions=None, profiles=None, **kwargs):
        """Add responses and, for each, the persona sentences of its person."""
        check_rows(predictions, profiles)
        evaluate.Metric.add_batch(self, predictions=predictions, profiles=profiles, **kwargs)

    def _compute(
        self,
        predictions: list[str],
        profiles: list[list[str]],
        model: str | None = None,
        labels: Iterable[Iterable[str | int | Iterable[float]]] | None = None,
        id2label: Mapping[int, str] | None = None,
        batch_size: int = 64,
    ) -> dict[str, float]:
        if (model is None) == (labels is None):
            given = "neither" if model is None else "both"
            raise ValueError(f"coh_con expected either a `model` or `labels` that one gave, but found {given}.")
        if len(predictions) == 0:
            raise ValueError("coh_con expected at least one prediction, but found none.")
        if labels is not None:
            return aggregate(read_labels(labels, profiles, id2label))
        return aggregate(run_model(predictions, profiles, model, id2label, batch_size))
