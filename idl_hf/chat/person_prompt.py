"""The prompt of a conversation with a person, for a chat and for a server alike."""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

from transformers import PretrainedConfig, PreTrainedTokenizerBase

from idl_hf import prompting
from idl_hf.models.limits import position_count
from idl_hf.schema import Dialogue, Message, Turn


class PersonPrompt(NamedTuple):
    """A prompt, the references that were chosen for it, and how many of these, the first ones, it has no room for."""

    messages: list[Message]
    references: list[Dialogue]
    dropped: int


def person_prompt(
    choose: Callable[[], Sequence[Dialogue]],
    context: Sequence[Turn],
    tokenizer: PreTrainedTokenizerBase,
    config: PretrainedConfig,
    max_prompt_tokens: int,
    max_new_tokens: int,
    system: str = "",
    own_turns: bool = False,
) -> PersonPrompt:
    """Return the prompt of references and a conversation, without the first references where it would be too long.

    choose: returns the references, and is called once it is known that the conversation is not too long. system: an
    instruction that goes before everything. own_turns: as `render` takes it. Raises ValueError where the conversation
    alone, with the reply, takes more than the positions that a model of this config has.
    """
    tokens_of = prompting.token_counter(tokenizer)
    positions = position_count(config) or math.inf
    budget = min(max_prompt_tokens, positions - max_new_tokens)
    # A conversation may be as long as somebody likes: it is counted once, not with each number of references
    alone = prompting.render([], context, system=system).messages
    if (length := tokens_of(alone)) + max_new_tokens > positions:
        raise ValueError(
            f"The conversation takes {length} tokens and a reply up to {max_new_tokens}, but the model has "
            f"{positions} positions. Begin a new conversation, or ask for a shorter reply."
        )
    references = list(choose())
    if length > budget:
        return PersonPrompt(alone, references, len(references))
    prompt = prompting.render([past.turns for past in references], context, system=system, own_turns=own_turns)
    fitted = prompting.fit_to_budget(prompt.messages, prompt.starts, budget, tokens_of)
    return PersonPrompt(fitted.messages, references, fitted.dropped)
