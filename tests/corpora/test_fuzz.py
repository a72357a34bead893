"""All readers on small sound files that were cut, overwritten, re-encoded and shuffled: they give sound dialogues or a
CorpusError with file and line, and no dialogue is lost without being counted.

    python -m pytest -m slow tests/corpora/test_fuzz.py -s    # INPUTS files, and what became of them
"""

import csv
import io
import json
import pickle
import random
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from idl_hf.corpora import convai2, cornell_movie, jsonl, light, msc, personaext, plain_pickle, spc
from idl_hf.corpora.errors import CorpusError, ErrorLog
from idl_hf.schema import Dialogue, Turn

SEED, INPUTS = 0, 100_000  # of the slow test, over all readers
CONVAI2 = """\
1 your persona: i farm.
2 your persona: i drink café au lait.
3 hi\thello\t\tno .|hello|maybe .
4 you ?\ti farm .\t\ti farm .|i sail .
1 your persona: i sail.
2 partner's persona: i farm.
3 __SILENCE__\tmorning
1 your persona: i sail.
2 your persona: i swim.
3 ahoy\tahoy
"""
NO_PROFILES = "1 hi\thello\n2 you ?\ti farm .\n1 __SILENCE__\tmorning\n1 ahoy\tahoy\n"
JSONL = "".join(
    json.dumps(record, ensure_ascii=False) + "\n"
    for record in (
        {"person_id": "ruth", "dialogue_id": "1", "turns": [{"role": "self", "text": "café ?"}]},
        {
            "person_id": "ruth",
            "dialogue_id": "2",
            "profile": ["i farm."],
            "turns": [{"role": "partner", "text": "hi"}],
        },
        {"person_id": "dev", "dialogue_id": "1", "messages": [{"role": "system", "content": "be nice"}]},
        {"person_id": "dev", "dialogue_id": "2", "messages": [{"role": "assistant", "content": "hello"}]},
    )
)
LIGHT = (
    r"text:_task_speech\n_setting_name Barn, Farm\n_partner_name cow\n_self_name farmer\n_self_persona I farm. I sow."
    "\tlabels:Café?\tlabel_candidates:Café?|No. |Moo\n"
    r"text:_self_say Café?\n_partner_say Moo.\n_partner_act nod" + "\tlabels:Good cow\tepisode_done:True\n"
    r"text:_task_speech\n_partner_name farmer\n_self_name cow\n_self_persona I eat grass.\n_partner_say Café?"
    "\tlabels:Moo.\tepisode_done:True\n"
    r"text:_task_speech\n_partner_name imp\n_self_name elf\n_self_persona \n_partner_say Hey" + "\tlabels:Hm.\n"
    r"text:_self_say Hm.\n_self_emote sigh" + "\tlabels:Hm!\tepisode_done:True\n"
)
SPC = """\
user 1 personas,user 2 personas,Best Generated Conversation
"I farm.
I sow.","I sail.
I swim.","User 1: ""Café?""
User 2: No.

Tea.
[Later]
User 1: Bye!"
I read.,"I sail.
I swim.","User 1: Hi
User 2: Ahoy"
"I farm.
I sow.",I sing.,"*User 1:* Hi!
*User 2:* La!"
"""
LIGHT_RECORDS = [
    {
        "agents": [{"name": "cow", "persona": "I eat grass."}, {"name": "farmer", "persona": "I farm. I sow."}],
        "speech": ["Hello.", "Moo.", None, "Good cow."],
    },
    {"agents": [{"name": "imp", "persona": ""}, {"name": "elf", "persona": "I sing."}], "speech": ["Hey", None]},
]
CONVERSATIONS = """\
u0 +++$+++ u1 +++$+++ m0 +++$+++ ['L1', 'L2', 'L3']
u0 +++$+++ u1 +++$+++ m0 +++$+++ ['L4', 'L5']
u2 +++$+++ u3 +++$+++ m1 +++$+++ ['L6', 'L7']
"""
MOVIE_LINES = """\
L3 +++$+++ u0 +++$+++ m0 +++$+++ ANN +++$+++ <u>Café</u>?
L2 +++$+++ u1 +++$+++ m0 +++$+++ BEN +++$+++ Hello.
L1 +++$+++ u0 +++$+++ m0 +++$+++ ANN +++$+++ Hi.
L5 +++$+++ u1 +++$+++ m0 +++$+++ BEN +++$+++ I farm.
L4 +++$+++ u0 +++$+++ m0 +++$+++ ANN +++$+++ You ?
L7 +++$+++ u2 +++$+++ m1 +++$+++ CY +++$+++ 
L6 +++$+++ u3 +++$+++ m1 +++$+++ DI +++$+++ Ahoy.
"""
SESSIONS = [{"personas": [["i farm."], ["i sail."]], "dialog": [{"text": "hi"}, {"text": text}]} for text in "ab"]
MSC = "".join(
    json.dumps(record, ensure_ascii=False) + "\n"
    for record in (
        {
            "metadata": {"initial_data_id": pair},
            "init_personas": [["i farm.", "i sow."], ["i swim."]],
            "previous_dialogs": SESSIONS,
            "personas": [["i drink café."], []],
            "dialog": [{"text": "hello", "id": "Speaker 2"}, {"text": "hi", "id": "Speaker 1"}],
        }
        for pair in ("train_0", "train_1")
    )
)
PERSONAEXT = "".join(
    json.dumps({"triplets": [{"tokens": text.split(), "head": [0], "tail": [2, 3], "label": "have_pet"}]}) + "\n"
    for text in ("i have two dogs .", "i own a cat", "i have two dogs .")
)


