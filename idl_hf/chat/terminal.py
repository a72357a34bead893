"""A chat in the terminal."""

import io
import os
import sys
from collections.abc import Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING

from idl_hf.arguments import option, required
from idl_hf.chat.commands import Talk, answer, describe_settings, failure_line
from idl_hf.corpora.errors import CorpusError
from idl_hf.corpora.jsonl import read_dialogues
from idl_hf.corpora.names import alike
from idl_hf.models.generation import SAMPLED, as_in_chat, setting_names
from idl_hf.models.known_templates import CHAT_TEMPLATE_HELP
from idl_hf.schema import Person, group_by_person
from idl_hf.shown import visible

if TYPE_CHECKING:
    from collections.abc import Iterator

    from idl_hf.chat.persona_chat import PersonaChat
    from idl_hf.models.generation import GenerationSettings

_SAVED = "default: as saved with the adapter, else"


@dataclass
class ChatArguments:
    """Whom to talk to."""

    model: str = required("Adapter or model: a Hub id, a folder, or 'offline'.")
    dialogues: str = required(
        "JSON Lines of past dialogues (see idl_hf.corpora.jsonl), a folder with train.jsonl, or one of /save."
    )
    person: str | None = option(None, "person_id; may be left out if the file has one person.")
    partner: str = option("", "partner_id of who talks now: past dialogues with the same are preferred.")
    encoder: str | None = option(None, "Sentence encoder, or 'offline'; default that of the adapter's training.")
    references: int | None = option(None, "How many past dialogues the model is shown; default as in training.")
    choose_every: int | None = option(None, "Choose them anew after so many messages; default: once, at the first.")
    max_prompt_tokens: int | None = option(None, "Longer ones lose whole reference dialogues; default as in training.")
    max_new_tokens: int | None = option(None, f"Longest reply; {_SAVED} {SAMPLED.max_new_tokens}.")
    temperature: float | None = option(None, f"0: always the likeliest word; {_SAVED} {SAMPLED.temperature}.")
    top_p: float | None = option(None, f"Words of so much probability are drawn from; {_SAVED} {SAMPLED.top_p}.")
    top_k: int | None = option(None, f"At most so many words are drawn from; 0: any; {_SAVED} {SAMPLED.top_k}.")
    min_p: float | None = option(None, f"Least probability of a word, of the likeliest's; {_SAVED} {SAMPLED.min_p}.")
    repetition_penalty: float | None = option(
        None,
        f"Above 1: words of the conversation's replies are seldom said again; {_SAVED} {SAMPLED.repetition_penalty}.",
    )
    seed: int | None = option(None, "The same words are drawn again; default: others each time.")
    chat_template: str | None = option(None, CHAT_TEMPLATE_HELP)
    history: str | None = option(None, "File that keeps what was typed, for the arrow keys; default: nothing is kept.")


def chat_in_terminal(args: ChatArguments) -> None:
    """Answer lines until end of file (Ctrl-D), Ctrl-C at the prompt, or /quit; /help lists the commands."""
    saved = Path(args.dialogues, "persona.json").is_file()
    if saved:
        _refuse_what_is_saved(args)
    people = {} if saved else read_people(args.dialogues)
    person = None if saved else _only_person(people, args.dialogues, args.person)
    from idl_hf.chat.persona_chat import PersonaChat  # here, since `chat --help` would pay for torch

    if person is None:
        chat = PersonaChat.load(args.dialogues, model=args.model, chat_template=args.chat_template)
    else:
        chat = PersonaChat.from_pretrained(
            args.model,
            encoder=args.encoder,
            references=args.references,
            max_prompt_tokens=args.max_prompt_tokens,
            partner_id=args.partner,
            choose_every=args.choose_every,
            chat_template=args.chat_template,
        ).with_person(person)
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()  # the encoder is loaded for the first reply, and would draw its bar within it
    chat.generation = _settings(args, chat, saved)
    file = None if saved else _file(args.dialogues)
    talk = Talk(chat, people, file, {setting.name: setting.metadata["help"] for setting in fields(args)})
    number = len(chat.dialogues)
    known = f"{visible(chat.person_id)}, known from {number} dialogue{'s'[: number != 1]}"
    print(f"Talking to {known}. /help lists the commands, Ctrl-D or /quit ends.\n{describe_settings(chat.generation)}")
    with _line_editing(args.history):
        _converse(talk)


