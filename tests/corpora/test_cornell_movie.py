"""The Cornell Movie-Dialogs reader on the real files, on little ones written here, and on anything else."""

import gc
import hashlib
import re
import tarfile
import tracemalloc
from collections import Counter
from pathlib import Path

import pytest
from datasets import load_dataset
from hypothesis import example, given
from hypothesis import strategies as st

import idl_hf  # noqa: F401
from idl_hf.corpora.cornell_movie import CONVERSATIONS, LINES, movie_split, read_dialogues, split_files
from idl_hf.corpora.errors import MALFORMED, CorpusError, ErrorLog
from idl_hf.dataset_scripts import movie_idl
from idl_hf.schema import CONFIGS, Dialogue, Turn, features
from tests.corpora.as_ever import digest_of

SPLITS = ("train", "validation", "test")
ONE_SIDED = "dialogue in which one side says nothing"
EMPTY = "empty utterance left out of its conversation"


def row(*fields: str) -> str:
    return " +++$+++ ".join(fields)


def line(number: int, character: str, text: str, movie: str = "m1") -> str:
    return row(f"L{number}", character, movie, character.upper(), text)


def conversation(*numbers: int, pair: tuple[str, str] = ("u0", "u1"), movie: str = "m1") -> str:
    return row(*pair, movie, str([f"L{number}" for number in numbers]))


SAID = [line(2, "u1", "hello"), line(1, "u0", "hi"), line(4, "u1", "good"), line(3, "u0", "how are you?")]


@pytest.fixture
def files(tmp_path):
    """Writes both files, of text or bytes, and returns their paths."""

    def write(conversations, lines) -> list[Path]:
        for name, content in ((CONVERSATIONS, conversations), (LINES, lines)):
            encoded = [part if isinstance(part, bytes) else part.encode("cp1252") for part in content]
            (tmp_path / name).write_bytes(b"".join(part + b"\n" for part in encoded))
        return [tmp_path / CONVERSATIONS, tmp_path / LINES]

    return write


def said(dialogue: Dialogue) -> list[tuple[str, str]]:
    return [(turn.role, turn.text) for turn in dialogue.turns]


def conversations_in(content: bytes) -> int:
    return sum(bool(part.strip()) for part in content.split(b"\n"))


# The real files


@pytest.fixture(scope="module")
def cornell(shared) -> Path:
    return shared / "data" / "cornell"


@pytest.fixture(scope="module")
def real(cornell) -> tuple[list[Dialogue], ErrorLog]:
    log = ErrorLog("skip")
    return list(read_dialogues(split_files(cornell)["train"], log=log)), log


def test_every_real_conversation_is_two_dialogues_or_counted(cornell, real):
    dialogues, log = real
    assert conversations_in((cornell / CONVERSATIONS).read_bytes()) == 5667
    assert len(dialogues) + log.drops.total() == 2 * 5667
    assert log.drops == {MALFORMED: 2 * 47, ONE_SIDED: 2 * 2}  # L474 and L24609 are the only words of one side


def test_only_the_movie_that_is_cut_off_has_damaged_conversations(cornell, real):
    _, log = real
    rows = (cornell / CONVERSATIONS).read_bytes().split(b"\n")
    damaged = [int(message.split(":")[1]) for message in log.messages]
    assert len(damaged) == 47
    assert {rows[number - 1].split(b" +++$+++ ")[2] for number in damaged} == {b"m58"}
    assert all("found none that can be read" in message for message in log.messages)


def test_without_skip_the_damage_is_an_error(cornell):
    with pytest.raises(
        CorpusError, match=rf"{CONVERSATIONS}:\d+: Expected the line 'L\d+' in {LINES}.*on_error='skip'"
    ):
        list(read_dialogues(split_files(cornell)["train"]))


def test_real_characters_have_as_many_dialogues_as_were_counted_before(real):
    dialogues, _ = real
    of_any_kind = Counter(dialogue.person_id for dialogue in dialogues)
    ending_with_them = Counter(dialogue.person_id for dialogue in dialogues if dialogue.turns[-1].role == "self")
    assert len(of_any_kind) == 639
    assert sum(count >= 6 for count in of_any_kind.values()) == 355
    assert sum(count >= 6 for count in ending_with_them.values()) == 234


