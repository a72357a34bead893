r"""LIGHT (Urbanek et al., 2019): two players of a text adventure, as ParlAI's text export or as the published pickles.

In the export each line is one reply, `text:...<TAB>labels:...<TAB>label_candidates:a|b|c`, the last of an episode with
`<TAB>episode_done:True`; the two characters \n are a line break in a text. The first text of an episode tells setting,
names and the persona, the others begin with the reply given last. The person is the player who gives the labels;
only what is said is read, not what is done or how somebody looks.
"""

import hashlib
import random
import re
import shutil
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from idl_hf.cache import write_whole
from idl_hf.corpora import plain_pickle
from idl_hf.corpora.errors import CorpusError, ErrorLog, MalformedError
from idl_hf.corpora.files import find_splits, text_lines
from idl_hf.schema import Dialogue, Turn, clean

SEEN, UNSEEN = "light-dialog-processed-small7.pkl", "light-unseen-processed2.pkl"  # as published
_SETUP = (
    *("task_speech", "setting_name", "setting_desc", "object_desc"),
    *("partner_name", "self_name", "self_persona", "other_persona"),
)
_TAGGED = re.compile(rf"_({'|'.join(_SETUP)}|(?:self|partner)_(?:say|act|emote))(?: (.*))?", re.DOTALL)
_FIELDS = {"id", "text", "labels", "label_candidates", "episode_done", "reward"}
_SENTENCE_END = re.compile(r"(?<=[.!?])(?<!\bMr\.)(?<!\bDr\.)(?<!\bSt\.)(?<!\bMrs\.)\s+")


class _Episode(NamedTuple):
    lines: list[tuple[int, bytes]]
    problem: str = ""  # with its last line


class _Player(NamedTuple):
    name: str
    persona: str
    turns: tuple[Turn, ...]  # as this player sees them


def read_dialogues(path: str | Path, log: ErrorLog | None = None) -> Iterator[Dialogue]:
    """Yield the dialogues of a text export in file order. A malformed line is reported to `log`, and its whole episode
    is left out. dialogue_id counts the episodes of the file, those left out too."""
    log = log or ErrorLog()
    for number, episode in enumerate(_episodes(path), start=1):
        try:
            yield _dialogue(_parse(episode), f"episode-{number}", f"{Path(path).name}:{episode.lines[0][0]}")
        except MalformedError as error:
            log.report(path, *error.args)


def _dialogue(player: _Player, dialogue_id: str, source: str) -> Dialogue:
    person_id = hashlib.sha1(clean(f"{player.name}\n{player.persona}").encode()).hexdigest()[:12]
    profile = tuple(sentence for sentence in _SENTENCE_END.split(player.persona) if sentence)
    return Dialogue(person_id, dialogue_id, player.turns, profile, source)


def _episodes(path: str | Path) -> Iterator[_Episode]:
    lines: list[tuple[int, bytes]] = []
    for position, raw in text_lines(path):
        if lines and (raw.startswith(b"text:_task_") or b"\\n_self_name " in raw):
            yield _Episode(lines, "Expected 'episode_done:True' here, for a new episode follows.")
            lines = []
        lines.append((position, raw))
        if b"episode_done:True" in raw.split(b"\t"):
            yield _Episode(lines)
            lines = []
    if lines:
        yield _Episode(lines, "The file ends within an episode. Expected 'episode_done:True' on its last line.")


def _fields(line: int, raw: bytes) -> dict[str, str]:
    try:
        parts = [part.partition(":") for part in raw.decode().split("\t") if part.strip()]
    except UnicodeDecodeError as error:
        raise MalformedError(line, f"Expected UTF-8 text, found the byte {raw[error.start]:#x}.") from error
    fields = {name: value for name, _, value in parts}
    if not {"text", "labels"} <= set(fields) <= _FIELDS or len(fields) < len(parts) or not fields["labels"].strip():
        shown = ", ".join(repr("".join(part)[:30]) for part in parts[:6])
        raise MalformedError(line, f"Expected 'text:...<TAB>labels:...', both once and a label given, found {shown}.")
    return fields


def _parse(episode: _Episode) -> _Player:
    examples = [(line, _fields(line, raw)) for line, raw in episode.lines]
    if episode.problem:
        raise MalformedError(examples[-1][0], episode.problem)
    about: dict[str, str] = {}
    turns: list[Turn] = []
    last_reply = None  # until it was repeated
    for line, fields in examples:
        for tag, value in _tagged(line, fields["text"]):
            if tag in _SETUP:
                about.setdefault(tag, value)
            elif tag == "partner_say" and value:
                turns.append(Turn("partner", value))
            elif tag == "self_say":
                if value != last_reply:
                    problem = f"Expected '_self_say' to repeat the label of the line before, found {value[:80]!r}."
                    raise MalformedError(line, problem)
                last_reply = None
        last_reply = _unescape(fields["labels"])
        candidates = [_unescape(text) for text in fields.get("label_candidates", "").split("|")]
        turns.append(Turn("self", last_reply, tuple(text for text in candidates if text not in ("", last_reply))))
    if not about.get("self_name") or "self_persona" not in about:
        raise MalformedError(examples[0][0], "Expected '_self_name' and '_self_persona' to know the person by.")
    return _Player(about["self_name"], about["self_persona"], tuple(turns))


