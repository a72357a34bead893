"""What can be typed in a chat: a message, or a command that begins with a slash."""

import json
import re
import shlex
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from idl_hf.cache import cache_folder
from idl_hf.command_line import did_you_mean
from idl_hf.models.generation import GenerationSettings, parsed_setting, setting_names
from idl_hf.schema import Dialogue, Person
from idl_hf.shown import path_from_here, visible

if TYPE_CHECKING:
    from idl_hf.chat.forgetting import Forgotten
    from idl_hf.chat.persona_chat import PersonaChat

_LINES = 8  # of what /why shows


@dataclass
class Talk:
    """A chat that goes on in the terminal.

    people: those that can be talked to, by person_id. file: where their dialogues come from. help: what each setting
    is. chats: those with other people, as they were left.
    """

    chat: "PersonaChat"
    people: Mapping[str, Person]
    file: Path | None
    help: Mapping[str, str]
    chats: dict[str, "PersonaChat"] = field(default_factory=dict)


@dataclass(frozen=True)
class Command:
    """A command: what follows its name, what is said of it, and the function, which takes what follows."""

    words: str
    line: str
    function: Callable[[Talk, str], None]


def answer(talk: Talk, line: str) -> bool:
    """Answer a line that was typed and return whether the chat goes on.

    Raises ValueError and OSError with what went wrong, KeyboardInterrupt where it was stopped.
    """
    name, _, words = line.partition(" ")
    if name in ("/quit", "/exit"):
        return False
    if not line.startswith("/"):
        if line:
            _print_reply(talk, talk.chat.stream(line))
    elif name in COMMANDS:
        COMMANDS[name].function(talk, words.strip())
    else:
        names = [*COMMANDS, "/quit"]
        raise ValueError(f"There is no command {name}.{did_you_mean(name, names)} /help lists them.")
    return True


def _print_reply(talk: Talk, pieces: Iterator[str]) -> None:
    print(f"{visible(talk.chat.person_id)}: ", end="", flush=True)
    with closing(pieces):  # type: ignore[type-var]
        for piece in pieces:
            print(visible(piece), end="", flush=True)
    print(flush=True)


def _help(talk: Talk, words: str) -> None:
    shown = {f"{name} {command.words}".rstrip(): command.line for name, command in COMMANDS.items()}
    shown["/quit"] = "end the chat; Ctrl-D does too, and Ctrl-C at the prompt twice"
    width = max(map(len, shown))
    print("\n".join(f"  {name:<{width}}  {line}" for name, line in shown.items()))
    print("Ctrl-C while a reply is written stops it; the message then does not count.")


def _why(talk: Talk, words: str) -> None:
    every = words == "all"
    which = "" if every else " of two of them"
    print(f"Scoring the reply without each past dialogue, then without each line{which} ...", flush=True)
    reasons = talk.chat.why(None if every else 2)
    if not reasons:
        print("The prompt showed no past dialogue, so the reply leans on none.")
        return
    print("Without the line the reply is less likely by so many nats (the whole dialogue in brackets):")
    for reason in reasons[:_LINES]:
        who = talk.chat.person_id if reason.role == "self" else "partner"
        text = visible(f"{reason.dialogue_id}, line {reason.turn + 1}, {who}: {_short(reason.text)}")
        print(f"  {reason.fall:+7.2f}  [{reason.dialogue_fall:+.2f}]  {text}")


def _undo(talk: Talk, words: str) -> None:
    print(f"Taken back: {visible(_short(talk.chat.undo()))}")


def _retry(talk: Talk, words: str) -> None:
    _print_reply(talk, talk.chat.retry())


def _save(talk: Talk, words: str) -> None:
    folder = _needed(words, "/save FOLDER")
    talk.chat.save(folder)
    print(visible(f"Saved in '{folder}': past dialogues, settings and the conversation, readable by you alone."))


