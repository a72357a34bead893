"""Persona triples: how right the facts are that an extractor read out of sentences."""

import re
from collections.abc import Sequence

import evaluate
from datasets import Features, Value

from ._rows import check_columns, check_each, plain

# Strict: a broken triple cannot swallow the next one on its line, as a lazy <.*?,.*?,.*?> lets it
BRACKETS = re.compile(r"<([^<>\n]*)>")

_CITATION = """\
@article{cheng2024indialogues,
  title = {"In Dialogues We Learn": Towards Personalized Dialogue Without Pre-defined Profiles through In-Dialogue
    Learning},
  author = {Cheng, Chuanqi and Tu, Quan and Shang, Shuo and Mao, Cunli and Yu, Zhengtao and Wu, Wei and Yan, Rui},
  journal = {arXiv preprint arXiv:2403.03102}, year = {2024}}
@inproceedings{zhu2023paed, title = {PAED: Zero-Shot Persona Attribute Extraction in Dialogues},
  author = {Zhu, Luyao and Li, Wei and Mao, Rui and Pandelea, Vlad and Cambria, Erik},
  booktitle = {Proceedings of the 61st Annual Meeting of the Association for Computational Linguistics (Volume 1: Long
    Papers)}, year = {2023}}
"""

_DESCRIPTION = """\
Persona triples compares the facts that a persona extractor wrote, as `<object, relation, subject>`, with those it
should have written: by whole samples and by triples in their places, as the In-Dialogue Learning paper does, and by
sets of triples and of objects.
"""

_KWARGS_DESCRIPTION = """
Args:
    predictions (`list[str]`): what the extractor wrote for each sample. Anything but well-formed triples
        `<object, relation, subject>` is passed over. Only the object may hold commas.
    references (`list[str]`): the right triples of each sample, in the same format, in the order of its sentences. `<>`
        or an empty text stands for nothing.
Returns:
    sample_accuracy (`float`): share of the samples whose triples are all right, complete and in order.
    triple_accuracy (`float`): share of the expected triples that were predicted at their place in the sample.
    precision (`float`): share of the predicted triples that are right, in any order, of all samples together. A triple
        that occurs twice in a sample counts once.
    recall (`float`): share of the expected triples that were found, likewise.
    f1 (`float`): of these two.
    object_f1 (`float`): the same of the objects alone.
        All are in [0, 1]. Where there was nothing to find and nothing was found, a value is 1.
Raises:
    ValueError: for no predictions, inputs of the wrong shape, or a reference with anything but triples in it.
Examples:
    >>> import idl_hf
    >>> import evaluate
    >>> persona_triples = evaluate.load("persona_triples")
    >>> predictions = ["<two dogs, have_pet, i>\\n<texas, want, i>", "<nurse, has_profession, i>"]
    >>> references = ["<two dogs, have_pet, i>\\n<texas, live_in_general, i>", "<nurse, has_profession, i>"]
    >>> results = persona_triples.compute(predictions=predictions, references=references)
    >>> print({name: round(value, 2) for name, value in results.items()})
    {'sample_accuracy': 0.5, 'triple_accuracy': 0.67, 'precision': 0.67, 'recall': 0.67, 'f1': 0.67, 'object_f1': 1.0}
"""


def parse(text: str) -> list[tuple[str, str, str]]:
    """Return (object, relation, subject) of each well-formed triple in plain text; those with an empty element are
    left out."""
    split = (tuple(part.strip() for part in body.rsplit(",", 2)) for body in BRACKETS.findall(plain(text)))
    return [elements for elements in split if len(elements) == 3 and all(elements)]


def share(part: int, whole: int, other: int = 0) -> float:
    """Return part / whole; of nothing it is 1, unless the other side has something."""
    return part / whole if whole else float(other == 0)


def overlap(predicted: Sequence[set], expected: Sequence[set]) -> dict[str, float]:
    """Return precision, recall and F1 of the sets of all samples together."""
    shared = sum(len(theirs & right) for theirs, right in zip(predicted, expected, strict=True))
    all_predicted, all_expected = sum(map(len, predicted)), sum(map(len, expected))
    return {
        "precision": share(shared, all_predicted, all_expected),
        "recall": share(shared, all_expected, all_predicted),
        "f1": share(2 * shared, all_predicted + all_expected),
    }


@evaluate.utils.file_utils.add_start_docstrings(_DESCRIPTION, _KWARGS_DESCRIPTION)
class PersonaTriples(evaluate.Metric):
    """Accuracy, and precision and recall, of the triples that an extractor wrote."""

    def _info(self) -> evaluate.MetricInfo:
        features = Features({"predictions": Value("string"), "references": Value("string")})
        urls = ["https://arxiv.org/abs/2403.03102"]
        return evaluate.MetricInfo(_DESCRIPTION, _CITATION, features, _KWARGS_DESCRIPTION, reference_urls=urls)

    def add(self, *, prediction=None, reference=None, **kwargs):
        """Add what the extractor wrote for one sample, and the right triples."""
        self.add_batch(predictions=[prediction], references=[reference], **kwargs)

    def add_batch(self, *, predictions=None, references=None, **kwargs):
        """Add what the extractor wrote for several samples, and for each the right triples."""
        check_columns("persona_triples", "text per sample", predictions, references=references)
        check_each(str, predictions, "persona_triples expected row {} of `predictions` to be a string")
        check_each(str, references, "persona_triples expected row {} of `references` to be a string")
        for row, text in enumerate(references):
            meant = [body for body in BRACKETS.findall(text) if body.strip()]
            if BRACKETS.sub("", text).strip() or len(parse(text)) < len(meant):
                raise ValueError(
                    f"persona_triples expected reference {row} to hold nothing but triples "
                    f"<object, relation, subject>, or <> for none, but found {text[:80]!r}."
                )
        evaluate.Metric.add_batch(self, predictions=predictions, references=references, **kwargs)

    def _compute(self, predictions: list[str], references: list[str]) -> dict[str, float]:
        if len(predictions) == 0:
            raise ValueError("persona_triples expected at least one prediction, but found none.")
        predicted, expected = ([parse(text) for text in column] for column in (predictions, references))
        pairs = list(zip(predicted, expected, strict=True))
        in_place = sum(a == b for theirs, right in pairs for a, b in zip(theirs, right, strict=False))
        objects = ([{triple[0] for triple in triples} for triples in column] for column in (predicted, expected))
        return {
            "sample_accuracy": sum(theirs == right for theirs, right in pairs) / len(pairs),
            "triple_accuracy": share(in_place, sum(map(len, expected)), sum(map(len, predicted))),
            **overlap([set(triples) for triples in predicted], [set(triples) for triples in expected]),
            "object_f1": overlap(*objects)["f1"],
        }