def nonblank(content: bytes) -> list[bytes]:
    return [line for line in content.split(b"\n") if line.removeprefix(b"\xef\xbb\xbf").strip()]


def count_convai2(content: bytes) -> int:
    heads = [line.removeprefix(b"\xef\xbb\xbf").strip(b"\r").partition(b" ")[0] for line in nonblank(content)]
    return heads.count(b"1") + (bool(heads) and heads[0] != b"1")


def count_light(content: bytes) -> int:
    lines = [line.strip(b"\r") for line in nonblank(content)]
    ended = [True, *(b"episode_done:True" in line.split(b"\t") for line in lines)]
    begins = [b"\\n_self_name " in line or re.match(b"(\xef\xbb\xbf)?text:_task_", line) for line in lines]
    return sum(bool(after or begin) for after, begin in zip(ended, begins, strict=False))


def count_spc(content: bytes) -> int:
    text = content.decode("utf-8-sig", errors="surrogateescape")
    rows = [row for row in csv.reader(io.StringIO(text, newline="")) if any(value.strip() for value in row)]
    return 2 * (len(rows) - 1)


def count_pickle(content: bytes) -> int:
    return 2 * len(plain_pickle._PlainUnpickler(io.BytesIO(content)).load())


def read_convai2(path: Path, log: ErrorLog) -> list[Dialogue]:
    return convai2.group_persons(convai2.read_with_profiles(path, log), log=log)


def read_without_profiles(path: Path, log: ErrorLog) -> list[Dialogue]:
    """The mutated file has no profiles; a sound one beside it has."""
    path.with_name("train_self_original.txt").write_text(CONVAI2, encoding="utf-8")
    return read_convai2(path, log)


def read_beside(path: Path, log: ErrorLog) -> list[Dialogue]:
    """The mutated file is the one that is to give the profiles."""
    without = path.with_name("train_none_original.txt")
    without.write_text(NO_PROFILES, encoding="utf-8")
    return read_convai2(without, log)


def read_conversations(path: Path, log: ErrorLog) -> list[Dialogue]:
    lines = path.with_name(cornell_movie.LINES)
    lines.write_text(MOVIE_LINES, encoding="utf-8")
    return list(cornell_movie.read_dialogues([path, lines], log=log))


def read_movie_lines(path: Path, log: ErrorLog) -> list[Dialogue]:
    """The mutated file is the one that holds what is said."""
    conversations = path.with_name(cornell_movie.CONVERSATIONS)
    conversations.write_text(CONVERSATIONS, encoding="utf-8")
    return list(cornell_movie.read_dialogues([conversations, path], log=log))


def read_facts(path: Path, log: ErrorLog) -> list[Dialogue]:
    """Sentences as dialogues of one turn, so that the same holds of them."""
    return [
        Dialogue("", text, (Turn("self", text),), (fact.subject, fact.relation, fact.object))
        for text, fact in ((sentence.text, sentence.triple) for sentence in personaext.read_sentences(path, log))
    ]