def _load(talk: Talk, words: str) -> None:
    from idl_hf.chat.persona_chat import PersonaChat

    folder = _needed(words, "/load FOLDER")
    loaded = PersonaChat.load(folder, like=talk.chat)
    _turn_to(talk, loaded)
    print(visible(f"Loaded '{folder}': {_who(loaded)}, {len(loaded.turns) // 2} exchanges so far."))


def _references(talk: Talk, words: str) -> None:
    chat = talk.chat
    if not chat.references:
        print("None yet: references are chosen when the first message is answered.")
    for place, dialogue in enumerate(chat.references, start=1):
        left_out = "  (did not fit into the prompt)" if place <= chat.dropped_references else ""
        print(f"{place}. {_named(dialogue)}{left_out}")
        for turn in dialogue.turns[:2]:
            print(visible(f"     {chat.person_id if turn.role == 'self' else 'partner'}: {_short(turn.text)}"))


def _forget(talk: Talk, words: str) -> None:
    if not words:
        print("Which one? /forget ID, of these:")
        print("\n".join(f"  {_named(dialogue)}" for dialogue in talk.chat.dialogues) or "  none")
        return
    person, forgotten = talk.people.get(talk.chat.person_id), talk.chat.forget(words)
    files = {dialogue.dialogue_id: talk.file for dialogue in person.dialogues} if person and talk.file else {}
    print("\n".join(visible(line) for line in forgotten_lines(forgotten, talk.chat.person_id, files)))


def forgotten_lines(forgotten: "Forgotten", person_id: str, files: Mapping[str, Path]) -> list[str]:
    """Return what was removed with a dialogue, and what is left, each with the command that deletes it in a line that
    is indented. files: those whose lines the person's dialogues stand in, by dialogue_id."""
    gone = set(forgotten.dialogue_ids)
    names = ", ".join(f"'{name}'" for name in forgotten.dialogue_ids)
    folders = "".join(f", and from '{folder}', whose conversation is emptied" for folder in forgotten.folders)
    left = [
        (f"the line of '{name}'", _line_deletion(person_id, name, file))
        for name, file in files.items()
        if name in gone
    ]
    left += [(kept.what, kept.command) for kept in forgotten.left]
    lines = [
        f"Forgotten: {names}. Gone from prompts and kept keys and values, from "
        f"'{cache_folder()}' ({forgotten.vectors} vectors, {forgotten.triples} extracted answers){folders}. The "
        "conversation begins anew."
    ]
    if left:
        lines.append("Not touched, with the command that deletes it, where there is such a thing:")
    return lines + [line for what, command in left for line in (f"  {what}:", f"    {command}")]


def _line_deletion(person_id: str, dialogue_id: str, file: Path) -> str:
    """Return the command that deletes the lines of a person's dialogue from JSON Lines, found by its ids, since other
    people may have dialogues of that id, and other deletions move the number of a line."""
    scripts = [
        f"-e {shlex.quote(f'/{person}/{{/{dialogue}/d;}}')}"
        for person in _as_in_json("person_id", person_id)
        for dialogue in _as_in_json("dialogue_id", dialogue_id)
    ]
    in_place = "-i ''" if sys.platform == "darwin" else "-i"
    return f"sed {in_place} {' '.join(scripts)} {shlex.quote(str(file.resolve()))}"


def _as_in_json(key: str, value: str) -> list[str]:
    """Return the patterns that sed finds a key with its value by, as the value may be written."""
    written = dict.fromkeys(json.dumps(value, ensure_ascii=as_ascii)[1:-1] for as_ascii in (False, True))
    spelled = (re.sub(r"([][\\/.*^$])", r"\\\1", text) for text in written)
    return [rf'"{key}": *"\{{0,1\}}{text}"\{{0,1\}} *[,}}]' for text in spelled]  # ids may be numbers