def test_a_real_conversation_has_its_lines_in_order(cornell, real):
    by_id = {}
    for raw in (cornell / LINES).read_bytes().decode("cp1252").split("\n")[:-1]:
        name, character, _, _, text = raw.split(" +++$+++ ")
        by_id[name] = (character, " ".join(text.split()))
    first, second = (dialogue for dialogue in real[0] if dialogue.dialogue_id == "L194")
    expected = [by_id[f"L{number}"] for number in range(194, 198)]
    assert list(by_id).index("L194") > list(by_id).index("L195")  # the file itself has them the other way round
    assert [(first.person_id if turn.role == "self" else "u2", turn.text) for turn in first.turns] == expected
    assert [(second.person_id if turn.role == "self" else "u0", turn.text) for turn in second.turns] == expected


def test_real_texts_are_clean(real):
    texts = [turn.text for dialogue in real[0] for turn in dialogue.turns]
    assert all(text and text == " ".join(text.split()) for text in texts)
    assert not any("<u>" in text or "</u>" in text for text in texts)
    assert any("—" in text for text in texts)  # 0x97, which Latin-1 would make a control character
    assert not any("\x80" <= character < "\xa0" for text in texts for character in text)


def test_real_dialogues_are_those_of_the_last_look(real):
    assert digest_of(real[0][:20]) == "e9836e07ab1907259855851a9ace71d3a97d34ed99c6d11a6ab9b80267b51473"


def test_each_split_has_real_movies_and_no_person_is_in_two(cornell, real):
    found = {
        split: list(read_dialogues(files, split, ErrorLog("skip"))) for split, files in split_files(cornell).items()
    }
    assert {split: len(dialogues) for split, dialogues in found.items()} == {
        "train": 8210,
        "validation": 1054,
        "test": 1972,
    }
    people = {split: {dialogue.person_id for dialogue in dialogues} for split, dialogues in found.items()}
    assert not people["train"] & people["validation"]
    assert not people["train"] & people["test"]
    assert not people["validation"] & people["test"]
    assert {dialogue for dialogues in found.values() for dialogue in dialogues} == set(real[0])


def test_memory_is_little_more_than_the_lines(cornell):
    files = split_files(cornell)["train"]
    gc.collect()
    tracemalloc.start()
    for _ in read_dialogues(files, log=ErrorLog("skip")):
        pass
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 5 * (cornell / LINES).stat().st_size


# Little files


def test_each_side_in_turn_is_the_person(files):
    first, second = read_dialogues(files([conversation(1, 2, 3, 4)], SAID))
    texts = ["hi", "hello", "how are you?", "good"]
    roles = ["self", "partner", "self", "partner"]
    assert first == Dialogue("u0", "L1", tuple(map(Turn, roles, texts)), (), f"{CONVERSATIONS}:1")
    assert second == Dialogue("u1", "L1", tuple(map(Turn, [*roles[1:], "self"], texts)), (), f"{CONVERSATIONS}:1")


def test_the_speaker_is_the_lines_and_not_the_first_of_the_pair(files):
    first, _ = read_dialogues(files([conversation(1, 2, pair=("u1", "u0"))], SAID))
    assert (first.person_id, said(first)) == ("u1", [("partner", "hi"), ("self", "hello")])


def test_an_odd_number_of_lines_and_two_in_a_row_are_kept(files):
    lines = [line(1, "u0", "hi"), line(2, "u0", "anyone?"), line(3, "u1", "me")]
    first, _ = read_dialogues(files([conversation(1, 2, 3)], lines))
    assert said(first) == [("self", "hi"), ("self", "anyone?"), ("partner", "me")]


def test_markup_and_runs_of_whitespace_go(files):
    lines = [line(1, "u0", " i  <u>do</u> <B>not</B>\t<i>know</i> "), line(2, "u1", "<pause> a < b")]
    first, _ = read_dialogues(files([conversation(1, 2)], lines))
    assert [text for _, text in said(first)] == ["i do not know", "<pause> a < b"]


