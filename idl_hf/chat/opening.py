"""What a conversation begins with before anybody has said a word. Imports nothing heavy."""

from collections.abc import Sequence
from typing import NamedTuple

from idl_hf import prompting
from idl_hf.prompting import CountTokens
from idl_hf.schema import Dialogue, Message, Turn

_FIRST = Turn("partner", "hello")  # in place of a first message, so that there is a prompt to count


class Opening(NamedTuple):
    """The past dialogues of a person as messages that end with the person's."""

    messages: list[Message]
    references: list[Dialogue]  # in prompt order
    dropped: int  # references that the budget has no room for
    left_out: str  # what the partner said last, and nobody answered


def opening_of(
    references: Sequence[Dialogue], max_tokens: float, count_tokens: CountTokens, own_turns: bool = False
) -> Opening:
    """Return what a chat sends before the first message, within a budget with a short one; own_turns: as `render`
    takes it.

    A chat would join the first message to what the partner said last in the last dialogue, where nobody answered that.
    Other programs send messages as they are, so it is left out. Raises ValueError where no reference is left.
    """
    prompt = prompting.render([reference.turns for reference in references], [_FIRST], own_turns=own_turns)
    fitted = prompting.fit_to_budget(prompt.messages, prompt.starts, max_tokens, count_tokens)
    *messages, last = fitted.messages
    if not messages:
        shown = f"none of {len(references)} keeps" if references else "the person has none that could keep"
        raise ValueError(
            f"There is no past dialogue to begin with: {shown} within {max_tokens:g} tokens. Add dialogues of the "
            "person, or raise the budget."
        )
    left_out = last["content"].removesuffix(_FIRST.text).rstrip("\n")
    return Opening(messages, list(references[fitted.dropped :]), fitted.dropped, left_out)