def _persona(talk: Talk, words: str) -> None:
    if words:
        if words not in talk.people:
            names = ", ".join(sorted(talk.people)) or "none but the one you talk to"
            raise ValueError(f"There is no person '{words}'.{did_you_mean(words, talk.people)} There are: {names}.")
        if words != talk.chat.person_id:
            _turn_to(talk, talk.chats.get(words) or talk.chat.with_person(talk.people[words]))
    chat = talk.chat
    print(visible(f"Talking to {_who(chat)}, by the model '{path_from_here(str(chat.name))}'."))
    if chat.partner_id:
        print(visible(f"Past dialogues with '{chat.partner_id}' are preferred."))
    if others := sorted(set(talk.people) - {chat.person_id}):
        print(visible(f"/persona NAME turns to: {', '.join(others)}."))


def _turn_to(talk: Talk, chat: "PersonaChat") -> None:
    """Go on with another chat and leave the one so far as it is."""
    talk.chats[talk.chat.person_id] = talk.chat
    talk.chat = chat


def _set(talk: Talk, words: str) -> None:
    name, _, value = words.replace("=", " ").strip().partition(" ")
    if not name:
        for setting, current in asdict(talk.chat.generation).items():
            print(f"  {setting} = {_value(current)}\n      {talk.help[setting].partition('; default')[0]}")
        print("/set NAME VALUE changes one.")
        return
    if name not in setting_names():
        names = setting_names()
        raise ValueError(f"There is no setting '{name}'.{did_you_mean(name, names)} There are: {', '.join(names)}.")
    if value.strip():
        changed = parsed_setting(name, value.strip())
        talk.chat.generation = replace(talk.chat.generation, **{name: changed})  # type: ignore[arg-type]
    print(f"{name} = {_value(getattr(talk.chat.generation, name))}")


def _reset(talk: Talk, words: str) -> None:
    talk.chat.reset()
    print("The conversation begins anew.")


def failure_line(error: Exception) -> str:
    """Return a line that tells of an error: what it says itself, and of one that nobody foresaw, such as where memory
    has run out, what it means."""
    if not isinstance(error, RuntimeError | MemoryError):
        return str(error)
    what = str(error).strip().partition("\n")[0].rstrip(".") or type(error).__name__
    return (
        f"That failed: {what}. The conversation is as it was before. Where memory has run out, try a shorter message "
        "or begin the conversation anew."
    )


def describe_settings(settings: GenerationSettings) -> str:
    """Return a line that tells how replies are written."""
    shown = ", ".join(f"{name} {_value(value)}" for name, value in asdict(settings).items())
    return f"Replies: {shown} (/set changes them)."


def _value(value: float | int | None) -> str:
    return "none" if value is None else str(value)


def _who(chat: "PersonaChat") -> str:
    return f"{chat.person_id}, known from {len(chat.dialogues)} dialogues"


def _named(dialogue: Dialogue) -> str:
    partner = f", with {dialogue.partner_id}" if dialogue.partner_id else ""
    return visible(f"{dialogue.dialogue_id}{partner} ({len(dialogue.turns)} lines)")


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= 90 else f"{line[:89]}…"


def _needed(words: str, usage: str) -> str:
    if not words:
        raise ValueError(f"A folder is missing: {usage}.")
    return str(Path(words).expanduser())


COMMANDS = {
    "/help": Command("", "list the commands", _help),
    "/why": Command(
        "[all]", "which past lines the last reply leans on; all: of all references, which takes longer", _why
    ),
    "/undo": Command("", "take back the last message and its reply", _undo),
    "/retry": Command("", "have the last message answered again", _retry),
    "/save": Command("FOLDER", "save the persona with the conversation", _save),
    "/load": Command("FOLDER", "go on with a saved one", _load),
    "/references": Command("", "the past dialogues that the prompt shows, in its order", _references),
    "/forget": Command("[ID]", "remove a past dialogue from prompts and caches; without an ID: list them", _forget),
    "/persona": Command("[NAME]", "whom you talk to; with a NAME: turn to another person of the file", _persona),
    "/set": Command("[NAME VALUE]", "show how replies are written, or change it", _set),
    "/reset": Command("", "begin the conversation anew", _reset),
}
