"""A chat in the terminal."""

from dataclasses import dataclass
from pathlib import Path

from idl_hf.arguments import option, required
from idl_hf.corpora.errors import CorpusError
from idl_hf.corpora.jsonl import read_dialogues
from idl_hf.schema import Person, group_by_person
from idl_hf.shown import visible


@dataclass
class ChatArguments:
    """Whom to talk to."""

    model: str = required("Adapter or model: a Hub id, a folder, or 'offline'.")
    dialogues: str = required("JSON Lines of past dialogues (see idl_hf.corpora.jsonl).")
    person: str | None = option(None, "person_id; may be left out if the file has one person.")
    encoder: str | None = option(None, "Sentence encoder, or 'offline'; default that of the adapter's training.")
    references: int | None = option(None, "How many past dialogues the model is shown; default as in training.")
    max_prompt_tokens: int | None = option(None, "Longer ones lose whole reference dialogues; default as in training.")
    max_new_tokens: int = option(60, "Longest reply.")
    temperature: float = option(0.0, "0: always the likeliest word.")


def chat_in_terminal(args: ChatArguments) -> None:
    """Answer lines until end of file (Ctrl-D), Ctrl-C or /quit; /reset starts the conversation anew."""
    from idl_hf.chat.persona_chat import PersonaChat  # here, since `chat --help` would pay for torch

    person = find_person(args.dialogues, args.person)
    chat = PersonaChat.from_pretrained(
        args.model, encoder=args.encoder, references=args.references, max_prompt_tokens=args.max_prompt_tokens
    )
    for dialogue in person.dialogues:
        chat.add_dialogue(dialogue.turns)
    generation: dict[str, float] = {"max_new_tokens": args.max_new_tokens}
    if args.temperature > 0:
        generation |= {"do_sample": True, "temperature": args.temperature}
    name = visible(person.person_id)
    print(f"Talking to {name}, known from {len(person.dialogues)} dialogues. /reset, /quit or Ctrl-D.")
    try:
        while (line := input("you: ").strip()) != "/quit":
            if line == "/reset":
                chat.reset()
            elif line:
                print(f"{name}: ", end="", flush=True)
                for piece in chat.stream(line, **generation):
                    print(visible(piece), end="", flush=True)
                print(flush=True)
    except (EOFError, KeyboardInterrupt):
        print()


def find_person(file: str | Path, person_id: str | None) -> Person:
    """Return a person of a JSON Lines file, or its only one. Raises CorpusError with the persons there are."""
    if not Path(file).is_file():
        raise CorpusError(f"The file '{file}' does not exist. Expected JSON Lines with one dialogue a line.")
    persons = {person.person_id: person for person in group_by_person(read_dialogues(file))}
    if person_id is None and len(persons) == 1:
        return next(iter(persons.values()))
    if person_id not in persons:
        wanted = f"has no person '{person_id}'" if person_id else "holds several persons; name one with --person"
        raise CorpusError(f"'{file}' {wanted}. Its persons are: {', '.join(sorted(persons))}.")
    return persons[person_id]
