"""`idl-hf export`: an adapter as a model that other programs run, and a person as the prompt that goes with it."""

import shlex
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from idl_hf.arguments import option, required
from idl_hf.cache import write_whole
from idl_hf.chat.terminal import find_person
from idl_hf.models.known_templates import CHAT_TEMPLATE_HELP
from idl_hf.shown import visible

if TYPE_CHECKING:
    from idl_hf.schema import Person

_PRECISIONS = ("float32", "bfloat16", "float16")


@dataclass
class ExportArguments:
    """Which adapter to take where."""

    adapter: str = required("Adapter: a Hub id or a folder.")
    output_dir: str = required("Folder to write; one that holds something already is left as it is.")
    merged: bool = option(False, "Writes a plain model folder: the adapter added into the weights of its base.")
    gguf: bool = option(
        False, "Writes model.gguf by llama.cpp's convert_hf_to_gguf.py, which must be on PATH, of the merged model."
    )
    data_dir: str | None = option(
        None,
        "JSON Lines of past dialogues, or a folder with train.jsonl: writes persona_prompt.json and a Modelfile for "
        "Ollama too.",
    )
    person: str | None = option(None, "Of --data_dir: person_id; may be left out if the file has one person.")
    encoder: str | None = option(
        None, "Of --data_dir: sentence encoder, or 'offline'; default that of the adapter's training."
    )
    chat_template: str | None = option(None, CHAT_TEMPLATE_HELP)
    dtype: str = option("float32", "Precision in which weights are added up and written.", _PRECISIONS)

    def __post_init__(self) -> None:
        if self.merged == self.gguf:
            raise ValueError(
                "Pass either --merged (a plain model folder, for transformers, vLLM and others) or --gguf (one file "
                "for llama.cpp and Ollama, which needs llama.cpp's converter)."
            )
        if self.data_dir is None and (self.person or self.encoder):
            raise ValueError("--person and --encoder are of --data_dir, the person's past dialogues. Pass it too.")


def export(args: ExportArguments) -> Path:
    """Write the folder, whole or not at all, and return it.

    Raises ValueError for an adapter that cannot be merged or whose chat template is unknown, and for a folder that is
    there already, OSError for a model that cannot be had and where the converter is missing or fails, CorpusError for
    an unknown person.
    """
    target = Path(args.output_dir)
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise ValueError(f"'{target}' is there already and is left as it is. Delete it, or pass another --output_dir.")
    person = None if args.data_dir is None else find_person(args.data_dir, args.person)
    from idl_hf.export.gguf import converter, write_gguf  # here, since `export --help` would pay for torch
    from idl_hf.export.merged import merged_card, write_merged

    program = converter() if args.gguf else None  # before minutes of merging
    with write_whole(target) as partial:
        model = partial / "merged" if args.gguf else partial
        model.mkdir(parents=True)
        write_merged(args.adapter, model, args.dtype, args.chat_template)
        card = merged_card(args.adapter, target.name, args.gguf)
        (partial / "README.md").write_text(str(card), encoding="utf-8")
        if person is not None:
            _write_person(person, args, model, partial)
        if program is not None:
            write_gguf(program, model, partial / "model.gguf")
            shutil.rmtree(model)
    print(visible(_summary(target, person)))
    return target


def _write_person(person: "Person", args: ExportArguments, model: Path, folder: Path) -> None:
    from idl_hf.chat.persona_chat import PersonaChat
    from idl_hf.export.person import write_person

    chat = PersonaChat.from_pretrained(str(model), encoder=args.encoder).with_person(person)
    write_person(chat, folder, model, "./model.gguf" if args.gguf else ".")


def _summary(target: Path, person: "Person | None") -> str:
    files = ", ".join(sorted(file.name for file in target.iterdir()))
    if person is None:
        more = "It holds nobody's past dialogues; --data_dir and --person add the prompt that makes it a person."
    else:
        more = (
            f"persona_prompt.json and Modelfile hold what {person.person_id} said: they are as private as the "
            f"dialogues. With Ollama: cd {shlex.quote(str(target))} && ollama create {_ollama_name(person.person_id)}"
        )
    return f"Wrote '{target}': {files}.\n{more}"


def _ollama_name(person_id: str) -> str:
    name = "".join(letter if letter.isascii() and letter.isalnum() else "-" for letter in person_id.lower())
    return name.strip("-") or "person"
