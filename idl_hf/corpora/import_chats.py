"""`idl-hf import`: a chat export becomes dialogues of one person, or of each, as JSON Lines."""

import json
import math
import re
import shlex
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TextIO

from idl_hf.arguments import option, required
from idl_hf.cache import forget_remains, write_whole
from idl_hf.corpora.errors import CorpusError, ErrorLog
from idl_hf.corpora.exports.chats import Chats
from idl_hf.corpora.exports.dates import ORDERS
from idl_hf.corpora.exports.dialogues import Cuts, Session, dialogue_of, sessions
from idl_hf.corpora.exports.formats import AUTO, format_of, formats, options_of, reader_of
from idl_hf.corpora.exports.mask import Mask
from idl_hf.corpora.names import alike
from idl_hf.schema import Dialogue, clean, comparable
from idl_hf.shown import visible

EVERYBODY = "all"
REPORT = "import_report.json"
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_NO_PERSON = "message of a chat without the person"
_ONE_SIDE = "message of a session in which one side is silent"
_NOBODY = ("system line", "tool", "bot")  # reasons to drop what no partner of a conversation said
_FEWEST_TRAINED = 2  # dialogues of a person, one of which the other can refer to
_EXAMPLES, _EXAMPLE_TURNS, _EXAMPLE_WIDTH = 3, 6, 100


@dataclass
class ImportArguments:
    """From which chats, whose dialogues, and how they are cut."""

    format: str = required("'auto', or the app that wrote the file.")
    file: str = required("The export: a file, an archive or a folder, as the app wrote it.")
    person: str = required(
        "Whose turns are learnt: a name as the export has it; 'all': each in turn. --me is the same.", "--me"
    )
    output_dir: str = required("Folder for train.jsonl, validation.jsonl and import_report.json.")
    burst: str = option("5m", "Messages of one speaker with less than this between them are one turn: 30s, 5m, 1h.")
    pause: str = option("6h", "A dialogue ends where nobody writes for longer than this.")
    max_turns: int = option(20, "A dialogue ends after so many turns.")
    validation: float = option(0.2, "Share of each person's dialogues, the last ones, that goes to validation.jsonl.")
    date_order: str | None = option(None, "How dates are written, where the file does not tell.", choices=ORDERS)
    text_column: str = option("", "csv: the column of what is said.")
    speaker_column: str = option("", "csv: the column of who says it.")
    time_column: str = option("", "csv: the column of when.")
    conversation_column: str = option("", "csv: the column of the chat that a message belongs to.")
    mask: bool = option(
        False,
        "Replace phone, account and card numbers, mail and web addresses; docs/import.md says what is not found.",
    )
    hide: list[str] = field(default_factory=list, metadata={"help": "Names to replace too, with --mask."})
    region: str = option("", "With --mask: the country of phone numbers without a country's code, such as DE.")
    dry_run: bool = option(False, "Say what would be written, and write nothing.")

    def cuts(self) -> Cuts:
        """Return where turns and dialogues end. Raises ValueError for what is no duration or number of turns."""
        if self.max_turns < 2:
            raise ValueError(f"--max_turns must be at least 2, one turn of each side, found {self.max_turns}.")
        return Cuts(_seconds("burst", self.burst), _seconds("pause", self.pause), self.max_turns)


@dataclass
class Import:
    """What an export held, and what of it is in a dialogue: messages = in_dialogues + the sum of dropped."""

    format: str
    messages: int = 0
    in_dialogues: int = 0
    dropped: Counter[str] = field(default_factory=Counter)
    dialogues: int = 0
    people: int = 0

    def report(self) -> dict[str, str | int | dict[str, int]]:
        """Return it as import_report.json holds it."""
        return {**vars(self), "dropped": dict(sorted((+self.dropped).items()))}


@dataclass(frozen=True)
class Account:
    """What became of the messages of an export: its file and format, numbers by what they count, and remarks."""

    title: str
    numbers: dict[str, int]
    remarks: list[str]

    def lines(self) -> list[str]:
        """Return it for a terminal."""
        width = max(map(len, self.numbers))
        numbers = [f"{name:<{width}}  {count:>9,}" for name, count in self.numbers.items()]
        return [self.title, "", *numbers, *self.remarks]


