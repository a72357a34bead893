"""Identification: whether a model tells from a person's replies whose past dialogues they go with."""

import math
from collections.abc import Sized

import evaluate
import numpy as np
from datasets import Features, List, Value

from ._rows import candidate_scores, check_columns, check_each

_CITATION = """\
@article{cheng2024indialogues,
  title = {"In Dialogues We Learn": Towards Personalized Dialogue Without Pre-defined Profiles through In-Dialogue
    Learning},
  author = {Cheng, Chuanqi and Tu, Quan and Shang, Shuo and Mao, Cunli and Yu, Zhengtao and Wu, Wei and Yan, Rui},
  journal = {arXiv preprint arXiv:2403.03102}, year = {2024}}
@article{gneiting2007strictly, title = {Strictly Proper Scoring Rules, Prediction, and Estimation},
  author = {Gneiting, Tilmann and Raftery, Adrian E.}, journal = {Journal of the American Statistical Association},
  volume = {102}, number = {477}, pages = {359--378}, year = {2007}}
"""

_DESCRIPTION = """\
Identification scores the same replies under the past dialogues of several people, the one who said them among these.
Hits@1 is how often the replies are likeliest under that person's own; the log-loss is that of the softmax over the
people. A model that ignores the person has the log of their number, and what makes replies likelier or less likely
under everybody's references alike changes nothing.
"""

_KWARGS_DESCRIPTION = """
Args:
    predictions (`list[list[float]]`): for each decision, such as a dialogue, the total log-prob in nats of the
        person's replies, given the references of each candidate. Decisions may have different numbers of candidates,
        two or more.
    references (`list[int]`): for each decision the index of the candidate who said the replies, from 0 on.
Returns:
    hits@1 (`float`): share of the decisions in which the replies are likeliest under that candidate's references; a
        tie is no hit.
    log_loss (`float`): mean of minus the log of what the softmax over the totals gives that candidate, in nats.
    chance (`float`): the log-loss of a model that ignores the references: the mean log of the number of candidates.
    confidence (`float`): mean of what the softmax gives the likeliest candidate. Above hits@1 where a model is too
        sure of itself.
Raises:
    ValueError: for no decisions, less than two candidates, totals that are not finite numbers, indices out of range,
        or inputs of the wrong shape.
Examples:
    >>> import idl_hf
    >>> import evaluate
    >>> identification = evaluate.load("identification")
    >>> totals = [[-60.0, -62.0, -63.0], [-41.0, -40.0, -44.0]]
    >>> results = identification.compute(predictions=totals, references=[0, 0])
    >>> print({name: round(value, 4) for name, value in results.items()})
    {'hits@1': 0.5, 'log_loss': 0.7482, 'chance': 1.0986, 'confidence': 0.7826}
"""


@evaluate.utils.file_utils.add_start_docstrings(_DESCRIPTION, _KWARGS_DESCRIPTION)
class Identification(evaluate.Metric):
    """Hits@1 and log-loss over the people whose references replies are scored under."""

    def _info(self) -> evaluate.MetricInfo:
        features = Features({"predictions": List(Value("float64")), "references": Value("int64")})
        urls = ["https://arxiv.org/abs/2403.03102"]
        return evaluate.MetricInfo(_DESCRIPTION, _CITATION, features, _KWARGS_DESCRIPTION, reference_urls=urls)

    def add(self, *, prediction=None, reference=None, **kwargs):
        """Add the totals of one decision, and the index of the candidate who said the replies."""
        self.add_batch(predictions=[prediction], references=[reference], **kwargs)

    def add_batch(self, *, predictions=None, references=None, **kwargs):
        """Add the totals of several decisions, and for each the index of the candidate who said the replies."""
        check_columns("identification", "entry per decision", predictions, references=references)
        check_each(Sized, predictions, "identification expected prediction {} to be a list with a total per candidate")
        rows = []
        for row, pair in enumerate(zip(predictions, references, strict=True)):
            totals = candidate_scores("identification", row, *pair)
            if len(totals) < 2 or not all(map(math.isfinite, totals)):
                raise ValueError(
                    f"identification expected prediction {row} to hold the finite totals of two candidates or more, "
                    f"but found {totals}."
                )
            rows.append(totals)
        evaluate.Metric.add_batch(self, predictions=rows, references=references, **kwargs)

    def _compute(self, predictions: list[list[float]], references: list[int]) -> dict[str, float]:
        if len(predictions) == 0:
            raise ValueError("identification expected at least one prediction, but found none.")
        hits, losses, highest = [], [], []
        for totals, own in zip(predictions, references, strict=True):
            logs = np.subtract(totals, np.logaddexp.reduce(totals))
            hits.append(logs[own] > np.delete(logs, own).max())
            losses.append(-float(logs[own]))
            highest.append(math.exp(logs.max()))
        count = len(losses)
        return {
            "hits@1": sum(map(int, hits)) / count,
            "log_loss": math.fsum(losses) / count,
            "chance": math.fsum(math.log(len(totals)) for totals in predictions) / count,
            "confidence": math.fsum(highest) / count,
        }