def test_an_empty_utterance_is_left_out_and_noted(files):
    log = ErrorLog()
    lines = [*SAID[:3], line(3, "u0", "<u></u> ")]
    first, second = read_dialogues(files([conversation(1, 2, 3, 4)], lines), log=log)
    assert [text for _, text in said(first)] == [text for _, text in said(second)] == ["hi", "hello", "good"]
    assert (log.notes, log.drops) == ({EMPTY: 1}, {})


def test_a_conversation_in_which_one_side_says_nothing_is_dropped(files):
    log = ErrorLog()
    lines = [line(1, "u0", "hi"), line(2, "u1", ""), line(3, "u0", "well?"), line(4, "u1", "what?")]
    dialogues = list(read_dialogues(files([conversation(1, 2), conversation(3, 4)], lines), log=log))
    assert {dialogue.dialogue_id for dialogue in dialogues} == {"L3"}
    assert (log.drops, log.notes) == ({ONE_SIDED: 2}, {})


def test_a_line_ends_at_a_line_feed_only(files):
    """0x85 is an ellipsis, and str.splitlines() would split at what Latin-1 makes of it."""
    lines = [b"L1 +++$+++ u0 +++$+++ m1 +++$+++ A +++$+++ well\x85 \x97 \x0c\x1c so", line(2, "u1", "hi")]
    first, _ = read_dialogues(files([conversation(1, 2)], lines))
    assert said(first)[0] == ("self", "well… — so")


def test_carriage_returns_and_blank_lines_change_nothing_but_the_line_numbers(files):
    unix = list(read_dialogues(files([conversation(1, 2), conversation(3, 4)], SAID)))
    paths = files(
        ["\r", conversation(1, 2) + "\r", " \r", conversation(3, 4) + "\r"], [*(s + "\r" for s in SAID), "\r"]
    )
    windows = list(read_dialogues(paths))
    assert [(d.person_id, d.dialogue_id, d.turns) for d in windows] == [
        (d.person_id, d.dialogue_id, d.turns) for d in unix
    ]
    assert [d.source for d in windows] == [f"{CONVERSATIONS}:{number}" for number in (2, 2, 4, 4)]


def test_a_last_line_without_its_end_is_read(files):
    paths = files([conversation(1, 2)], SAID)
    for path in paths:
        path.write_bytes(path.read_bytes().removesuffix(b"\n"))
    assert len(list(read_dialogues(paths))) == 2


# Malformed conversations: (the conversation, lines besides SAID, what the message says)