@dataclass(frozen=True)
class Imported:
    """The dialogues of an export, and what became of its messages."""

    dialogues: list[Dialogue]
    account: Account


def import_chats(args: ImportArguments) -> None:
    """Write the dialogues of an export, and print what became of its messages."""
    if not 0 <= args.validation < 1:
        raise ValueError(f"--validation must be a share from 0 to below 1, found {args.validation}.")
    mask, folder = _mask(args), Path(args.output_dir).expanduser()
    replaces = _may_write(folder)
    with Chats() as chats:
        log, made = ErrorLog("skip"), _import_of(args)
        cut = _read_and_cut(args, chats, made, mask, log)
        held_out = _held_out(cut, made, args, log)
        counts: Counter[str] = Counter()
        examples = _write(folder, cut, held_out, made, counts, args.dry_run)
    _print(args, made, counts, examples, log, mask, replaces)


def import_in_memory(args: ImportArguments) -> Imported:
    """Return the dialogues of an export, of which nothing is written; output_dir and validation are of no account.

    Raises ValueError and OSError for options and files that are wrong.
    """
    mask = _mask(args)
    with Chats() as chats:
        log, made = ErrorLog("skip"), _import_of(args)
        cut = _read_and_cut(args, chats, made, mask, log)
        _held_out(cut, made, args, log)
        return Imported(list(cut.dialogues()), _account_of(args, made, Counter(), log, mask))


def _mask(args: ImportArguments) -> Mask | None:
    if args.hide and not args.mask:
        raise ValueError("--hide names what --mask is to replace. Pass --mask too.")
    return Mask(args.hide, args.region) if args.mask else None


def _import_of(args: ImportArguments) -> Import:
    return Import(format_of(args.format, Path(args.file).expanduser()))


def _read_and_cut(args: ImportArguments, chats: Chats, made: Import, mask: Mask | None, log: ErrorLog) -> "_Cutting":
    """Fill the chats, and return the dialogues that are in them."""
    cuts, path = args.cuts(), Path(args.file).expanduser()
    _read(path, args, chats, made, mask, log)
    people = _people(args.person, chats, made, path, log)
    if clean(args.person) != EVERYBODY:
        _note_namesakes(people, chats, log)
    return _Cutting(chats, cuts, people, mask or str, path.stem)


def _seconds(name: str, text: str) -> float:
    match = re.fullmatch(r"(\d{1,6}(?:\.\d+)?)([smhd])", text.strip())
    if match is None:
        raise ValueError(f"--{name} must be a duration such as 30s, 5m, 6h or 2d, found '{text}'.")
    return float(match[1]) * _SECONDS[match[2]]


def _may_write(folder: Path) -> bool:
    """Return whether an import of before will be replaced. Raises ValueError where other files would be."""
    if (folder / REPORT).is_file():
        return True
    others = [name for name in ("train.jsonl", "validation.jsonl") if (folder / name).exists()]
    if others or (folder.exists() and not folder.is_dir()):
        raise ValueError(
            f"'{folder}' holds files that no import wrote ({', '.join(others)}). Choose another --output_dir."
            if others
            else f"'{folder}' is a file. --output_dir must be a folder."
        )
    return False


def _read(path: Path, args: ImportArguments, chats: Chats, made: Import, mask: Mask | None, log: ErrorLog) -> None:
    """Fill the chats with the texts of an export and count what else it holds."""
    taken = options_of(made.format)
    given = {name: getattr(args, name) for name in _reader_options() if getattr(args, name)}
    if strange := [f"--{name}" for name in given if name not in taken]:
        raise ValueError(f"The format {made.format} has no use for {', '.join(strange)}.")
    for message in reader_of(made.format)(path, log, **given):
        made.messages += 1
        speaker, text = clean(_sound(message.speaker)), clean(_sound(message.text))
        reason = message.dropped or ("" if comparable(text) else "empty") or ("" if speaker else "no speaker")
        if reason:
            made.dropped[reason] += 1
            text = ""
        if speaker and reason not in _NOBODY:
            chats.add(clean(_sound(message.conversation)), speaker, mask(text) if mask else text, message.time)
    if malformed := log.drops.total():
        made.messages += malformed
        made.dropped["malformed"] += malformed
    if not made.messages:
        raise CorpusError(f"'{path}' holds no message.")


def _reader_options() -> list[str]:
    return list(dict.fromkeys(name for known in formats() for name in options_of(known)))


