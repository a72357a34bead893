"""Messages to token ids, so that what is learnt is what is sent, no content is a control token, and replies end."""

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from contextlib import suppress
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

from idl_hf.chat_template import (
    GUARD,
    before_content,
    control_ids,
    conversation,
    guarded,
    reply_head,
)
from idl_hf.schema import Message

if TYPE_CHECKING:
    from transformers import GenerationConfig, PreTrainedTokenizerBase


def prompt_ids(tokenizer: "PreTrainedTokenizerBase", messages: Sequence[Message], **options: Any) -> list[int]:
    """Return the tokens of a prompt, up to where the reply begins; no content becomes a control token.
    options: of `apply_chat_template`. Raises ValueError where the chat template refuses the messages."""
    return _ids(tokenizer, reply_head(tokenizer, messages, **options))


def encode(
    tokenizer: "PreTrainedTokenizerBase", prompt: Sequence[Message], completion: Sequence[Message]
) -> dict[str, list[int]]:
    """Return the tokens of a row, with 1 in `completion_mask` on the person's replies and the token that ends each.
    It is 0 elsewhere: with several replies (`reply="all"`) the partner's utterances between them are masked out.
    The tokens before each reply are those of `prompt_ids`. Raises ValueError where the chat template or the vocabulary
    does not allow that."""
    continued = continue_prompt(tokenizer, prompt, [completion])
    [after], controls = continued.after, control_ids(tokenizer)
    mask = [0] * len(after.ids)
    for i in (i for i, message in enumerate(completion) if message["role"] == "assistant"):
        said = [*prompt, *completion[:i]]
        head = reply_head(tokenizer, said)
        first = after.first_from(len(head) - continued.start)
        if i and _ids(tokenizer, head) != continued.prompt.ids + after.ids[:first]:
            raise ValueError(
                "The tokenizer's chat template, or its vocabulary, makes other tokens of a conversation once it goes "
                "on, so several replies of one cannot be learnt together. Pass reply='last'."
            )
        bound = len(after.ids)
        if i + 1 < len(completion):
            next_one = before_content(tokenizer, [*said, completion[i]], completion[i + 1]["role"])
            bound = after.first_from(len(next_one) - continued.start)
        end = next((place for place in range(first, bound) if after.ids[place] in controls), None)
        if end is None:
            raise ValueError(
                "The tokenizer's chat template puts no token between a reply and what follows it, so the model could "
                "not learn from several replies of a conversation where one ends. Pass reply='last'."
            )
        mask[first : end + 1] = [1] * (end + 1 - first)
    before = continued.prompt.ids
    return {"input_ids": before + after.ids, "completion_mask": [0] * len(before) + mask}


class Tokens(NamedTuple):
    """Token ids, and where in the text each begins and ends."""

    ids: list[int]
    spans: list[tuple[int, int]]

    def first_from(self, place: int) -> int:
        """Return the first token that does not begin before a place in the text."""
        return bisect_left(self.spans, (place, 0))


class Continued(NamedTuple):
    """The tokens of a prompt, and those of each of its completions, whose texts begin where the prompt's ends."""

    prompt: Tokens
    start: int
    after: list[Tokens]


def continue_prompt(
    tokenizer: "PreTrainedTokenizerBase",
    prompt: Sequence[Message],
    completions: Iterable[Sequence[Message]],
    **options: Any,
) -> Continued:
    """Return the tokens of a prompt, those of `prompt_ids`, and of each completion, whose last reply has an end.
    options: of `apply_chat_template`. Raises ValueError where the template renders the prompt otherwise once it goes
    on, or where nothing could end a reply."""
    head, after = reply_head(tokenizer, prompt, **options), []
    controls = control_ids(tokenizer)
    for completion in completions:
        text = conversation(tokenizer, [*prompt, *completion], **options)
        replies = [i for i, message in enumerate(completion) if message["role"] == "assistant"]
        last = reply_head(tokenizer, [*prompt, *completion[: replies[-1] if replies else 0]], **options)
        if not (text.startswith(head) and text.startswith(last)):
            raise ValueError(
                "The tokenizer's chat template renders the start of a conversation differently once it goes on, so "
                "the person's replies cannot be located in it. Set a template that appends messages without changing "
                "earlier ones."
            )
        tokens = continue_text(tokenizer, text[len(head) :])
        begin = tokens.first_from(len(last) - len(head))
        if not controls.intersection(tokens.ids[begin:]):
            ids, spans = continue_text(tokenizer, text[len(head) :].rstrip())
            tokens = Tokens([*ids, _turn_end(tokenizer, **options)], [*spans, (len(text) - len(head),) * 2])
        after.append(tokens)
    return Continued(_tokens(tokenizer, head), len(head), after)