MALFORMED_CONVERSATIONS = [
    pytest.param(conversation(1, 9), [], "Expected the line 'L9' in movie_lines.txt", id="missing line"),
    pytest.param(
        conversation(1, 2, 5), [line(5, "u2", "me too")], "lines of two characters, u0 and u1 .* u2 of m1", id="third"
    ),
    pytest.param(conversation(1, 3), [], "lines of two characters, u0 and u1 of m1, found u0 of m1", id="one speaker"),
    pytest.param(conversation(1), [], "lines of two characters", id="one line"),
    pytest.param(conversation(1, 2, pair=("u0", "u7")), [], "two characters, u0 and u7", id="another pair"),
    pytest.param(conversation(1, 3, pair=("u0", "u0")), [], "two characters, u0 and u0", id="talking to oneself"),
    pytest.param(conversation(1, 2, movie="m2"), [], "of m2, found u0 of m1, u1 of m1", id="another movie"),
    pytest.param(row("u0", "u1", "['L1', 'L2']"), [], "Expected 4 fields, .* found 3", id="three fields"),
    pytest.param(row("u0", "u1", "m1", "['L1', 'L2']", "x"), [], "Expected 4 fields, .* found 5", id="five fields"),
    pytest.param(row("u0", " ", "m1", "['L1', 'L2']"), [], "the first three not empty, found 4", id="nobody"),
    pytest.param(
        b"u0 +++$+++ u1 +++$+++ m1 +++$+++ ['\x81']", [], "UTF-8 or cp1252 text, found the byte 0x81", id="byte"
    ),
    pytest.param(row("u0", "u1", "m1", "[]"), [], "Expected a list of different line ids", id="no lines"),
    pytest.param(row("u0", "u1", "m1", "['L1', 'L2'"), [], "list of different line ids .* found", id="cut off"),
    pytest.param(row("u0", "u1", "m1", "('L1', 'L2')"), [], "Expected a list of different line ids", id="a tuple"),
    pytest.param(row("u0", "u1", "m1", "['L1', 2]"), [], "Expected a list of different line ids", id="a number"),
    pytest.param(row("u0", "u1", "m1", "['L1', ['L2']]"), [], "Expected a list of different line ids", id="nested"),
    pytest.param(row("u0", "u1", "m1", "['L1'] * 2"), [], "Expected a list of different line ids", id="an expression"),
    pytest.param(row("u0", "u1", "m1", "[" * 99_999), [], "Expected a list of different line ids", id="brackets"),
    pytest.param(row("u0", "u1", "m1", "-" * 99_999), [], "Expected a list of different line ids", id="minus signs"),
    pytest.param(row("u0", "u1", "m1", "['" + "', '" * 99_999), [], "Expected a list of", id="a giant list"),
    pytest.param(row("u0", "u1", "m1", f"['{'L' * 99_999}']"), [], "Expected the line 'LLL", id="a giant id"),
    pytest.param(row("u" * 99_999, "u1", "m1", "['L1', 'L2']"), [], "two characters, uuu", id="a giant name"),
    pytest.param(conversation(1, 2, 1), [], "Expected a list of different line ids", id="a line twice"),
    pytest.param(
        conversation(1, 4), [line(4, "u1", "bad")], "Expected the line 'L4'", id="a line id that is there twice"
    ),
    pytest.param(conversation(1, 4), [line(4, "u1", "x")] * 2, "Expected the line 'L4'", id="three times"),
]
SOUND_LINES = [line(11, "u0", "so"), line(12, "u1", "yes"), line(13, "u0", "no"), line(14, "u1", "maybe")]
DUPLICATE = "Expected each line id once"


@pytest.mark.parametrize(("malformed", "more", "message"), MALFORMED_CONVERSATIONS)
def test_a_malformed_conversation_is_reported_with_its_two_dialogues(files, malformed, more, message):
    conversations = [conversation(11, 12), malformed, conversation(13, 14)]
    paths, log = files(conversations, [*SAID, *SOUND_LINES, *more]), ErrorLog("skip")
    assert [dialogue.dialogue_id for dialogue in read_dialogues(paths, log=log)] == ["L11", "L11", "L13", "L13"]
    (found,) = [text for text in log.messages if DUPLICATE not in text]
    assert found.startswith(f"{paths[0]}:2: ")
    assert re.search(message, found)
    assert len(found) < 310 + len(str(paths[0]))  # whose folder may be a deep one
    assert log.drops == {MALFORMED: 2}


@pytest.mark.parametrize(("malformed", "more", "message"), MALFORMED_CONVERSATIONS)
def test_raise_stops_with_file_and_line(files, malformed, more, message):
    paths = files([conversation(11, 12), malformed], [*SAID, *SOUND_LINES, *more])
    with pytest.raises(CorpusError, match=rf"(:2: .*{message}|{DUPLICATE}).*on_error='skip'"):
        list(read_dialogues(paths))


def test_a_second_conversation_from_the_same_line_on_is_malformed(files):
    log = ErrorLog("skip")
    dialogues = list(read_dialogues(files([conversation(1, 2), conversation(1, 2, 3)], SAID), log=log))
    assert [len(dialogue.turns) for dialogue in dialogues] == [2, 2]
    assert "Expected one conversation from the line 'L1' on, found a second" in log.messages[0]
    assert log.drops == {MALFORMED: 2}


# Malformed lines: (instead of the line L2, what the message says)

