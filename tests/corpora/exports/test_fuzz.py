"""All readers on small sound exports that were cut, overwritten and filled with other values: they give messages or
one sentence, and each entry of what still is JSON is a message or a line of the log.

    python -m pytest -m slow tests/corpora/exports/test_fuzz.py -s    # INPUTS exports of each, and what became of them
"""

import copy
import importlib
import io
import json
import random
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from idl_hf.corpora.errors import MALFORMED, CorpusError, ErrorLog
from idl_hf.corpora.exports.message import Message
from tests.corpora.damage import overwritten
from tests.corpora.exports.samples import SAMPLES, TELEGRAM_ALL, as_meta_writes, pretty

SEED, INPUTS = 0, 20_000
WRITTEN: dict[Path, bytes] = {}  # what the files hold that are there
EXPORTS = {**SAMPLES, "telegram all": {"result.json": pretty(TELEGRAM_ALL)}}
PIECES = [
    *(b'"', b"\\", b"{", b"}", b"[", b"]", b",", b":", b"\n", b"\r", b"\0", b"\xff", b"\xc3", b"\xef\xbb\xbf", b"-"),
    *(b"null", b"NaN", b"-Infinity", b"1e999", b"\\ud83d", b"\\u0000", b'"messages"', b'"text"', b"[" * 3000),
    *(b"9" * 9000, b"<@U1>", b"&amp;", b'{"a":' * 2000, "\u202e".encode(), "é".encode()),
]  # fmt: skip
VALUES = [
    *(None, True, False, 0, -1, 1.5, 10**30, 10**399, float("nan"), float("inf"), -1e308, "", " ", "\n", "x" * 50),
    *("\ud83d", "\x00", "NaN", "1e400", "9999-99-99T99:99:99", "user", "service", "message", [], {}, [[]], {"a": {}}),
    *([{}], ["a", 1, None], {"type": "x", "text": "y"}, {"id": []}, [[[[]]]], "<@U1|<b>>", "\u202e", "0", "²"),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("exports")


def attempt(name: str, folder: Path, files: dict[str, bytes]) -> tuple[list[Message], ErrorLog, str]:
    """Read an export; return its messages, its log and the sentence that ended it, "" if it was read to its end."""
    root = folder / name.replace(" ", "-")
    for file, content in files.items():
        if WRITTEN.get(root / file) != content:
            (root / file).parent.mkdir(parents=True, exist_ok=True)
            (root / file).write_bytes(content)
            WRITTEN[root / file] = content
    path = root if len(files) > 1 else root / next(iter(files))
    module = importlib.import_module(f"idl_hf.corpora.exports.{name.partition(' ')[0]}")
    assert module.found(path) in (True, False)
    log, messages = ErrorLog("skip"), []
    try:
        messages.extend(module.read(path, log))
    except CorpusError as error:
        return messages, log, str(error)
    return messages, log, ""


def check(name: str, folder: Path, files: dict[str, bytes]) -> tuple[list[Message], ErrorLog, str]:
    messages, log, sentence = attempt(name, folder, files)
    for message in messages:
        assert all(type(value) is str for value in (message.speaker, message.text, message.place, message.dropped))
        json.dumps([message.speaker, message.text, message.conversation], ensure_ascii=False).encode()
        assert bool(message.text.strip()) != bool(message.dropped), message
        assert message.dropped or message.speaker.strip(), message
        assert message.place, message
        assert message.time is None or message.time.isoformat()
    assert len(log.messages) == log.drops[MALFORMED]
    assert all(text.endswith(".") and len(text) < 600 for text in [*log.messages, sentence or "."])
    return messages, log, sentence


def of_lists(value: object, key: str) -> int:
    """Return how many entries the list under `key` has; a record without it is one that is malformed."""
    turns = value.get(key) if isinstance(value, dict) else None
    return len(turns) if isinstance(turns, list) else 1


def entries(name: str, file: str, value: object) -> int:
    """Return how many entries the JSON of a file of an export has. Raises KeyError where it has no list of them."""
    if name == "telegram all":
        return sum(
            len(chat.get("messages", ())) if isinstance(chat, dict) else 1
            for key in ("chats", "left_chats")
            for chat in value.get(key, {}).get("list", ())
        )
    if name == "slack":
        return len(value) if "/" in file else 0  # the lists of people and channels are no messages
    if name == "chatgpt":
        return sum(nodes_of(conversation) for conversation in value)
    return len(value["messages"])


def nodes_of(conversation: object) -> int:
    nodes = conversation.get("mapping") if isinstance(conversation, dict) else None
    if not isinstance(nodes, dict):
        return 1
    return sum(not isinstance(node, dict) or node.get("message") is not None for node in nodes.values())


def of_lines(name: str, content: bytes) -> int:
    records = [json.loads(line) for line in content.splitlines() if line.strip()]
    if name == "sillytavern":
        names = ("user_name", "character_name", "chat_metadata")
        first = records[0] if records and isinstance(records[0], dict) else {}
        return len(records) - ("mes" not in first and any(key in first for key in names))
    key = {"sharegpt": "conversations", "openai": "messages"}[name]
    return sum(of_lists(record, key) for record in records)


def with_other_values(name: str, file: str, content: bytes, rng: random.Random) -> bytes:
    """Return a file's JSON with other values at some places of it."""
    if file.endswith(".jsonl"):
        records = [json.loads(line) for line in content.splitlines()]
        return b"".join(json.dumps(record).encode() + b"\n" for record in changed(records, rng))
    value = changed(json.loads(content), rng)
    write = as_meta_writes if name == "instagram" and rng.random() < 0.5 else json.dumps
    try:
        return write(value).encode()
    except UnicodeEncodeError:  # half of a character, which is no UTF-8
        return json.dumps(value).encode()


def changed(value: Any, rng: random.Random) -> Any:
    value = copy.deepcopy(value)
    for _ in range(rng.randint(1, 4)):
        places = list(places_in(value))
        container, key = rng.choice(places)
        other = copy.deepcopy(rng.choice(VALUES))
        if isinstance(container, dict) and rng.random() < 0.2:
            del container[key]
        else:
            container[key] = other
    return value


def places_in(value: Any) -> Iterator[tuple[Any, Any]]:
    pairs = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in pairs:
        yield value, key
        yield from places_in(inner)


def one_input(name: str, folder: Path, rng: random.Random) -> str:
    """Check an export that was changed at random; return what became of it."""
    files = {file: text.encode() for file, text in EXPORTS[name].items()}
    file = rng.choice(list(files))
    if rng.random() < 0.5:
        check(name, folder, files | {file: overwritten(files[file], rng, PIECES)})
        return "bytes"
    files[file] = with_other_values(name, file, files[file], rng)
    messages, log, sentence = check(name, folder, files)
    try:
        if file.endswith(".jsonl"):
            expected = of_lines(name, files[file])
        else:
            expected = sum(entries(name, inner, json.loads(content)) for inner, content in files.items())
    except (KeyError, TypeError, AttributeError):
        assert sentence, "a file of another shape"
        return "sentence"
    if sentence:
        return "sentence"
    assert len(messages) + log.drops[MALFORMED] == expected
    return "counted"


def one_zip(folder: Path, rng: random.Random) -> str:
    """Check a zip that was changed at random; return what became of it."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", rng.choice([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])) as archive:
        for file, text in EXPORTS["slack"].items():
            archive.writestr(file, text[:700] if file.endswith("6.json") and rng.random() < 0.5 else text)
    content = bytearray(stream.getvalue())
    directory = content.index(b"PK\x01\x02")
    for _ in range(rng.randint(1, 3)):
        at = rng.randrange(4, len(content)) if rng.random() < 0.5 else rng.randrange(directory, len(content))
        content[at] = rng.choice([0, 1, 8, 12, 14, 93, 255, rng.randrange(256)])
    if rng.random() < 0.1:
        content = content[: rng.randrange(4, len(content))]
    return check("slack", folder, {"export.zip": bytes(content)})[2]


@given(st.integers(0, 2**32))
@settings(max_examples=200, deadline=None)
def test_a_mutated_zip_is_read_or_reported(folder, seed):
    one_zip(folder, random.Random(seed))


@pytest.mark.slow
def test_twenty_thousand_mutated_zips_are_read_or_reported(folder):
    rng = random.Random(SEED)
    sentences = [one_zip(folder, rng) for _ in range(INPUTS)]
    print(f"\nzips, seed {SEED}: {sentences.count('')} read, {INPUTS - sentences.count('')} reported")
    assert sentences.count("") > INPUTS / 20


@pytest.mark.parametrize("name", EXPORTS)
@given(st.integers(0, 2**32))
@settings(max_examples=200, deadline=None)
def test_a_mutated_export_is_read_or_reported(folder, name, seed):
    one_input(name, folder, random.Random(seed))


@pytest.mark.slow
@pytest.mark.parametrize("name", EXPORTS)
def test_twenty_thousand_mutated_exports_are_read_or_reported(folder, name):
    rng = random.Random(f"{SEED} {name}")
    outcomes = [one_input(name, folder, rng) for _ in range(INPUTS)]
    counts = {outcome: outcomes.count(outcome) for outcome in sorted(set(outcomes))}
    print(f"\n{name}, seed {SEED}: {counts}")
    assert counts["counted"] > INPUTS / 10
