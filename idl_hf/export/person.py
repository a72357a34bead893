"""A person as files: the prompt that a chat begins with, and the same for Ollama."""

import json
import os
from pathlib import Path

from transformers import GenerationConfig

from idl_hf.chat.persona_chat import PersonaChat
from idl_hf.export.modelfile import modelfile
from idl_hf.models.generation import as_in_chat
from idl_hf.models.loading import load_config, load_tokenizer

_CHOSEN = (
    "The past dialogues nearest to the mean of all the person's dialogues. A chat of idl_hf chooses them by the first "
    "message instead, so that its prompts may show others."
)
_LEFT_OUT = "What the partner said last and nobody answered; a chat of idl_hf joins the first message to it."


def write_person(chat: PersonaChat, folder: Path, model: Path, weights: str) -> None:
    """Write persona_prompt.json and Modelfile, which their owner alone may read: they hold what people said.

    model: the folder of the chat's model. weights: that model, or the file it becomes, as seen from the Modelfile.
    Raises ValueError where no past dialogue is in the prompt.
    """
    opening = chat.opening()
    content = {
        "person_id": chat.person_id,
        "chosen": _CHOSEN,
        "dialogue_ids": [reference.dialogue_id for reference in opening.references],
        "dropped_references": opening.dropped,
        "left_out": {"about": _LEFT_OUT, "text": opening.left_out},
        "messages": opening.messages,
    }
    _write_private(folder / "persona_prompt.json", json.dumps(content, indent=2, ensure_ascii=False) + "\n")
    settings = as_in_chat(chat.generation)
    tokenizer, config = load_tokenizer(str(model)), load_config(str(model))
    ends = GenerationConfig.from_pretrained(model)
    _write_private(folder / "Modelfile", modelfile(weights, opening.messages, settings, tokenizer, config, ends))


def _write_private(file: Path, text: str) -> None:
    with open(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as opened:
        opened.write(text)
