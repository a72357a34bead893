"""The one renderer: references and context to chat messages, and messages to tokens.
Training, evaluation and chat all call it, so they cannot drift apart. Partner -> user, self -> assistant."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from idl_hf.schema import Message, Turn
from idl_hf.token_ids import encode, prompt_ids

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

__all__ = [
    "OWN_TURNS", "SILENCE", "Fitted", "Prompt", "drop_references", "encode", "fit_to_budget", "prompt_ids", "render",
    "render_replies", "split_prompt", "token_counter",
]  # fmt: skip
SILENCE = "__SILENCE__"  # ConvAI2's own convention for a partner who has not spoken yet
# Paper A.1
PROFILE_PROMPT = "Here are your persona settings, your reply must be consistent with the persona: {profile}"
OWN_TURNS = "You have said this before:"
_SILENT = Turn("partner", SILENCE)
_CHAT_ROLE = {"partner": "user", "self": "assistant"}
CountTokens = Callable[[Sequence[Message]], int]
Start = dict[str, int]  # {"message": index, "char": offset in its content}


@dataclass(frozen=True, slots=True)
class Prompt:
    """Messages that strictly alternate and end with the user's."""

    messages: list[Message]
    starts: list[Start]  # where each reference, and last the current dialogue, begins, to drop references later


class Fitted(NamedTuple):
    """What is left of a prompt's messages without its first references, and how many of these were dropped."""

    messages: list[Message]
    dropped: int


def render(
    references: Sequence[Sequence[Turn]],
    context: Sequence[Turn] = (),
    profile: Sequence[str] = (),
    system: str = "",
    own_turns: bool = False,
) -> Prompt:
    """Return one long conversation: the references in order, then the current dialogue up to the reply (paper Eq. 1).
    Neighbours of one role are joined by a newline. Where the person opens the first dialogue or the current one, the
    partner's message is SILENCE. A profile becomes the paper's system prompt; `system` is an instruction of another.
    own_turns: of the references only what the person says is shown, a line each, at the end of the system prompt."""
    messages: list[Message] = []
    begun: list[Start | None] = []
    if system := PROFILE_PROMPT.format(profile=" ".join(profile)) if profile else system:
        messages.append({"role": "system", "content": system})
    if own_turns and references:
        begun += _list_own_turns(messages, references)
        references = []
    for dialogue in references:
        opens = bool(dialogue) and dialogue[0].role == "self" and (not messages or messages[-1]["role"] == "system")
        begun.append(_append_dialogue(messages, [_SILENT, *dialogue] if opens else dialogue))
    opens = not context or context[0].role == "self"
    begun.append(_append_dialogue(messages, [_SILENT, *context] if opens else context))
    if messages[-1]["role"] != "user":
        raise ValueError(
            "The context must end with the partner's utterance, to which the person replies; it ends with the "
            f"person's own: '{context[-1].text}'."
        )
    starts: list[Start] = []
    for start in reversed(begun):  # a dialogue without turns starts where the next one does
        starts.insert(0, start or starts[0])
    return Prompt(messages, starts)


def _list_own_turns(messages: list[Message], references: Sequence[Sequence[Turn]]) -> list[Start | None]:
    """Put what the person says in the references at the end of the system message, and return where each starts."""
    content = "".join(f"{message['content']}\n\n" for message in messages) + OWN_TURNS
    begun: list[Start | None] = []
    for dialogue in references:
        # A turn of several lines must not look like several turns
        lines = ["\n- " + turn.text.replace("\n", "\n  ") for turn in dialogue if turn.role == "self"]
        begun.append({"message": 0, "char": len(content) + 1} if lines else None)
        content += "".join(lines)
    if any(begun):
        messages[:] = [{"role": "system", "content": content}]
    return begun


def render_replies(turns: Sequence[Turn]) -> list[Message]:
    """Return the completion: the person's reply, and in `reply="all"` the rest of the dialogue."""
    messages: list[Message] = []
    _append_dialogue(messages, turns)
    return messages


def _append_dialogue(messages: list[Message], turns: Sequence[Turn]) -> Start | None:
    """Append the turns to the messages and return where they start, None where there are none."""
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
    messages: Sequence[Message], starts: Sequence[Start], max_tokens: float, count_tokens: CountTokens
) -> Fitted:
    """Drop whole references, the first (farthest from the reply) before the others, until the prompt fits.
    The current dialogue is never cut, so that a prompt with no reference left may still exceed `max_tokens`."""
    for dropped in range(len(starts)):
        kept = drop_references(messages, starts, dropped)
        if count_tokens(kept) <= max_tokens:
            break
    return Fitted(kept, dropped)


def drop_references(messages: Sequence[Message], starts: Sequence[Start], count: int) -> list[Message]:
    """Return the prompt as it would have been rendered without its first `count` references, a system message kept."""
    if count == 0:
        return list(messages)
    start = starts[count]
    if messages[0]["role"] == "system" and starts[0]["message"] == 0:  # what the person says is listed there
        return [*_without_lines(messages[0]["content"], starts[0], start), *messages[1:]]
    first = messages[start["message"]]
    kept = [{**first, "content": first["content"][start["char"] :]}, *messages[start["message"] + 1 :]]
    if first["role"] == "assistant":
        kept.insert(0, {"role": "user", "content": SILENCE})
    return [messages[0], *kept] if messages[0]["role"] == "system" else kept


def _without_lines(content: str, first: Start, start: Start) -> list[Message]:
    """Return the system message without the lines between two starts; none where nothing is left of it."""
    head = content[: first["char"]]
    if start["message"] == 0:
        return [{"role": "system", "content": head + content[start["char"] :]}]
    instruction = head.removesuffix(f"{OWN_TURNS}\n").removesuffix("\n\n")
    return [{"role": "system", "content": instruction}] if instruction else []


def split_prompt(messages: Sequence[Message], starts: Sequence[Start]) -> list[list[Message]]:
    """Return the messages of each reference, and last of the current dialogue; one that two share is cut in two."""
    parts = []
    for start, end in zip(starts, [*starts[1:], {"message": len(messages), "char": 0}], strict=True):
        part = []
        for i in range(start["message"], end["message"] + (end["char"] > 0)):
            first = start["char"] if i == start["message"] else 0
            last = end["char"] - 1 if i == end["message"] else None  # before the newline that joins them
            part.append({**messages[i], "content": messages[i]["content"][first:last]})
        parts.append(part)
    return parts


def token_counter(tokenizer: "PreTrainedTokenizerBase") -> CountTokens:
    """Return a function that counts the tokens which the chat template makes of a prompt."""
    return lambda messages: len(prompt_ids(tokenizer, messages))