def _sound(text: str) -> str:
    """Return a text that can be written down: JSON may hold half of a surrogate pair."""
    return text.encode("utf-8", "replace").decode()


def _people(asked: str, chats: Chats, made: Import, path: Path, log: ErrorLog) -> list[str]:
    """Return whose turns are learnt. Raises ValueError, with the names there are, for a name that is none."""
    counts = {name: count for name, count in chats.speakers().items() if count}
    if not counts:
        raise CorpusError(f"'{path}' holds no text of anybody. {_account(made, log)}")
    name = clean(asked)
    if name in counts:
        return [name]
    if name == EVERYBODY:
        return list(counts)
    meant = alike(name, counts)
    if len(meant) == 1:
        return meant
    ranked = sorted(counts.items(), key=lambda item: -item[1])
    listed = ", ".join(f"'{known}' ({count} messages)" for known, count in ranked[:20])
    more = f" and {len(ranked) - 20} others" if len(ranked) > 20 else ""
    raise ValueError(f"Nobody in '{path}' is called '{asked}'. --person takes {EVERYBODY} or one of: {listed}{more}.")


def _note_namesakes(people: list[str], chats: Chats, log: ErrorLog) -> None:
    """Note who else has the name of the person that is learnt, told apart by the id behind it."""
    (person,) = people
    for name, count in chats.speakers().items():
        if count and name.startswith(f"{person} (") and name.endswith(")"):
            log.notes[f"message of '{name}', who is told apart from '{person}': --person takes either"] = count


@dataclass(frozen=True)
class _Cutting:
    """The dialogues of an export, made anew each time they are asked for."""

    chats: Chats
    cuts: Cuts
    people: list[str]
    named: Callable[[str], str]
    file: str

    def sessions(self) -> Iterator[tuple[str, Session, list[str]]]:
        """Yield each session with its conversation and with those who have it as a dialogue."""
        people = set(self.people)
        for conversation in self.chats.conversations():
            for session in sessions(self.chats.said(conversation), self.cuts):
                speakers = session.speakers
                owners = [name for name in speakers if name in people] if len(speakers) > 1 else []
                yield conversation, session, owners

    def dialogues(self) -> Iterator[Dialogue]:
        """Yield the dialogues, each with an id of its own: the partner and a number."""
        numbers: Counter[tuple[str, str]] = Counter()
        for conversation, session, owners in self.sessions():
            speakers = self.chats.speakers(conversation)
            for person in owners:
                others = [name for name in speakers if name != person]
                partner = others[0] if len(others) == 1 else conversation or self.file
                named = (self.named(person), self.named(partner))
                numbers[named] += 1
                yield dialogue_of(session, person, partner, numbers[named], self.named)


def _held_out(cut: _Cutting, made: Import, args: ImportArguments, log: ErrorLog) -> set[int]:
    """Return the numbers of the dialogues for validation, the last ones of each person in time.
    What becomes of each message is counted on the way. Raises CorpusError where there is no dialogue."""
    begins: dict[str, list[tuple[float, int]]] = defaultdict(list)
    people = set(cut.people)
    for conversation, session, owners in cut.sessions():
        if owners:
            made.in_dialogues += session.messages
        else:
            is_there = people & cut.chats.speakers(conversation).keys()
            made.dropped[_ONE_SIDE if is_there else _NO_PERSON] += session.messages
        for person in owners:
            begins[person].append((-math.inf if session.begin is None else session.begin, made.dialogues))
            made.dialogues += 1
    if not made.dialogues:
        raise CorpusError(f"'{args.file}' holds no session with a turn of each side. {_account(made, log)}")
    made.people = len(begins)
    held_out = set()
    for own in begins.values():
        count = max(0, min(int(len(own) * args.validation + 1e-9), len(own) - _FEWEST_TRAINED))
        held_out |= {number for _, number in sorted(own)[len(own) - count :]}
    return held_out


