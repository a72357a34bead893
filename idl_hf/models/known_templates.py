"""Chat templates that a tokenizer lacks: those of models whose own code writes messages in a form of its own, by name,
and those that somebody names."""

import re
from pathlib import Path

from idl_hf.chat_template import PLAIN_TEMPLATE

_PLAIN = "plain"
CHAT_TEMPLATE_HELP = (
    "How a model without a chat template reads messages: a file in Jinja, or 'plain' (lines, 'user: ...') for one "
    "that was taught none; default: known by its name, or refused."
)
_SYSTEM = (
    "A chat between a curious user and an artificial intelligence assistant. The assistant gives helpful, detailed, "
    "and polite answers to the user's questions."
)
# Of Vicuna 1.1 and later, as FastChat's code has it: a system text of one's own takes the place of theirs, a reply
# ends with the token </s>, a message of the user with a space. The tokens are literal: some tokenizers name others
_VICUNA = (
    "<s>{% if messages and messages[0]['role'] == 'system' %}{{ messages[0]['content'] }}"
    "{% else %}{{ " + repr(_SYSTEM) + " }}{% endif %}{{ ' ' }}"
    "{% for message in messages %}"
    "{% if message['role'] == 'user' %}{{ 'USER: ' + message['content'] + ' ' }}"
    "{% elif message['role'] == 'assistant' %}{{ 'ASSISTANT: ' + message['content'] + '</s>' }}"
    "{% elif not loop.first %}{{ raise_exception('only the first message may be of the system') }}{% endif %}"
    "{% endfor %}{% if add_generation_prompt %}{{ 'ASSISTANT:' }}{% endif %}"
)
# Of their makers' own names alone: what others made of them, the first Vicunas and WizardLM 7B learnt other forms
_BY_NAME = (
    (re.compile(r"vicuna-\d+b-v1\.[135](-16k)?", re.IGNORECASE), _VICUNA),
    (re.compile(r"wizardlm-(13|30|70)b-v1\.[0-2]", re.IGNORECASE), _VICUNA),
)


def known_template(name: str) -> str | None:
    """Return the template of a model that has none in its tokenizer, by its name on the Hub or its folder's, None
    where it is not known."""
    own = Path(name).name
    return next((template for pattern, template in _BY_NAME if pattern.fullmatch(own)), None)


def read_template(chat_template: str) -> str:
    """Return the template that is named: "plain", or a file in Jinja. Raises ValueError where there is none."""
    if chat_template == _PLAIN:
        return PLAIN_TEMPLATE
    file = Path(chat_template)
    if not file.is_file():
        raise ValueError(f"chat_template='{chat_template}' is neither '{_PLAIN}' nor a file that is there.")
    return file.read_text(encoding="utf-8")