MALFORMED_LINES = [
    pytest.param(row("L2", "u1", "m1", "U1"), "Expected 5 fields, .* found 4", id="four fields"),
    pytest.param(row("L2", "u1", "m1", "U1", "a", "b"), "Expected 5 fields, .* found 6", id="six fields"),
    pytest.param(line(2, "u1", "").rstrip(), "Expected 5 fields, .* found 4", id="stripped of its empty text"),
    pytest.param(row("", "u1", "m1", "U1", "a"), "the first three not empty", id="no id"),
    pytest.param(row("L2", "", "m1", "U1", "a"), "the first three not empty", id="no character"),
    pytest.param(row("L2", "u1", "", "U1", "a"), "the first three not empty", id="no movie"),
    pytest.param(b"L2 +++$+++ u1 +++$+++ m1 +++$+++ U1 +++$+++ \x8d", "cp1252 text, found the byte 0x8d", id="byte"),
    pytest.param(line(1, "u1", "again"), "Expected each line id once, found 'L1' again", id="duplicate id"),
    pytest.param(
        line(2, "u0", "a", "m2"), "Expected 'u0' in the movie 'm1' only, found the movie 'm2'", id="two movies"
    ),
]


@pytest.mark.parametrize(("malformed", "message"), MALFORMED_LINES)
def test_a_malformed_line_is_reported_and_lost_with_its_conversation(files, malformed, message):
    paths, log = (
        files([conversation(1, 2), conversation(11, 12)], [SAID[1], malformed, *SOUND_LINES]),
        ErrorLog("skip"),
    )
    assert {dialogue.dialogue_id for dialogue in read_dialogues(paths, log=log)} == {"L11"}
    first, second = log.messages
    assert first.startswith(f"{paths[1]}:2: ")
    assert second.startswith(f"{paths[0]}:1: Expected the line 'L")
    assert log.drops == {MALFORMED: 2}
    with pytest.raises(CorpusError, match=rf"{LINES}:2: .*{message}"):
        list(read_dialogues(paths))


def test_a_malformed_line_that_nobody_names_costs_nothing(files):
    log = ErrorLog("skip")
    assert len(list(read_dialogues(files([conversation(1, 2)], [*SAID, "no fields"]), log=log))) == 2
    assert (len(log.messages), log.drops.total()) == (1, 0)


# Splits

MOVIES = {split: next(f"m{n}" for n in range(99) if movie_split(f"m{n}") == split) for split in SPLITS}


def test_the_split_of_a_movie_is_the_same_everywhere():
    assert MOVIES == {"train": "m1", "validation": "m5", "test": "m0"}
    assert Counter(movie_split(f"m{n}") for n in range(617)) == {"train": 489, "validation": 58, "test": 70}


def three_movies(conversations: int = 3) -> tuple[list[str], list[str]]:
    """A few conversations in a movie of each split, which say something of both characters."""
    rows, lines, number = [], [], 0
    facts = ["i have a dog .", "i live in maine .", "my name is ruth .", "i like soup .", "i work as a nurse ."]
    for place, movie in enumerate(MOVIES.values()):
        pair = (f"u{2 * place}", f"u{2 * place + 1}")
        for turn in range(conversations):
            numbers = range(number, number + 4)
            rows.append(conversation(*numbers, pair=pair, movie=movie))
            texts = [f"hello for the {turn}. time", *(facts[(place + turn + step) % 5] for step in range(3))]
            lines += [line(n, pair[n % 2], text, movie) for n, text in zip(numbers, texts, strict=True)]
            number += 4
    return rows, lines[::-1]


def test_a_split_has_the_conversations_of_its_movies(files):
    paths = files(*three_movies())
    assert split_files(paths[0].parent) == {split: [str(path) for path in paths] for split in SPLITS}
    people = {split: {d.person_id for d in read_dialogues(paths, split)} for split in SPLITS}
    assert people == {"train": {"u0", "u1"}, "validation": {"u2", "u3"}, "test": {"u4", "u5"}}