class Reader(NamedTuple):
    file: str
    sound: str
    read: Callable[[Path, ErrorLog], list[Dialogue]]
    count: Callable[[bytes], int]  # the dialogues in a file, sound or not
    may_stop: bool = False  # with CorpusError even at on_error="skip"


READERS = {
    "convai2": Reader("train_self_original.txt", CONVAI2, read_convai2, count_convai2),
    "convai2 none": Reader("train_none_original.txt", NO_PROFILES, read_without_profiles, count_convai2),
    "convai2 beside": Reader("train_self_original.txt", CONVAI2, read_beside, lambda content: 3),
    "jsonl": Reader("train.jsonl", JSONL, lambda *a: list(jsonl.read_dialogues(*a)), lambda c: len(jsonl_lines(c))),
    "light": Reader("speech_train.txt", LIGHT, lambda *a: list(light.read_dialogues(*a)), count_light),
    "light pickle": Reader(
        "light-unseen-processed2.pkl", pickle.dumps(LIGHT_RECORDS, protocol=0).decode(),
        lambda path, log: list(light.read_pickle(path, "test_unseen", log)), count_pickle, may_stop=True,
    ),
    "cornell": Reader(
        cornell_movie.CONVERSATIONS, CONVERSATIONS, read_conversations, lambda content: 2 * len(jsonl_lines(content))
    ),
    "cornell lines": Reader(cornell_movie.LINES, MOVIE_LINES, read_movie_lines, lambda content: 2 * 3),
    "msc": Reader(
        "session_3_train.txt", MSC,
        lambda path, log: list(msc.read_dialogues([path], log)), lambda content: 6 * len(jsonl_lines(content)),
    ),
    "personaext": Reader("facts.jsonl", PERSONAEXT, read_facts, lambda c: len(jsonl_lines(c)), may_stop=True),
    "spc": Reader("x_train.csv", SPC, lambda *a: list(spc.read_dialogues(*a)), count_spc, may_stop=True),
}  # fmt: skip
# Of a pickle, and of a file without any sentence, no line is the cause
MESSAGE = re.compile(
    r"\S+\.(txt|jsonl|csv|pkl):[1-9]\d*: |'\S+\.pkl' cannot be read as a pickle|\S+: Expected (a list|at least one) "
)


def jsonl_lines(content: bytes) -> list[bytes]:
    return [line for line in content.split(b"\n") if line.strip()]


@pytest.fixture(params=READERS, scope="module")
def reader(request) -> Reader:
    return READERS[request.param]


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("fuzz")


def attempt(reader: Reader, path: Path, on_error: str) -> tuple[list[Dialogue], ErrorLog, str]:
    """Dialogues, log and the message of the CorpusError that stopped the reader."""
    log = ErrorLog(on_error)
    try:
        return reader.read(path, log), log, ""
    except CorpusError as error:
        return [], log, str(error)


def check(reader: Reader, folder: Path, content: bytes) -> tuple[int, int]:
    """Return how many dialogues were read and dropped."""
    path = folder / reader.file
    path.write_bytes(content)
    strict, _, stopped = attempt(reader, path, "raise")
    dialogues, log, gave_up = attempt(reader, path, "skip")

    for message in [*log.messages, *filter(None, [stopped, gave_up])]:
        assert MESSAGE.match(message), message[:200]
        assert len(message) < 1000, message[:200]
    assert reader.may_stop or not gave_up or re.search(r"found (UTF-16|a \w+ file)", gave_up)
    assert gave_up or len(dialogues) + log.drops.total() == reader.count(content)
    assert bool(stopped) == bool(log.messages or gave_up)
    assert stopped or strict == dialogues

    assert len({(dialogue.person_id, dialogue.dialogue_id) for dialogue in dialogues}) == len(dialogues)
    for dialogue in dialogues:
        texts = [text for turn in dialogue.turns for text in (turn.text, *turn.candidates)]
        assert dialogue.turns
        assert all(turn.text == turn.text.strip() != "" for turn in dialogue.turns)
        "".join([dialogue.person_id, dialogue.dialogue_id, *dialogue.profile, *texts]).encode()
    return len(dialogues), log.drops.total()


# Whole files of a kind


