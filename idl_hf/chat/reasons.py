"""Which past lines a reply leans on: by how much its log-prob falls when they are left out of the prompt.

Exact and of the model itself: a prompt without the line is rendered anew, as if the line had never been said, and the
reply is scored under it. No attention weights, no gradients. A fact that two lines tell is missed little when one of
them is left out; that is what the model does, not an error.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from idl_hf import prompting
from idl_hf.models.likelihood import shared_logprobs
from idl_hf.models.responder import LocalModel
from idl_hf.schema import Dialogue, Role, Turn

Shown = Sequence[Sequence[Turn]]  # the turns of each reference


@dataclass(frozen=True)
class Reason:
    """A line of a past dialogue, and by how many nats the log-prob of a reply falls without it.

    turn: the place of the line in its dialogue. dialogue_fall: by how much it falls without the whole dialogue. Below
    0 the reply is likelier without.
    """

    dialogue_id: str
    turn: int
    role: Role
    text: str
    fall: float
    dialogue_fall: float


def reasons(
    model: LocalModel,
    references: Sequence[Dialogue],
    context: Sequence[Turn],
    reply: str,
    dialogues: int | None,
    own_turns: bool = False,
) -> list[Reason]:
    """Return the lines of the references, those first that the reply leans on most.

    Whole references are left out first; the lines are those of the `dialogues` references without which the reply is
    least likely (None: of all). Without a line its neighbours of one role are one message, as everywhere. own_turns:
    the prompt shows of the references only what the person says, and these are the lines.
    """
    whole = [reference.turns for reference in references]
    without = [[*whole[:i], *whole[i + 1 :]] for i in range(len(whole))]
    base, *others = _logprobs(model, [whole, *without], context, reply, own_turns)
    falls = [base - other for other in others]
    leaned_on = sorted(range(len(falls)), key=lambda i: -falls[i])[:dialogues]
    lines = [(i, j) for i in leaned_on for j, turn in enumerate(whole[i]) if turn.role == "self" or not own_turns]
    shortened = [[*whole[:i], whole[i][:j] + whole[i][j + 1 :], *whole[i + 1 :]] for i, j in lines]
    logprobs = _logprobs(model, shortened, context, reply, own_turns)
    found = [
        Reason(
            dialogue_id=references[i].dialogue_id,
            turn=j,
            role=whole[i][j].role,
            text=whole[i][j].text,
            fall=base - logprob,
            dialogue_fall=falls[i],
        )
        for (i, j), logprob in zip(lines, logprobs, strict=True)
    ]
    return sorted(found, key=lambda reason: -reason.fall)


def _logprobs(
    model: LocalModel, shown: Sequence[Shown], context: Sequence[Turn], reply: str, own_turns: bool
) -> list[float]:
    prompts = [prompting.render(references, context, own_turns=own_turns).messages for references in shown]
    return shared_logprobs(model.model, model.tokenizer, prompts, reply)