def _turn_end(tokenizer: "PreTrainedTokenizerBase", **options: Any) -> int:
    """Return the token that ends a reply where the template puts none: the one that a next message begins with, which
    is how models with such a template stop, or the end of text."""
    turn = [Message(role=role, content="hi") for role in ("user", "assistant")]
    text, going_on = conversation(tokenizer, turn, **options), before_content(tokenizer, turn, "user", **options)
    following = continue_text(tokenizer, going_on[len(text) :].lstrip()).ids if going_on.startswith(text) else []
    if following and following[0] in control_ids(tokenizer):
        return following[0]
    if tokenizer.eos_token_id is None:
        raise ValueError(
            "The tokenizer's chat template puts no token after a reply, and the tokenizer has none for the end of a "
            "text, so no reply would ever end. Set its eos_token."
        )
    return tokenizer.eos_token_id


def end_ids(tokenizer: "PreTrainedTokenizerBase", *configs: "GenerationConfig | None") -> list[int]:
    """Return the tokens that end a reply here: those that are learnt to, the end of text, and those of `configs`."""
    ends: set[int | None] = {tokenizer.eos_token_id}
    roles = ("assistant", "user", "assistant") if tokenizer.chat_template else ()
    turns = [Message(role=role, content="hi") for role in roles]
    for completion in (turns[:1], turns) if turns else ():
        with suppress(ValueError):  # not all templates can teach several replies of one conversation
            encoded = encode(tokenizer, turns[1:2], completion)
            learnt = [*zip(encoded["input_ids"], encoded["completion_mask"], strict=True), (0, 0)]
            ends |= {token for (token, here), (_, then) in pairwise(learnt) if here > then}
    for config in configs:
        given = config.eos_token_id if config is not None else None
        ends |= set(given) if isinstance(given, list) else {given}
    return sorted(end for end in ends if end is not None)


def continue_text(tokenizer: "PreTrainedTokenizerBase", text: str) -> Tokens:
    """Return the tokens of a text that goes on from another, without what a vocabulary puts before a first word."""
    tokens = _tokens(tokenizer, GUARD + text)
    first = tokens.first_from(1)
    return Tokens(tokens.ids[first:], [(begin - 1, end - 1) for begin, end in tokens.spans[first:]])


def text_ids(tokenizer: "PreTrainedTokenizerBase", text: str) -> list[int]:
    """Return the tokens of a text that is no message, with those that the tokenizer puts around it. None of them is a
    mark that the text holds."""
    return _tokens(tokenizer, guarded(tokenizer, text), add_special_tokens=True).ids


def _ids(tokenizer: "PreTrainedTokenizerBase", text: str) -> list[int]:
    return _tokens(tokenizer, text).ids if GUARD in text else tokenizer(text, add_special_tokens=False)["input_ids"]


def _tokens(tokenizer: "PreTrainedTokenizerBase", text: str, add_special_tokens: bool = False) -> Tokens:
    encoded = tokenizer(text, add_special_tokens=add_special_tokens, return_offsets_mapping=True)
    pairs = zip(encoded["input_ids"], encoded["offset_mapping"], strict=True)
    kept = [(token, span) for token, span in pairs if span[0] == span[1] or text[slice(*span)].strip(GUARD)]
    return Tokens([token for token, _ in kept], [span for _, span in kept])