WHOLE = {
    "sound": lambda content: content,
    "empty": lambda content: b"",
    "blank": lambda content: b"\n \r\n\t\n",
    "UTF-16": lambda content: content.decode().encode("utf-16"),
    "UTF-16 big endian, no mark": lambda content: content.decode().encode("utf-16-be"),
    "cp1252": lambda content: content.decode().encode("cp1252"),
    "CRLF": lambda content: content.replace(b"\n", b"\r\n"),
    "lone CR": lambda content: content.replace(b"\n", b"\r"),
    "byte order mark": lambda content: b"\xef\xbb\xbf" + content,
    "byte order mark in each line": lambda content: b"\xef\xbb\xbf" + content.replace(b"\n", b"\n\xef\xbb\xbf"),
    "NULs": lambda content: content.replace(b" ", b"\0"),
    "line separators": lambda content: content.replace(b" ", "\u2028".encode()),
    "line separators as line ends": lambda content: content.replace(b"\n", "\u2028".encode()),
    "a giant word": lambda content: content.replace("é".encode(), b"x" * 1_000_000),
    "a giant line first": lambda content: b"x" * 1_000_000 + b"\n" + content,
    "a giant line last": lambda content: content + b"x" * 1_000_000,
    "a giant key": lambda content: content.replace(b'"turns"', b'"' + b"x" * 1_000_000 + b'"'),
    "a giant value": lambda content: content.replace(b'"self"', b'"' + b"x" * 1_000_000 + b'"').replace(
        b"I ", b"\t" * 9
    ),
    "giant values": lambda content: re.sub(rb'"(1|hi|hello|i farm\.)"', b"[" + b"1," * 100_000 + b"1]", content),
    "giant whitespace": lambda content: content.replace(b" ", b" " * 100_000, 3),
    "twice": lambda content: content + content,
    "no end": lambda content: content.rstrip(b"\n"),
    "tabs doubled": lambda content: content.replace(b"\t", b"\t\t"),
    "no spaces": lambda content: content.replace(b" ", b""),
    "no ids": lambda content: re.sub(rb'(?m)^\d+ |"dialogue_id": "\d",|_self_name \w+', b"", content),
    "ids all the same": lambda content: re.sub(rb'(?m)^\d+|"dialogue_id": "\d"', rb'"dialogue_id": "1"', content),
    "deep": lambda content: content.replace(b'["', b"[" * 100_000).replace(b"User 1", b'"' * 100_000),
    "quotes": lambda content: content.replace(b",", b'"'),
    "not a text": lambda content: bytes(range(256)) * 40,
}


@pytest.mark.parametrize("kind", WHOLE)
def test_a_file_of_that_kind_is_read_or_reported(reader, folder, kind):
    check(reader, folder, WHOLE[kind](reader.sound.encode()))


def test_the_byte_that_is_no_utf8_is_named_after_a_byte_order_mark_too(folder):
    path = folder / "train.jsonl"
    path.write_bytes(b'\xef\xbb\xbf{"person_id": "ren\xe9"}\n')
    with pytest.raises(CorpusError, match=r"train\.jsonl:1: Expected UTF-8 text, found the byte 0xe9"):
        list(jsonl.read_dialogues(path))


# Anything


PIECES = [
    b"",
    b"\n",
    b"\r",
    b"\r\n",
    b"\t",
    b" ",
    b"\0",
    b'"',
    b",",
    b"|",
    b":",
    b"{",
    b"[]",
    b"null",
    b"1 ",
    b"1",
    b"2 ",
]
PIECES += [
    b"\xff",
    b"\xe9",
    b"\xef\xbb\xbf",
    "\u2028".encode(),
    b"\\n",
    b"\\ud800",
    b"\\",
    b"self",
    b"system",
    b"User 1: ",
]
PIECES += [
    b"_self_say ",
    b"_partner_say ",
    b"\\n_self_name ",
    b"episode_done:True",
    b"labels:",
    b"text:",
    b"text:_task_",
]
PIECES += [b"your persona: ", b"partner's persona: ", b"__SILENCE__", b"\x1a", b"\x85", b"\xed\xa0\x80", b"[x]", b"*"]
PIECES += [b" +++$+++ ", b"'L1'", b"L2", b"u0", b"m1", b"</u>", b"Speaker 2", b"\n(lp1\n", b"cos\nsystem\n", b"."]
VALUES = [
    None,
    True,
    0,
    -1,
    1.5,
    10**400,
    "",
    " ",
    "self",
    "Speaker 1",
    "\ud800",
    "a,b",
    [],
    [[]],
    ["i farm."],
    [7],
    {},
]