def test_a_damaged_conversation_is_counted_in_its_own_split_and_one_of_no_movie_in_train(files):
    rows, lines = three_movies()
    paths = files([*rows, conversation(999, movie=MOVIES["test"]), "no fields"], lines)
    logs = {split: ErrorLog("skip") for split in SPLITS}
    assert [len(list(read_dialogues(paths, split, log))) for split, log in logs.items()] == [6, 6, 6]
    assert [log.drops.total() for log in logs.values()] == [2, 0, 2]


def test_a_split_without_movies_is_not_there(files):
    paths = files([conversation(1, 2)], SAID)
    assert list(split_files(paths[0].parent)) == ["train"]


def test_the_archives_own_subfolder_is_found(files, tmp_path):
    inner = tmp_path / "cornell movie-dialogs corpus"
    inner.mkdir()
    for path in files([conversation(1, 2)], SAID):
        path.rename(inner / path.name)
    assert split_files(tmp_path) == {"train": [str(inner / CONVERSATIONS), str(inner / LINES)]}


def test_a_folder_without_the_files_says_what_is_missing(files, tmp_path):
    with pytest.raises(CorpusError, match=r"Expected Cornell's files movie_conversations\.txt and .*found: nothing"):
        split_files(tmp_path)
    paths = files([], SAID)
    with pytest.raises(CorpusError, match=r"Expected conversations in '.*movie_conversations\.txt', found nothing"):
        split_files(tmp_path)
    paths[1].unlink()
    with pytest.raises(CorpusError, match=r"Expected movie_lines\.txt beside '.*movie_conversations\.txt'"):
        split_files(tmp_path)


def test_the_two_files_may_come_in_any_order_but_no_others(files):
    paths = files([conversation(1, 2)], SAID)
    assert list(read_dialogues(paths[::-1])) == list(read_dialogues(paths))
    with pytest.raises(CorpusError, match=r"Expected the two files .* found: movie_lines\.txt"):
        list(read_dialogues(paths[1:]))


# load_dataset


@pytest.mark.parametrize("config", CONFIGS)
def test_each_config_is_built_in_three_splits(files, tmp_path, config):
    files(*three_movies())
    rows = load_dataset("idl_hf/movie_idl", config, data_dir=str(tmp_path), encoder="offline")
    assert list(rows) == list(SPLITS)
    assert all(part.features == features(config) and len(part) > 0 for part in rows.values())
    assert {part[0]["person_id"] for part in rows.values()} == {"u0", "u2", "u4"}


def test_real_damage_is_skipped_on_demand(cornell, tmp_path):
    """The last real movie, which is cut off, and a sound one."""
    for name in (CONVERSATIONS, LINES):
        rows = (cornell / name).read_bytes().splitlines(keepends=True)
        (tmp_path / name).write_bytes(b"".join(r for r in rows if b" m58 " in r or b" m39 " in r))
    options = {"data_dir": str(tmp_path), "split": "train"}
    rows = load_dataset("idl_hf/movie_idl", "sessions", on_error="skip", **options)
    assert len(rows) > 100
    with pytest.raises(CorpusError, match=r"movie_conversations\.txt:\d+: Expected the line"):
        load_dataset("idl_hf/movie_idl", "sessions", **options)


@pytest.fixture
def published(files, tmp_path, monkeypatch) -> Path:
    """An archive laid out as the published one."""
    path = tmp_path / "cornell.tgz"
    with tarfile.open(path, "w:gz") as tar:
        for file in files(*three_movies()):
            tar.add(file, f"cornell movie-dialogs corpus/{file.name}")
    downloads = ((str(path), hashlib.sha256(path.read_bytes()).hexdigest()),)
    monkeypatch.setattr(movie_idl.MovieIdl, "DOWNLOADS", downloads)
    return path


def test_the_published_archive_is_read(published, tmp_path):
    rows = load_dataset("idl_hf/movie_idl", "sessions", cache_dir=str(tmp_path / "cache"))
    assert {split: len(part) for split, part in rows.items()} == dict.fromkeys(SPLITS, 6)


