"""Whether a model knows a person by their past dialogues: replies of held-out dialogues, scored under those of the
person and under those of strangers."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from datasets import Dataset

from idl_hf.evaluation.measured_model import MeasuredModel
from idl_hf.models.likelihood import SummedNLL
from idl_hf.prompting import render, render_replies
from idl_hf.report.statistics import Estimate, mean_over_people
from idl_hf.rows.options import RowOptions
from idl_hf.rows.people import People
from idl_hf.rows.references import choose_for_context, context_of
from idl_hf.schema import Dialogue, Person
from idl_hf.training.data import fit_rows


@dataclass(frozen=True)
class Likeness:
    """What the held-out dialogues of one person say of a model; means are over dialogues, each counted once."""

    own_nll: float  # nats per token, given the person's past dialogues
    other_nll: float  # given a stranger's, the mean over strangers
    gain: Estimate  # other_nll - own_nll, with an interval over dialogues
    hits: float  # share of dialogues that are likeliest given the person's own past
    people: int  # the person and the strangers
    dialogues: int


def lineup_rows(
    held_out: Sequence[Dialogue], candidates: Sequence[Person], people: People, options: RowOptions
) -> Dataset:
    """Return the rows of each dialogue, all its replies given the past of each candidate, dialogue by dialogue.

    The references of a candidate are those that a chat would choose, and of all candidates as many as of the one with
    the fewest, so that length and format tell nobody. Nothing after the first thing that is predicted steers them.
    """
    options = replace(options, reply="all")
    rows = []
    for dialogue in held_out:
        context = context_of(dialogue, options)
        chosen = [choose_for_context(candidate, context, people, options) for candidate in candidates]
        fewest = min(map(len, chosen))
        for candidate, references in zip(candidates, chosen, strict=True):
            shown = [past.turns for past in references[len(references) - fewest :]]
            prompt = render(shown, context, own_turns=options.own_turns)
            rows.append({
                "prompt": prompt.messages,
                "completion": render_replies(dialogue.turns[len(context) : dialogue.replies()[-1][1]]),
                "dialogue_starts": prompt.starts,
                "person_id": dialogue.person_id,
                "dialogue_id": dialogue.dialogue_id,
                "given": candidate.person_id,
            })  # fmt: skip
    return Dataset.from_list(rows)


def measure_likeness(model: MeasuredModel, rows: Dataset, max_prompt_tokens: int, candidates: int) -> Likeness:
    """Return the likeness from the rows of `lineup_rows`. candidates: how many there are; the first is the person.

    Where a prompt exceeds the budget, all prompts of its dialogue lose as many references.
    """
    fitted = fit_rows(rows, model.tokenizer, max_prompt_tokens, model.positions, per_dialogue=True)
    scored = model.scores(fitted, "held-out dialogues")
    names = rows["dialogue_id"][::candidates]
    return _likeness(names, [scored[i : i + candidates] for i in range(0, len(scored), candidates)])


def _likeness(names: Sequence[str], scored: Sequence[Sequence[SummedNLL]]) -> Likeness:
    """Return the likeness from the scores of each dialogue, those given the person's own past first."""
    nats = np.array([[score.nll / score.tokens for score in of_dialogue] for of_dialogue in scored])
    own, others = nats[:, 0], nats[:, 1:].mean(axis=1)
    gain = mean_over_people(dict(zip(names, others - own, strict=True)))
    hits = (own < nats[:, 1:].min(axis=1)).mean()
    return Likeness(float(own.mean()), float(others.mean()), gain, float(hits), nats.shape[1], len(nats))