places = st.floats(0, 1)
overwrites = st.tuples(
    st.just("overwrite"), places, st.integers(0, 12), st.sampled_from(PIECES) | st.binary(max_size=4)
)
cuts = st.tuples(st.sampled_from(["cut end", "cut beginning"]), places)
lines = st.tuples(st.sampled_from(["repeat line", "drop line", "swap lines"]), places)
mutations = st.lists(overwrites | cuts | lines, min_size=1, max_size=5)


def mutate(content: bytes, steps: list[tuple]) -> bytes:
    for kind, place, *rest in steps:
        at = int(place * len(content))
        parts = content.split(b"\n")
        line = min(int(place * len(parts)), len(parts) - 1)
        if kind == "overwrite":
            length, piece = rest
            content = content[:at] + piece + content[at + length :]
        elif kind == "cut end":
            content = content[:at]
        elif kind == "cut beginning":
            content = content[at:]
        elif kind == "repeat line":
            content = b"\n".join([*parts[: line + 1], *parts[line:]])
        elif kind == "drop line":
            content = b"\n".join(parts[:line] + parts[line + 1 :])
        elif kind == "other value":
            content = b"\n".join([*parts[:line], with_other_value(parts[line], *rest), *parts[line + 1 :]])
        else:
            content = b"\n".join([*parts[line:], *parts[:line]])
    return content


def with_other_value(line: bytes, number: int, value: Any) -> bytes:
    """Return a line of JSON with the value in the place of one that it holds; any other line as it is."""
    try:
        record = json.loads(line)
    except ValueError:
        return line
    if places := list(places_in(record)):
        container, key = places[number % len(places)]
        container[key] = value
    return json.dumps(record).encode()


def places_in(value: Any) -> Iterator[tuple[Any, Any]]:
    pairs = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in pairs:
        yield value, key
        yield from places_in(inner)


def any_step(rng: random.Random, has_values: bool) -> tuple:
    """Return a step of `mutate`; `mutations` makes such steps too, but takes ten times as long."""
    kinds = ["cut end", "cut beginning", "repeat line", "drop line", "swap lines", *["overwrite"] * 5]
    kind = rng.choice(kinds + ["other value"] * 5 * has_values)
    if kind == "overwrite":
        return (
            kind,
            rng.random(),
            rng.randint(0, 12),
            rng.choice([rng.choice(PIECES), rng.randbytes(rng.randint(0, 4))]),
        )
    return kind, rng.random(), *((rng.randrange(1000), rng.choice(VALUES)) if kind == "other value" else ())


@pytest.mark.slow
def test_a_hundred_thousand_mutated_files_are_read_or_reported(reader, folder, request):
    name, inputs = request.node.callspec.id, -(-INPUTS // len(READERS))
    rng = random.Random(f"{SEED} {name}")
    read = dropped = 0
    for _ in range(inputs):
        steps = [any_step(rng, reader.sound.startswith("{")) for _ in range(rng.randint(1, 5))]
        counts = check(reader, folder, mutate(reader.sound.encode(), steps))
        read, dropped = read + counts[0], dropped + counts[1]
    print(f"\n{name}, seed {SEED}: {inputs:,} files, {read:,} dialogues read, {dropped:,} dropped and counted")
    assert read > inputs / 20
    assert dropped > inputs / 20


@given(mutations)
@settings(max_examples=200)
@example([("overwrite", 0.0, 0, b"\xff")])
@example([("overwrite", 1.0, 0, b"\xff")])
def test_a_mutated_file_is_read_or_reported(reader, folder, steps):
    check(reader, folder, mutate(reader.sound.encode(), steps))


@pytest.mark.parametrize("name", ["convai2", "jsonl", "light"])
@given(places, st.sampled_from([piece for piece in PIECES if b"\n" not in piece]))
@settings(max_examples=60)
def test_a_change_within_a_line_loses_two_dialogues_at_most(folder, name, place, piece):
    """Two, for it may join or divide them."""
    reader = READERS[name]
    content = reader.sound.encode()
    at = int(place * len(content))
    path = folder / reader.file
    path.write_bytes(content)
    whole, _, _ = attempt(reader, path, "skip")
    path.write_bytes(content[:at] + piece + content[at:])
    dialogues, _, _ = attempt(reader, path, "skip")
    unchanged = {dialogue.turns for dialogue in whole} & {dialogue.turns for dialogue in dialogues}
    assert len(unchanged) >= len(whole) - 2