def test_another_archive_than_the_published_is_refused(published, tmp_path, monkeypatch):
    monkeypatch.setattr(movie_idl.MovieIdl, "DOWNLOADS", ((str(published), "0" * 64),))
    with pytest.raises(CorpusError, match=r"has the sha256 .*, expected 0000"):
        load_dataset("idl_hf/movie_idl", "sessions", cache_dir=str(tmp_path / "cache"))


def test_an_archive_cannot_be_streamed_and_says_what_to_do(tmp_path):
    with pytest.raises(ValueError, match="data_dir"):
        load_dataset("idl_hf/movie_idl", "sessions", streaming=True, cache_dir=str(tmp_path))


# Anything else

SMALL = {
    name: "\n".join(content).encode() for name, content in zip((CONVERSATIONS, LINES), three_movies(2), strict=True)
}
pieces = st.sampled_from(
    [b"\n", b"\r\n", b"\r", b" +++$+++ ", b"+++$+++", b"\x00", b"\x81", b"\xff", b"\xef\xbb\xbf", b"'",
     b"]", b"['", b",",
     b"<u>", b"L0", b"L1", b"u0", b"u1", b"m1", b"m3", b" ", b"\x85", b"x" * 100_000]
)  # fmt: skip


@st.composite
def changed(draw) -> dict[str, bytes]:
    """Both files, cut, with bytes replaced or added, lines doubled, lost or emptied, or in another encoding."""
    content = dict(SMALL)
    for _ in range(draw(st.integers(1, 4))):
        name = draw(st.sampled_from([CONVERSATIONS, LINES]))
        before, rows = content[name], content[name].split(b"\n")
        start = draw(st.integers(0, len(before)))
        end = draw(st.integers(start, min(len(before), start + 30)))
        place = draw(st.integers(0, len(rows) - 1))
        content[name] = draw(
            st.sampled_from(
                [
                    before[:start],
                    before[:start] + draw(pieces) + before[end:],
                    b"\n".join([*rows[: place + 1], *rows[place:]]),
                    b"\n".join([*rows[:place], *rows[place + 1 :]]),
                    b"\n".join([*rows[:place], rows[place].rpartition(b" ")[0] + b" ", *rows[place + 1 :]]),
                    before.replace(b"\n", b"\r\n"),
                    before.decode("cp1252", "replace").encode("utf-16"),
                    before.decode("cp1252", "replace").replace("i", "é").encode(),
                ]
            )
        )
    return content


@given(changed(), st.sampled_from(["raise", "skip"]))
@example({CONVERSATIONS: b"", LINES: b""}, "raise")
@example({CONVERSATIONS: SMALL[CONVERSATIONS].replace(b"m5", b"m1"), LINES: SMALL[LINES]}, "skip")
@example({CONVERSATIONS: SMALL[CONVERSATIONS], LINES: SMALL[LINES].replace(b"u4", b"u0")}, "skip")
def test_any_files_yield_dialogues_or_a_corpus_error(tmp_path_factory, content, on_error):
    folder = tmp_path_factory.getbasetemp()
    for name, data in content.items():
        (folder / name).write_bytes(data)
    homes: dict[str, str] = {}
    counted = 0
    for split in SPLITS:
        log = ErrorLog(on_error)
        try:
            dialogues = list(read_dialogues([folder / name for name in content], split, log))
        except CorpusError as error:
            stopped_at = str(error)
        else:
            stopped_at = ""
        assert not stopped_at or stopped_at.startswith(str(folder))
        assert not stopped_at or on_error == "raise" or "found UTF-16" in stopped_at
        if stopped_at:
            return
        assert len({(d.person_id, d.dialogue_id) for d in dialogues}) == len(dialogues)
        assert all({turn.role for turn in d.turns} == {"self", "partner"} for d in dialogues)
        assert all(turn.text.strip() for d in dialogues for turn in d.turns)
        assert all(homes.setdefault(d.person_id, split) == split for d in dialogues)
        counted += len(dialogues) + log.drops.total()
    assert counted == 2 * conversations_in(content[CONVERSATIONS])
