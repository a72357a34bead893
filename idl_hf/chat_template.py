"""Chat templates as text: what a template makes of messages whose contents can never become a part of it.

What a user types, and what a person once wrote, may hold the template's own marks: `<|im_end|>`, `</think>`. A guard,
a character that no text has, is put into these marks before the template sees them; the tokens that it becomes are
left out again (`prompting`), so that the text stays what it was and no mark in it is one.
"""

import re
from collections.abc import Sequence
from contextlib import suppress
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from idl_hf.schema import Message

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

# Code points that Unicode keeps out of all interchanged text
GUARD, _CONTENT = "\ufdd0", "\ufdd1"
# For base models such as GPT-2, which have none: "user: hello\nassistant: hi<|endoftext|>\n". The second line of a
# message is indented, or a message could speak as "assistant:"
_NEWLINES = ("\r\n", "\r", "\v", "\f", "\x1c", "\x1d", "\x1e", "\x85", "\u2028", "\u2029")
_INDENTED = "".join(f" | replace({newline!r}, '\\n')" for newline in _NEWLINES) + r" | replace('\n', '\n ')"
PLAIN_TEMPLATE = (
    "{% if bos_token %}{{ bos_token }}{% endif %}"
    "{% for message in messages %}{{ message['role'] + ':' }}{% if message['content'] %}{{ ' ' + (message['content']"
    f"{_INDENTED}) }}}}{{% endif %}}"
    "{% if message['role'] == 'assistant' %}{{ eos_token }}{% endif %}{{ '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ 'assistant:' }}{% endif %}"
)
_TAG = re.compile(r"</?[A-Za-z_|][^<>\s'\"{}]*>")


def conversation(tokenizer: "PreTrainedTokenizerBase", messages: Sequence[Message], **options: Any) -> str:
    """Return the text of messages, with guards in their contents.

    What a template has no system role for, the first message of the user begins with. options: of
    `apply_chat_template`. Raises ValueError where the template refuses the messages.
    """
    from jinja2 import TemplateError

    own = tokenizer.get_chat_template(options.get("chat_template"), options.get("tools"))
    template = _training_template(own)
    options["chat_template"] = template
    marks = _marks(tokenizer, template)
    texts = [_guarded(tokenizer, message, marks) for message in messages]

    def render(conversation: Sequence[Any]) -> str:
        return str(tokenizer.apply_chat_template(list(conversation), tokenize=False, **options))

    try:
        if [message["role"] for message in messages[:2]] != ["system", "user"]:
            return render(texts)
        system, first, *others = texts
        with suppress(TemplateError):
            if system["content"].strip() in (text := render(texts)):
                return text
        return render([{**first, "content": f"{system['content']}\n\n{first['content']}"}, *others])
    except TemplateError as error:
        raise ValueError(f"The tokenizer's chat template refuses the messages: {error}.") from error


def before_content(
    tokenizer: "PreTrainedTokenizerBase", messages: Sequence[Message], role: str, **options: Any
) -> str:
    """Return the text of messages, up to where the content of a next one of `role` begins."""
    text = conversation(tokenizer, [*messages, {"role": role, "content": _CONTENT}], **options)
    if _CONTENT not in text:
        raise ValueError("The tokenizer's chat template leaves out what messages say; set one that takes plain text.")
    return text[: text.rfind(_CONTENT)]


def reply_head(tokenizer: "PreTrainedTokenizerBase", messages: Sequence[Message], **options: Any) -> str:
    """Return the text that a reply to the messages goes on from, as the template has it in a whole conversation.

    A generation prompt that begins what no reply of a conversation begins with, such as a think block, is cut to what
    one does; what the template itself puts before a reply, such as an empty think block, belongs to the head.
    """
    whole = before_content(tokenizer, messages, "assistant", **options)
    opened = conversation(tokenizer, messages, add_generation_prompt=True, **options)
    # White space between the two, and a last space, are left to the reply: most vocabularies have it in the first word
    return (opened if whole.startswith(opened) and not whole[len(opened) :].strip() else whole).rstrip(" ")


def control_ids(tokenizer: "PreTrainedTokenizerBase") -> set[int]:
    """Return the ids of all tokens that are marks and no text."""
    return set(cast("list[int]", tokenizer.convert_tokens_to_ids(sorted(_added_marks(tokenizer)))))


def guarded(tokenizer: "PreTrainedTokenizerBase", text: str) -> str:
    """Return a text with a guard in every mark of the vocabulary that it holds."""
    return _guarded(tokenizer, text, _marks(tokenizer, ""))


@lru_cache
def _training_template(template: str) -> str:
    """Return TRL's variant of a template, which renders a reply alike wherever it stands, or the template itself."""
    spec = find_spec("trl")  # which costs seconds to import
    folder = Path(str(spec and spec.origin)).with_name("chat_templates")
    for variant in folder.glob("*_training.jinja"):
        original = variant.with_name(variant.name.replace("_training", ""))
        if original.is_file() and original.read_text(encoding="utf-8") == template:
            return variant.read_text(encoding="utf-8")
    return template


def _added_marks(tokenizer: "PreTrainedTokenizerBase") -> set[str]:
    """Return special and added tokens; runs of spaces and single characters are text that a vocabulary was given."""
    added = {token.content for token in tokenizer.added_tokens_decoder.values()}
    return {mark for mark in added | set(tokenizer.all_special_tokens) if len(mark) > 1 and not mark.isspace()}


def _marks(tokenizer: "PreTrainedTokenizerBase", template: str) -> re.Pattern[str]:
    # The tags of a template too, since some cut contents at them
    marks = _added_marks(tokenizer) | set(_TAG.findall(template))
    return re.compile("|".join(map(re.escape, sorted(marks, key=lambda mark: (-len(mark), mark)))) or "(?!)", re.I)


def _guarded(tokenizer: "PreTrainedTokenizerBase", value: Any, marks: re.Pattern[str]) -> Any:
    """Return a message, or a part of one, with a guard in every mark that its texts hold."""
    if isinstance(value, dict):
        return {
            key: item if key in ("role", "type") else _guarded(tokenizer, item, marks) for key, item in value.items()
        }
    if isinstance(value, list):
        return [_guarded(tokenizer, item, marks) for item in value]
    if not isinstance(value, str):
        return value
    while marks.search(value):  # again, since marks may overlap
        value = marks.sub(lambda found: found[0][0] + GUARD + found[0][1:], value)
    normalizer = getattr(getattr(tokenizer, "backend_tokenizer", None), "normalizer", None)
    if normalizer is not None and marks.search(normalizer.normalize_str(value)):  # such as full-width brackets
        return GUARD.join(value)
    return value