def _write(
    folder: Path, cut: _Cutting, held_out: set[int], made: Import, counts: Counter[str], dry_run: bool
) -> list[Dialogue]:
    """Write the files and return examples; `counts` gets the dialogues of each split."""
    shown = {made.dialogues * i // _EXAMPLES for i in range(_EXAMPLES)}
    examples: list[Dialogue] = []
    with ExitStack() as stack:
        files: dict[str, TextIO] = {}
        if not dry_run:
            for split in ("train", "validation") if held_out else ("train",):
                partial = stack.enter_context(write_whole(folder / f"{split}.jsonl", private=True))
                files[split] = stack.enter_context(open(partial, "w", encoding="utf-8"))
            # The last one takes its place first: with the report there, another import may replace what was cut short
            partial = stack.enter_context(write_whole(folder / REPORT, private=True))
            partial.write_text(json.dumps(made.report(), ensure_ascii=False, indent=2) + "\n", encoding="utf-8")
        for number, dialogue in enumerate(cut.dialogues()):
            split = "validation" if number in held_out else "train"
            counts[split] += 1
            if files:
                files[split].write(_line(dialogue))
            if number in shown:
                examples.append(dialogue)
    if not dry_run and not held_out:
        (folder / "validation.jsonl").unlink(missing_ok=True)  # of an import of before
        forget_remains(folder / "validation.jsonl")
    return examples


def _line(dialogue: Dialogue) -> str:
    turns = [
        {"role": turn.role, "text": turn.text, "time": turn.time, "speaker": turn.speaker} for turn in dialogue.turns
    ]
    turns = [{name: value for name, value in turn.items() if value} for turn in turns]
    record = {"person_id": dialogue.person_id, "dialogue_id": dialogue.dialogue_id, "partner_id": dialogue.partner_id}
    return json.dumps({**record, "turns": turns}, ensure_ascii=False) + "\n"


def _account(made: Import, log: ErrorLog) -> str:
    reasons = ", ".join(f"{count} x {reason}" for reason, count in made.dropped.most_common())
    account = f"Of its {made.messages} messages {made.in_dialogues} are in dialogues; left out: {reasons or 'none'}."
    return f"{account} The first that is malformed: {log.messages[0]}" if log.messages else account


def _print(
    args: ImportArguments,
    made: Import,
    counts: Counter[str],
    examples: list[Dialogue],
    log: ErrorLog,
    mask: Mask | None,
    replaces: bool,
) -> None:
    """Print what became of the messages, examples, and the command to go on with."""
    lines = _account_of(args, made, counts, log, mask).lines()
    for dialogue in examples:
        lines += ["", f"{dialogue.person_id} with {dialogue.partner_id}, {dialogue.turns[0].time or 'no time'}"]
        lines += [_shown(turn.role, turn.speaker, turn.text) for turn in dialogue.turns[:_EXAMPLE_TURNS]]
        lines += ["  ..."] * (len(dialogue.turns) > _EXAMPLE_TURNS)
    if args.dry_run:
        lines += ["", "Nothing was written (--dry_run)."]
    else:
        written = str(Path(args.output_dir).expanduser())
        person, folder = shlex.quote(examples[0].person_id), shlex.quote(written)
        lines += ["", f"{'Replaced the import in' if replaces else 'Written to'} {written}. To go on:"]
        lines += [f"  idl-hf fit {folder} --person={person} --output_dir {folder}/fit"]
    print(visible("\n".join(lines)))


def _account_of(
    args: ImportArguments, made: Import, counts: Counter[str], log: ErrorLog, mask: Mask | None
) -> Account:
    """Return what became of the messages; counts: of the dialogues in each file."""
    numbers = {"messages": made.messages, "in dialogues": made.in_dialogues}
    numbers |= {f"left out: {reason}": count for reason, count in made.dropped.most_common()}
    numbers |= {"dialogues": made.dialogues, **{f"  in {split}.jsonl": count for split, count in counts.items()}}
    numbers |= {"people": made.people}
    numbers |= {f"{kind}s replaced": count for kind, count in (mask.counts if mask else {}).items()}
    remarks = [f"{count} x {what}" for what, count in log.notes.items()]
    remarks += [f"malformed: {message}" for message in log.messages[:5]]
    return Account(f"{args.file}: {made.format}" + (" (detected)" if args.format == AUTO else ""), numbers, remarks)


def _shown(role: str, speaker: str, text: str) -> str:
    name = f"{role} ({speaker})" if speaker else role
    text = text.replace("\n", " / ")
    return f"  {name}: {text if len(text) <= _EXAMPLE_WIDTH else text[: _EXAMPLE_WIDTH - 4] + ' ...'}"
