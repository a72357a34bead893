"""A Modelfile, from which Ollama makes a model: weights, template, parameters, and the messages it begins with.

Its values stand in three quotes and know no escape. What Ollama's parser does with them is in tests/export.
"""

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from idl_hf.chat_template import GUARD, conversation, reply_head
from idl_hf.models.generation import GenerationSettings
from idl_hf.models.limits import position_count
from idl_hf.schema import Message
from idl_hf.token_ids import end_ids, prompt_ids

if TYPE_CHECKING:
    from transformers import GenerationConfig, PretrainedConfig, PreTrainedTokenizerBase

logger = logging.getLogger(__name__)
_ROOM = 2048  # tokens for the conversation, beside the messages it begins with
_QUOTES = '"""'
# As Ollama calls the settings of `generate`
_NAMES = {
    "temperature": "temperature", "top_p": "top_p", "top_k": "top_k", "min_p": "min_p", "seed": "seed",
    "repetition_penalty": "repeat_penalty", "max_new_tokens": "num_predict",
}  # fmt: skip
# Words that no template has; of two lines, since a template may write these in its own way
_INSTRUCTION = "qzsystem\n0"
_SAID = ("qzfirst\n1", "qzsecond\n2", "qzthird\n3", "qzfourth\n4")


def modelfile(
    weights: str,
    messages: Sequence[Message],
    settings: GenerationSettings,
    tokenizer: "PreTrainedTokenizerBase",
    config: "PretrainedConfig",
    generation: "GenerationConfig | None" = None,
) -> str:
    """Return the text of a Modelfile.

    weights: the file or folder, as seen from the Modelfile. messages: that a conversation begins with. config,
    generation: of the model. What a Modelfile cannot say is logged.
    """
    lines = [f"FROM {weights}"]
    template = go_template(tokenizer)
    if template is None:
        logger.warning(
            "The chat template cannot be said as one of Ollama's, so the Modelfile has none; Ollama may recognise the "
            "template of the model. Compare its replies with those of `idl-hf chat`."
        )
        lines.append("# No TEMPLATE: the model's own cannot be said here.")
    else:
        lines.append(f"TEMPLATE {quoted(template)}")
    given = {name: getattr(settings, setting) for setting, name in _NAMES.items()}
    tokens = len(prompt_ids(tokenizer, [*messages, {"role": "user", "content": "hello"}]))
    given["num_ctx"] = min(tokens + _ROOM, position_count(config) or tokens + _ROOM)
    lines += [f"PARAMETER {name} {value}" for name, value in given.items() if value is not None]
    ends = tokenizer.convert_ids_to_tokens(end_ids(tokenizer, generation))
    lines += [f"PARAMETER stop {quoted(str(end))}" for end in ends]
    lines += [f"MESSAGE {message['role']} {quoted(message['content'])}" for message in messages]
    _tell_what_is_lost(messages)
    return "\n".join(lines) + "\n"


def quoted(text: str) -> str:
    """Return a text as a value of a Modelfile: three quotes at the end of a line within it, which would end it there,
    are written apart."""
    *inner, last = text.split("\n")
    safe = [line.replace(_QUOTES, '" " "') if line.rstrip().endswith(_QUOTES) else line for line in inner]
    return f"{_QUOTES}{chr(10).join([*safe, last])}{_QUOTES}"


def go_template(tokenizer: "PreTrainedTokenizerBase") -> str | None:
    """Return the tokenizer's chat template in the language of Go's templates, as Ollama wants it, None where it does
    more than put the same words around each message of a conversation.

    The beginning of a text is left out where the tokenizer adds it to any: so does Ollama.
    """
    pieces = _pieces(tokenizer)
    if pieces is None or any("{{" in piece or GUARD in piece for piece in pieces):
        return None
    return "".join(
        [
            '{{ $last := "" }}{{ range .Messages }}{{ if eq .Role "system" }}',
            *(pieces.system, "{{ .Content }}", pieces.after_system, '{{ else if eq .Role "user" }}'),
            *('{{ if eq $last "" }}', pieces.begin, '{{ else if ne $last "system" }}', pieces.again, "{{ end }}"),
            *("{{ .Content }}", pieces.reply, '{{ else if eq .Role "assistant" }}', pieces.gap),
            "{{ .Content }}{{ end }}{{ $last = .Role }}{{ end }}",
        ]
    )


class _Pieces(NamedTuple):
    """What a template puts around messages."""

    begin: str  # before the first message, if it is the user's
    system: str  # before the first message, if it is an instruction
    after_system: str  # between that and the first message of the user
    reply: str  # where a reply begins
    gap: str  # between that and the reply, where it is of the past
    again: str  # before a later message of the user


def _pieces(tokenizer: "PreTrainedTokenizerBase") -> _Pieces | None:
    """Return what a template puts around messages, None where it is not always the same."""
    roles = ("user", "assistant", "user", "assistant")
    messages = [Message(role=role, content=said) for role, said in zip(roles, _SAID, strict=True)]
    try:
        head = reply_head(tokenizer, messages[:1])
        around = _around(conversation(tokenizer, messages), _SAID)
        instructed = [Message(role="system", content=_INSTRUCTION), *messages]
        around_system = _around(conversation(tokenizer, instructed), (_INSTRUCTION, *_SAID))
    except ValueError:
        return None
    if around is None or around_system is None or around[1:] != around_system[2:]:
        return None
    begin, before_reply, again, before_later_reply = around
    system, after_system = around_system[:2]
    reply = head.removeprefix(f"{begin}{_SAID[0]}")
    if reply == head or before_reply != before_later_reply or not before_reply.startswith(reply):
        return None
    bos = tokenizer.bos_token
    if bos and tokenizer("a")["input_ids"][:1] == [tokenizer.bos_token_id]:
        begin, system = begin.removeprefix(str(bos)), system.removeprefix(str(bos))
    return _Pieces(begin, system, after_system, reply, before_reply.removeprefix(reply), again)


def _around(text: str, said: Sequence[str]) -> list[str] | None:
    """Return what stands before each of the words in a text, None where some are missing."""
    before = []
    for words in said:
        piece, found, text = text.partition(words)
        if not found:
            return None
        before.append(piece)
    return before


def _tell_what_is_lost(messages: Sequence[Message]) -> None:
    """Log which characters of the messages Ollama leaves out of a Modelfile."""
    said = {letter for message in messages for letter in message["content"]} - set("\n\r\t")
    lost = sorted(letter for letter in said if not letter.isprintable())
    if lost:
        named = ", ".join(f"U+{ord(letter):04X}" for letter in lost)
        about = "which Ollama leaves out; persona_prompt.json has them all"
        logger.warning(f"The Modelfile has invisible characters, {named}, {about}.")