def _converse(talk: Talk) -> None:
    """Answer lines until there are no more."""
    prompt = "you: " if sys.stdin.isatty() else ""
    if isinstance(sys.stdin, io.TextIOWrapper):
        sys.stdin.reconfigure(errors="replace")  # else a byte that is no text would cost all lines read with it
    stopped = False  # the last thing typed was Ctrl-C
    while True:
        try:
            line = input(prompt).encode(errors="replace").decode().strip()  # no halves of characters
        except EOFError:
            print()
            return
        except KeyboardInterrupt:
            print()
            if stopped:
                return
            stopped = True
            print("Ctrl-C once more ends the chat; so do Ctrl-D and /quit.")
            continue
        try:
            if not answer(talk, line):
                return
            stopped = False
        except KeyboardInterrupt:
            stopped = True
            print("\n(stopped: what was said last does not count)", flush=True)
        except (ValueError, OSError) as error:
            print(visible(str(error)), flush=True)
        except (RuntimeError, MemoryError) as error:  # such as no memory left; the conversation must not end with it
            print(f"\n{visible(failure_line(error))}", flush=True)


def _refuse_what_is_saved(args: ChatArguments) -> None:
    """Raise ValueError for an option that a saved persona has already."""
    names = ("person", "partner", "encoder", "references", "choose_every", "max_prompt_tokens")
    given = [f"--{name}" for name in names if getattr(args, name)]
    if given:
        raise ValueError(f"'{args.dialogues}' is a saved persona and says that itself; leave out {', '.join(given)}.")


def _settings(args: ChatArguments, chat: "PersonaChat", saved: bool) -> "GenerationSettings":
    """Return the settings of the command line, else those saved with the adapter or persona, else sampling ones."""
    given = {name: getattr(args, name) for name in setting_names() if getattr(args, name) is not None}
    return replace(chat.generation if saved else as_in_chat(chat.generation), **given)


@contextmanager
def _line_editing(history: str | None) -> "Iterator[None]":
    """Let `input` take arrow keys, with a history that is kept in memory, and in a file only where one is named."""
    try:
        import readline
    except ImportError:  # on Windows the console has its own
        yield
        return
    readline.clear_history()
    if history is not None:
        with suppress(FileNotFoundError):
            readline.read_history_file(history)
    try:
        yield
    finally:
        if history is not None:
            os.close(os.open(history, os.O_WRONLY | os.O_CREAT, 0o600))
            readline.write_history_file(history)


def read_people(path: str | Path) -> dict[str, Person]:
    """Return the people of a JSON Lines file, or of the train.jsonl of a folder, by person_id. Raises CorpusError."""
    people = group_by_person(read_dialogues(_file(path)))
    return {person.person_id: person for person in people}


def find_person(path: str | Path, person_id: str | None) -> Person:
    """Return a person of such a file, or its only one; a name that is not there may be another spelling of one.
    Raises CorpusError with the persons there are."""
    return _only_person(read_people(path), path, person_id)


def _only_person(people: Mapping[str, Person], path: str | Path, person_id: str | None) -> Person:
    if person_id is None and len(people) == 1:
        return next(iter(people.values()))
    meant = alike(person_id, people) if person_id and person_id not in people else []
    if len(meant) == 1:
        return people[meant[0]]
    if person_id is None or person_id not in people:
        wanted = f"has no person '{person_id}'" if person_id else "holds several persons; name one with --person"
        raise CorpusError(f"'{path}' {wanted}. Its persons are: {', '.join(sorted(people)) or 'none'}.")
    return people[person_id]


def _file(path: str | Path) -> Path:
    """Return the file with the dialogues. Raises CorpusError where there is none."""
    file = Path(path, "train.jsonl") if Path(path).is_dir() else Path(path)
    if not file.is_file():
        raise CorpusError(f"The file '{file}' does not exist. Expected JSON Lines with one dialogue a line.")
    return file
