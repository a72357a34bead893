"""The one renderer: references and context to chat messages, and messages to tokens.

Training, evaluation and chat all call it, so they cannot drift apart. Partner -> user, self -> assistant.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from idl_hf.schema import Message, Turn

SILENCE = "__SILENCE__"  # ConvAI2's own convention for a partner who has not spoken yet
PROFILE_PROMPT = (
    "Here are your persona settings, your reply must be consistent with the persona: {profile}"  # paper A.1
)
_SILENT = Turn("partner", SILENCE)
_CHAT_ROLE = {"partner": "user", "self": "assistant"}
Start = dict[str, int]  # {"message": index, "char": offset in its content}


@dataclass(frozen=True, slots=True)
class Prompt:
    """Messages that strictly alternate and end with the user's. `starts`: where each reference, and last the current
    dialogue, begins, so that whole references can be dropped later."""

    messages: list[Message]
    starts: list[Start]


def render(references: Sequence[Sequence[Turn]], context: Sequence[Turn] = (), profile: Sequence[str] = ()) -> Prompt:
    """One long conversation: the references in order, then the current dialogue up to the reply (paper Eq. 1).

    Neighbours of one role are joined by a newline. Where the person opens the first dialogue or the current one, the
    partner's message is SILENCE. A profile becomes the paper's system prompt.
    """
    messages: list[Message] = []
    found: list[Start | None] = []
    if profile:
        messages.append({"role": "system", "content": PROFILE_PROMPT.format(profile=" ".join(profile))})
    for dialogue in references:
        opens = bool(dialogue) and dialogue[0].role == "self" and (not messages or messages[-1]["role"] == "system")
        found.append(_append_dialogue(messages, [_SILENT, *dialogue] if opens else dialogue))
    opens = not context or context[0].role == "self"
    found.append(_append_dialogue(messages, [_SILENT, *context] if opens else context))
    if messages[-1]["role"] != "user":
        raise ValueError(
            "The context must end with the partner's utterance, to which the person replies; it ends with the "
            f"person's own: '{context[-1].text}'."
        )
    starts: list[Start] = []
    for start in reversed(found):  # a dialogue without turns starts where the next one does
        starts.insert(0, start or starts[0])
    return Prompt(messages, starts)


def render_replies(turns: Sequence[Turn]) -> list[Message]:
    """The completion: the person's reply, and in `reply="all"` the rest of the dialogue."""
    messages: list[Message] = []
    _append_dialogue(messages, turns)
    return messages


def _append_dialogue(messages: list[Message], turns: Sequence[Turn]) -> Start | None:
    start: Start | None = None
    for turn in turns:
        role = _CHAT_ROLE[turn.role]
        if messages and messages[-1]["role"] == role:
            start = start or {"message": len(messages) - 1, "char": len(messages[-1]["content"]) + 1}
            messages[-1]["content"] += "\n" + turn.text
        else:
            start = start or {"message": len(messages), "char": 0}
            messages.append({"role": role, "content": turn.text})
    return start


def fit_to_budget(
    messages: Sequence[Message], starts: Sequence[Start], max_tokens: int, count_tokens: Callable[[Any], int]
) -> tuple[list[Message], int]:
    """Drops whole references, the first (farthest from the reply) before the others, until the prompt fits.

    Returns the messages and how many references were dropped. The current dialogue is never cut, so that a prompt with
    no reference left may still exceed `max_tokens`.
    """
    for dropped in range(len(starts)):
        kept = drop_references(messages, starts, dropped)
        if count_tokens(kept) <= max_tokens:
            break
    return kept, dropped


def drop_references(messages: Sequence[Message], starts: Sequence[Start], count: int) -> list[Message]:
    """The prompt as it would have been rendered without its first `count` references; a system message stays."""
    if count == 0:
        return list(messages)
    start = starts[count]
    first = messages[start["message"]]
    kept = [{**first, "content": first["content"][start["char"] :]}, *messages[start["message"] + 1 :]]
    if first["role"] == "assistant":
        kept.insert(0, {"role": "user", "content": SILENCE})
    return [messages[0], *kept] if messages[0]["role"] == "system" else kept


def token_counter(tokenizer: Any) -> Callable[[Sequence[Message]], int]:
    """How many tokens the chat template makes of a prompt."""
    return lambda messages: len(prompt_ids(tokenizer, messages))


def prompt_ids(tokenizer: Any, messages: Sequence[Message]) -> list[int]:
    text = tokenizer.apply_chat_template(list(messages), tokenize=False, add_generation_prompt=True)
    return tokenizer(text, add_special_tokens=False)["input_ids"]


def encode(tokenizer: Any, prompt: Sequence[Message], completion: Sequence[Message]) -> dict[str, list[int]]:
    """Tokens of a row, with 1 in `completion_mask` on the person's replies and their end-of-turn token, else 0.

    With several replies (`reply="all"`) the partner's utterances between them are masked out.
    Raises ValueError where the chat template does not render a conversation as a prefix of its continuation.
    """
    messages = [*prompt, *completion]
    text = tokenizer.apply_chat_template(messages, tokenize=False)
    encoded = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
    mask = [0] * len(encoded["input_ids"])
    for i in range(len(prompt), len(messages)):
        if messages[i]["role"] != "assistant":
            continue
        head = tokenizer.apply_chat_template(messages[:i], tokenize=False, add_generation_prompt=True)
        tail = tokenizer.apply_chat_template(messages[: i + 1], tokenize=False)
        if not (text.startswith(head) and text.startswith(tail.rstrip()) and tail.startswith(head)):
            raise ValueError(
                "The tokenizer's chat template renders the start of a conversation differently once it goes on, so the "
                "person's replies cannot be located in it. Set a template that appends messages without changing "
                "earlier ones."
            )
        for position, (begin, end) in enumerate(encoded["offset_mapping"]):
            if begin >= len(head) and end <= len(tail.rstrip()) and end > begin:
                mask[position] = 1
    return {"input_ids": encoded["input_ids"], "completion_mask": mask}