def _tagged(line: int, text: str) -> list[tuple[str, str]]:
    """Return (tag, value) of each `_tag value` line; a line without a tag goes on with the value before it."""
    values: list[tuple[str, str]] = []
    for part in _unescape(text).split("\n"):
        if match := _TAGGED.fullmatch(part):
            values.append((match[1], match[2] or ""))
        elif values:
            values[-1] = (values[-1][0], f"{values[-1][1]}\n{part}")
        elif part:
            raise MalformedError(line, f"Expected a line such as '_partner_say hello', found {part[:80]!r}.")
    return [(tag, value.strip()) for tag, value in values]


def _unescape(text: str) -> str:
    return text.replace("\\t", "\t").replace("\\n", "\n").replace("__PIPE__", "|").strip()


def read_pickle(path: str | Path, split: str, log: ErrorLog | None = None) -> Iterator[Dialogue]:
    """Yield the dialogues of a split, each as both players see it, as ParlAI exports them from the published pickles.
    The same people, ids and turns as in the text, but no candidates, which ParlAI draws. "test_unseen" is all of its
    own pickle, the other splits are parts of the large one. Lines in errors and sources are the numbers of the
    pickle's records."""
    log = log or ErrorLog()
    records = plain_pickle.load(path)
    if not isinstance(records, list):
        raise CorpusError(f"{path}: Expected a list of dialogues, found {type(records).__name__}.")
    number = 0
    for position in _members(path, split, len(records)):
        players = _players(records[position])
        if not players:
            problem = "Expected a dict with 'agents' (two, each with name and persona) and 'speech' (texts or None)."
            log.report(path, position + 1, problem, dialogues=2)
            number += 2
        for player in players:
            if player.turns:
                number += 1
                yield _dialogue(player, f"episode-{number}", f"{Path(path).name}:{position + 1}")
            else:
                log.drops["dialogue in which the player says nothing"] += 1


def _members(path: str | Path, split: str, count: int) -> Iterable[int]:
    """Return which records are a split's: ParlAI draws test and validation from those in which objects are handled."""
    if split == "test_unseen":
        return range(count)
    drawn = list(range(1368, 4733))
    if count <= drawn[-1]:
        raise CorpusError(
            f"{path}: Expected more than {drawn[-1]:,} dialogues as in the published {SEEN}, found {count:,}. "
            f"{UNSEEN} holds the split 'test_unseen' only."
        )
    random.Random(42).shuffle(drawn)
    splits = {"test": drawn[:1000], "validation": drawn[1000:1500]}
    splits["train"] = list(set(range(count)) - set(drawn[:1500]))
    if split not in splits:
        raise CorpusError(f"{path}: The split '{split}' is unknown. A pickle has {', '.join(splits)}, test_unseen.")
    return sorted(splits[split])


def _players(record: object) -> list[_Player]:
    """Return the second player, then the first, who begins; none if the record is malformed.
    What the other says after a player's last reply is in no text of the export, nor here."""
    if not isinstance(record, dict):
        return []
    try:
        about = [(agent["name"].strip(), agent["persona"].strip()) for agent in record["agents"]]
        speech = [text if text is None else text.strip() for text in record["speech"]]
        "".join(text for texts in (*about, speech) for text in texts if text is not None).encode()
    except (TypeError, KeyError, AttributeError, UnicodeEncodeError):  # the last for half of a surrogate pair
        return []
    if len(about) != 2 or not all(name for name, _ in about) or not isinstance(record["speech"], list | tuple):
        return []
    players = []
    for own in (1, 0):
        turns = [Turn("self" if i % 2 == own else "partner", text) for i, text in enumerate(speech) if text]
        while turns and turns[-1].role == "partner":
            turns.pop()
        name, persona = about[own]
        players.append(_Player(name, persona, tuple(turns)))
    return players


def read_split(path: str | Path, split: str, log: ErrorLog) -> Iterator[Dialogue]:
    """Return the dialogues of a split: of a pickle those that are the split's, of a text export all."""
    return read_pickle(path, split, log) if Path(path).suffix == ".pkl" else read_dialogues(path, log)


def split_files(folder: str | Path) -> dict[str, list[str]]:
    """Return the files of each split: the text export, which has candidates, or else the pickles, by either name."""
    root = Path(folder).expanduser().resolve()
    exported = any(root.glob("speech_*.txt"))
    files = find_splits(
        root,
        lambda split: [f"speech_{split}.txt"] if exported else [SEEN, "light_data.pkl"],
        f"ParlAI's files speech_train.txt, speech_valid.txt, speech_test.txt, or else {SEEN} (light_data.pkl)",
    )
    names = ["speech_test_unseen.txt"] if exported else [UNSEEN, "light_unseen_data.pkl"]
    unseen = next((file for name in names if (file := root / name).is_file()), None)
    return files | ({"test_unseen": [str(unseen)]} if unseen else {})


def gather(downloads: Mapping[str, str], folder: str | Path) -> str:
    """Return the folder, in which the downloads now have the names they are published under."""
    for name, download in downloads.items():
        with write_whole(Path(folder, name)) as partial:
            shutil.copyfile(download, partial)
    return str(Path(folder))
