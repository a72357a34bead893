"""The Multi-Session Chat reader on the real file, on little ones written here, and on anything else."""

import copy
import hashlib
import json
import re
import tarfile
from collections import Counter
from itertools import pairwise
from pathlib import Path

import pytest
from datasets import load_dataset
from hypothesis import example, given
from hypothesis import strategies as st

import idl_hf  # noqa: F401
from idl_hf.corpora import convai2 as convai2_corpus
from idl_hf.corpora.errors import MALFORMED, CorpusError, ErrorLog
from idl_hf.corpora.msc import read_dialogues, session_number, split_files
from idl_hf.dataset_scripts import msc_idl
from idl_hf.schema import CONFIGS, Dialogue, Turn, features
from tests.corpora.as_ever import digest_of

ELSEWHERE = "session that another file holds too"
TWICE = "session that its file holds twice"


def dialog(*texts: str) -> list[dict]:
    return [{"text": text} for text in texts]


def record(pair: str = "valid_0", session: int = 3, **changes) -> dict:
    """A line of a session's file; in session n, speaker 1 says "<n>a" and was told or is known to "<n>A"."""
    earlier = [
        {"personas": [[f"i {n}A."], [f"i {n}B."]], "dialog": dialog(f"{n}a", f"{n}b"), "time_num": 1}
        for n in range(1, session)
    ]
    return {
        "personas": [["i know a."], ["i know b."]],
        "dialog": dialog(f"{session}a", f"{session}b", f"{session}c"),
        "metadata": {"initial_data_id": pair, "session_id": session - 1},
        "previous_dialogs": earlier,
        "init_personas": [["i was told a.", "i am tall."], ["i was told b."]],
    } | changes


def encoded(lines) -> bytes:
    return b"".join((line if isinstance(line, bytes) else json.dumps(line).encode()) + b"\n" for line in lines)


@pytest.fixture
def file(tmp_path):
    """Writes a file of lines (objects become JSON) and returns its path."""

    def write(*lines, name: str = "session_3_valid.txt") -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encoded(lines))
        return path

    return write


def said(dialogue: Dialogue) -> list[tuple[str, str]]:
    return [(turn.role, turn.text) for turn in dialogue.turns]


# The real file


@pytest.fixture(scope="module")
def msc(shared) -> Path:
    return shared / "data" / "msc"


@pytest.fixture(scope="module")
def real(msc) -> list[Dialogue]:
    return list(read_dialogues(split_files(msc)["validation"]))


def test_every_real_line_is_three_sessions_of_two_people(real):
    assert len(real) == 500 * 3 * 2
    assert Counter(dialogue.dialogue_id for dialogue in real) == {f"session-{n}": 1000 for n in (1, 2, 3)}
    assert set(Counter(dialogue.person_id for dialogue in real).values()) == {3}
    assert all(dialogue.profile for dialogue in real)


def test_real_dialogues_alternate_and_the_first_turn_is_speaker_1s(real):
    for dialogue in real:
        first = "self" if dialogue.person_id.endswith("/1") else "partner"
        roles = [turn.role for turn in dialogue.turns]
        assert roles[0] == first
        assert all(one != other for one, other in pairwise(roles))


def test_real_dialogues_are_those_of_the_last_look(real):
    assert digest_of(real[:20]) == "8e3bf51020bb2b002ee3c400ac014b05c62cda3de3fcd12b4d39dcdf5a1ebe4c"


def test_the_first_real_session_gives_convai2s_replies_to_the_same_person(real, convai2):
    """ConvAI2's files say of each dialogue who has which profile: an independent witness of who is who."""
    known = {}
    for name in ("train", "valid"):
        for dialogue in convai2_corpus.read_dialogues(convai2 / f"{name}_self_original_no_cands.txt"):
            known[bare(*dialogue.texts("self"))[:150]] = dialogue
    met = 0
    for dialogue in real:
        witness = known.get(bare(*dialogue.texts("self"))[:150]) if dialogue.dialogue_id == "session-1" else None
        if witness:
            met += 1
            assert {bare(sentence) for sentence in dialogue.profile} == {
                bare(sentence) for sentence in witness.profile
            }
    assert met > 300


def bare(*texts: str) -> str:
    return re.sub(r"[^a-z0-9]", "", "".join(texts).lower())


def test_a_real_profile_is_in_the_words_of_its_person_rather_than_of_the_partner(real):
    """Of sessions 2 and 3 no second source says who is who, but people repeat what was written down of them."""
    for session in (2, 3):
        own = partners = 0
        for dialogue in (d for d in real if d.dialogue_id == f"session-{session}"):
            words = {word for sentence in dialogue.profile for word in re.findall(r"\w{5,}", sentence.lower())}
            first_person = [text for role, text in said(dialogue) if role == "self" and "you" not in text.lower()]
            of_partner = [text for role, text in said(dialogue) if role == "partner" and "you" not in text.lower()]
            own += sum(word in " ".join(first_person).lower() for word in words)
            partners += sum(word in " ".join(of_partner).lower() for word in words)
        assert own > 1.2 * partners


# Little files


def test_each_speaker_of_each_session_is_a_dialogue(file):
    dialogues = list(read_dialogues([file(record())]))
    assert [(d.person_id, d.dialogue_id) for d in dialogues] == [
        (f"valid_0/{speaker}", f"session-{n}") for n in (1, 2, 3) for speaker in (1, 2)
    ]
    assert dialogues[4].turns == (Turn("self", "3a"), Turn("partner", "3b"), Turn("self", "3c"))
    assert dialogues[5].turns == (Turn("partner", "3a"), Turn("self", "3b"), Turn("partner", "3c"))


def test_a_profile_is_what_was_known_when_the_session_began(file):
    dialogues = list(read_dialogues([file(record(session=4), name="session_4_train.txt")]))
    assert [d.profile for d in dialogues if d.person_id == "valid_0/1"] == [
        ("i was told a.", "i am tall."), ("i 1A.",), ("i 1A.", "i 2A."), ("i know a.",)
    ]  # fmt: skip
    assert [d.profile for d in dialogues if d.person_id == "valid_0/2"] == [
        ("i was told b.",), ("i 1B.",), ("i 1B.", "i 2B."), ("i know b.",)
    ]  # fmt: skip


def test_a_person_of_whom_nothing_was_written_down_has_no_profile(file):
    dialogues = list(read_dialogues([file(record(personas=[[" "], []]))]))
    assert [d.profile for d in dialogues[4:]] == [(), ()]


def test_the_id_of_a_turn_says_who_speaks_and_any_other_id_is_no_speaker(file):
    turns = [
        {"text": "hi", "id": "47376"},
        {"text": "hey", "id": "Speaker 2"},
        {"text": "you?", "id": "Speaker 2"},
        {"text": "fine", "id": "Speaker 1"},
        {"text": "good", "id": ["Speaker 2"]},
    ]
    dialogues = list(read_dialogues([file(record(dialog=turns))]))
    assert [role for role, _ in said(dialogues[4])] == ["self", "partner", "partner", "self", "self"]


def test_texts_are_stripped(file):
    (first, _) = list(read_dialogues([file(record(dialog=dialog(" hi \n", "hey")))]))[4:]
    assert said(first) == [("self", "hi"), ("partner", "hey")]


@pytest.mark.parametrize(
    ("name", "source"),
    [("session_3_valid.txt", "session_3_valid.txt:2"), ("session_3/valid.txt", "session_3/valid.txt:2")],
)
def test_a_dialogue_is_traced_to_its_file_and_line(file, name, source):
    assert {dialogue.source for dialogue in read_dialogues([file(b"", record(), name=name)])} == {source}


def test_a_byte_order_mark_and_carriage_returns_change_nothing(file):
    expected = list(read_dialogues([file(record())]))
    line = json.dumps(record(), ensure_ascii=False).encode()
    assert list(read_dialogues([file(b"\xef\xbb\xbf" + line + b"\r")])) == expected


def test_the_number_of_the_session_is_that_of_the_file_before_that_of_the_folder():
    assert session_number("session_2/session_3_valid.txt") == 3
    assert session_number("session_5/test.txt") == 5
    for name in ("session_3/new/valid.txt", "session_1/valid.txt", "session_31.txt", "valid.txt"):
        with pytest.raises(CorpusError, match=rf"Expected session_2 to session_5 in the name .*{name}"):
            session_number(name)


# Several files


def test_a_session_that_two_files_hold_is_taken_once_and_from_its_own_file(file):
    files = [
        file(record(session=4), name="session_4_train.txt"),
        file(record(session=2), record("valid_9", 2), name="session_2_train.txt"),
        file(record(session=3), name="session_3_train.txt"),
    ]
    log = ErrorLog()
    dialogues = list(read_dialogues(files, log))
    of_one = [d for d in dialogues if d.person_id == "valid_0/1"]
    assert [(d.dialogue_id, d.source) for d in of_one] == [
        ("session-1", "session_2_train.txt:1"), ("session-2", "session_2_train.txt:1"),
        ("session-3", "session_3_train.txt:1"), ("session-4", "session_4_train.txt:1"),
    ]  # fmt: skip
    assert [d.profile for d in of_one][1:] == [("i know a.",)] * 3
    assert log.drops == {ELSEWHERE: 2 * (2 + 3)}
    assert len(dialogues) + log.drops.total() == 2 * (2 + 2 + 3 + 4)


def test_a_session_that_is_malformed_in_one_file_is_taken_from_another(file):
    files = [
        file(record(session=2, dialog=[]), name="session_2_train.txt"),
        file(record(session=3), name="session_3_train.txt"),
    ]
    log = ErrorLog("skip")
    dialogues = list(read_dialogues(files, log))
    assert {d.dialogue_id: d.source for d in dialogues}["session-2"] == "session_3_train.txt:1"
    assert log.drops == {MALFORMED: 2, ELSEWHERE: 2}


def test_a_pair_that_its_file_holds_twice_is_taken_once(file):
    log = ErrorLog()
    assert len(list(read_dialogues([file(record(), record("valid_1"), record())], log))) == 12
    assert log.drops == {TWICE: 6}


# Malformed lines, all of whose sessions are lost, and malformed sessions

WHOLE_LINES = [
    pytest.param(b"{'dialog': 1}", "Expected one JSON object on this line", id="bad JSON"),
    pytest.param(json.dumps(record()).encode()[:200], "Expected one JSON object on this line", id="cut off"),
    pytest.param(b"[" * 100_000, "Expected one JSON object on this line", id="100,000 brackets"),
    pytest.param(b'{"dialog": ' + b"1" * 5000 + b"}", "Expected one JSON object", id="a number of 5000 digits"),
    pytest.param(b'{"dialog": "caf\xe9"}', "Expected UTF-8 text, found the byte 0xe9", id="latin-1"),
    pytest.param([record()], "Expected a JSON object with metadata, init_personas, .* found list", id="a list"),
    pytest.param({"dialog": []}, r"Expected a JSON object with .* found \['dialog'\]", id="missing keys"),
    pytest.param(
        record(metadata=None), "Expected a text as initial_data_id in metadata, found None", id="no metadata"
    ),
    pytest.param(record(metadata={}), "Expected a text as initial_data_id", id="no id"),
    pytest.param(record(pair=7), "Expected a text as initial_data_id in metadata, found 7", id="a number as id"),
    pytest.param(record(pair=" "), "Expected a text as initial_data_id", id="an empty id"),
    pytest.param(record(pair="\ud800"), r"initial_data_id in metadata, found '\\ud800'", id="half a surrogate pair"),
    pytest.param(record(previous_dialogs="hi"), "Expected 2 previous_dialogs .* found str", id="earlier as text"),
    pytest.param(record(session=2), "Expected 2 previous_dialogs in a file of session 3, found 1", id="one too few"),
    pytest.param(record(session=4), "Expected 2 previous_dialogs in a file of session 3, found 3", id="one too many"),
    pytest.param(record(previous_dialogs=[1, 2]), "previous_dialogs to be objects with personas", id="numbers"),
    pytest.param(record(previous_dialogs=[{"dialog": []}] * 2), "previous_dialogs to be objects", id="no personas"),
]
ONE_SESSION = [
    pytest.param({"dialog": "hi"}, "Expected dialog to be a list of objects with text", id="a text as dialog"),
    pytest.param({"dialog": ["hi", "hey"]}, "Expected dialog to be a list of objects", id="texts as turns"),
    pytest.param({"dialog": []}, "Expected turns of both speakers, found 0", id="no turn"),
    pytest.param({"dialog": dialog("hi")}, "Expected turns of both speakers, found 1 of one", id="one turn"),
    pytest.param({"dialog": dialog("hi", " ")}, "Turn 2: expected words, found ' '", id="empty text"),
    pytest.param({"dialog": [{"id": "Speaker 1"}]}, "Turn 1: expected words, found None", id="no text"),
    pytest.param({"dialog": [{"text": ["x" * 9999]}]}, r"Turn 1: expected words, found \['xxx", id="a list as text"),
    pytest.param({"dialog": dialog("\udfff", "hi")}, "Turn 1: expected words", id="half a surrogate pair"),
    pytest.param({"personas": None}, "Expected personas to be two lists of sentences", id="no personas"),
    pytest.param({"personas": [["a"]]}, "Expected personas to be two lists of sentences", id="of one speaker"),
    pytest.param({"personas": ["a", "b"]}, "Expected personas to be two lists", id="texts as lists"),
    pytest.param({"personas": [[], [1]]}, "Expected each sentence of personas to be a text", id="a number"),
]


def check_report(path: Path, message: str, log: ErrorLog) -> None:
    (found,) = log.messages
    assert found.startswith(f"{path}:2: ")
    assert re.search(message, found)
    assert len(found) < 400 + len(str(path))
    found.encode()


@pytest.mark.parametrize(("malformed", "message"), WHOLE_LINES)
def test_a_malformed_line_is_reported_with_the_sessions_it_should_hold(file, malformed, message):
    path, log = file(record("valid_1"), malformed, record("valid_2")), ErrorLog("skip")
    dialogues = list(read_dialogues([path], log))
    assert {d.person_id for d in dialogues} == {"valid_1/1", "valid_1/2", "valid_2/1", "valid_2/2"}
    check_report(path, message, log)
    assert (len(dialogues), log.drops) == (12, {MALFORMED: 6})
    with pytest.raises(CorpusError, match=rf":2: .*{message}.*on_error='skip'"):
        list(read_dialogues([path]))


@pytest.mark.parametrize(("changes", "message"), ONE_SESSION)
def test_a_malformed_session_is_reported_and_the_others_of_its_line_are_read(file, changes, message):
    path, log = file(record("valid_1"), record(**changes)), ErrorLog("skip")
    of_second = [d.dialogue_id for d in read_dialogues([path], log) if d.person_id.startswith("valid_0")]
    assert of_second == ["session-1", "session-1", "session-2", "session-2"]
    check_report(path, f"Session 3: {message}", log)
    assert log.drops == {MALFORMED: 2}
    with pytest.raises(CorpusError, match=rf":2: Session 3: {message}.*on_error='skip'"):
        list(read_dialogues([path]))


def test_what_was_written_down_wrongly_costs_the_session_after_it(file):
    broken = record()
    broken["previous_dialogs"][0]["personas"] = "none"
    log = ErrorLog("skip")
    assert {d.dialogue_id for d in read_dialogues([file(broken)], log)} == {"session-1", "session-3"}
    assert "Session 2: Expected personas to be two lists" in log.messages[0]


# Files of a folder


@pytest.mark.parametrize("name", ["session_{}_{}.txt", "session_{}/{}.txt", "msc/msc_dialogue/session_{}/{}.txt"])
def test_the_sessions_of_a_split_are_found_in_order_in_either_layout(file, tmp_path, name):
    for session, split in ((5, "valid"), (2, "valid"), (2, "train"), (4, "train"), (1, "train")):
        file(name=name.format(session, split))
    found = {split: [str(tmp_path / name.format(*own)) for own in files] for split, files in {
        "train": [(2, "train"), (4, "train")], "validation": [(2, "valid"), (5, "valid")]
    }.items()}  # fmt: skip
    assert split_files(tmp_path) == found


def test_a_folder_without_the_files_tells_what_it_holds(file, tmp_path):
    file(name="notes.md")
    with pytest.raises(
        CorpusError, match=r"Expected Multi-Session Chat's files session_2_train\.txt.*found: notes\.md"
    ):
        split_files(tmp_path)


# load_dataset


def few_pairs() -> list[dict]:
    """Three pairs over three sessions, who say something of themselves."""
    facts = ["i have a dog .", "i live in maine .", "my name is ruth .", "i like soup .", "i work as a nurse ."]
    pairs = []
    for number in range(3):
        texts = [[f"hi {n}", *(facts[(number + n + step) % 5] for step in range(3))] for n in range(3)]
        earlier = [{"personas": [["i like soup."], ["i sail."]], "dialog": dialog(*own)} for own in texts[:2]]
        pairs.append(record(f"valid_{number}", previous_dialogs=earlier, dialog=dialog(*texts[2])))
    return pairs


@pytest.mark.parametrize("config", CONFIGS)
def test_each_config_is_built(file, tmp_path, config):
    file(*few_pairs())
    file(*few_pairs()[:2], name="session_3/train.txt")
    rows = load_dataset("idl_hf/msc_idl", config, data_dir=str(tmp_path), encoder="offline")
    assert list(rows) == ["train", "validation"]
    assert all(part.features == features(config) and len(part) > 0 for part in rows.values())
    people = {f"valid_{pair}/{speaker}" for pair in range(3) for speaker in (1, 2)}
    found = set(rows["validation"]["person_id"])
    # Few people say little, and where nobody can be mistaken for another there is no criterion reply
    assert found <= people if config == "dpoc" else found == people


def test_malformed_lines_are_skipped_on_demand(file, tmp_path):
    file(*few_pairs(), b"{")
    options = {"data_dir": str(tmp_path), "split": "validation"}
    assert len(load_dataset("idl_hf/msc_idl", "sessions", on_error="skip", **options)) == 18
    with pytest.raises(CorpusError, match=r"session_3_valid\.txt:4: Expected one JSON object"):
        load_dataset("idl_hf/msc_idl", "sessions", **options)


def test_the_published_archive_is_read(file, tmp_path, monkeypatch):
    path = tmp_path / "msc.tgz"
    with tarfile.open(path, "w:gz") as tar:
        tar.add(file(*few_pairs(), name="valid.txt"), "msc/msc_dialogue/session_3/valid.txt")
    downloads = ((str(path), hashlib.sha256(path.read_bytes()).hexdigest()),)
    monkeypatch.setattr(msc_idl.MscIdl, "DOWNLOADS", downloads)
    rows = load_dataset("idl_hf/msc_idl", "sessions", cache_dir=str(tmp_path / "cache"))
    assert {split: len(part) for split, part in rows.items()} == {"validation": 18}
    assert rows["validation"][0]["source"] == "session_3/valid.txt:1"
    monkeypatch.setattr(msc_idl.MscIdl, "DOWNLOADS", ((str(path), "0" * 64),))
    with pytest.raises(CorpusError, match=r"has the sha256 .*, expected 0000"):
        load_dataset("idl_hf/msc_idl", "sessions", cache_dir=str(tmp_path / "other"))


def test_an_archive_cannot_be_streamed_and_says_what_to_do(tmp_path):
    with pytest.raises(ValueError, match="data_dir"):
        load_dataset("idl_hf/msc_idl", "sessions", streaming=True, cache_dir=str(tmp_path))


# Anything else


def check_any(path: Path, content: bytes, on_error: str) -> None:
    path.write_bytes(content)
    log = ErrorLog(on_error)
    try:
        dialogues = list(read_dialogues([path], log))
    except CorpusError as error:
        dialogues, stopped_at = [], str(error)
    else:
        stopped_at = ""
    assert not stopped_at or stopped_at.startswith(f"{path}:")
    assert not stopped_at or on_error == "raise" or "found UTF-16" in stopped_at
    lines = sum(bool(line.strip()) for line in content.split(b"\n"))
    assert stopped_at or len(dialogues) + log.drops.total() == 6 * lines
    assert len({(d.person_id, d.dialogue_id) for d in dialogues}) == len(dialogues)
    assert all({turn.role for turn in d.turns} == {"self", "partner"} for d in dialogues)
    assert all(turn.text.strip() for d in dialogues for turn in d.turns)
    repr(dialogues).encode()


SMALL = encoded([record("valid_0"), record("valid_1")])
modes = st.sampled_from(["raise", "skip"])
pieces = st.sampled_from(
    [b"\n", b"\r\n", b"\x00", b"\xff", b"\xef\xbb\xbf", b'"', b"[", b"]", b"{", b"}", b",", b"null", b"1",
     b" ", b"\\ud800",
     b"Speaker 2", b'"text": ""', b"valid_1", b"x" * 100_000]
)  # fmt: skip


@st.composite
def changed(draw) -> bytes:
    """A file, cut, with bytes replaced or added, lines doubled, lost, or in another encoding."""
    content = SMALL
    for _ in range(draw(st.integers(1, 4))):
        rows = content.split(b"\n")
        start = draw(st.integers(0, len(content)))
        end = draw(st.integers(start, min(len(content), start + 30)))
        place = draw(st.integers(0, len(rows) - 1))
        content = draw(
            st.sampled_from(
                [
                    content[:start],
                    content[:start] + draw(pieces) + content[end:],
                    b"\n".join([*rows[: place + 1], *rows[place:]]),
                    b"\n".join([*rows[:place], *rows[place + 1 :]]),
                    content.replace(b"\n", b"\r\n"),
                    content.decode("latin-1").encode("utf-16"),
                    content.replace(b"a.", b"\xe9."),
                ]
            )
        )
    return content


@given(changed(), modes)
@example(b"null\nNaN\n", "skip")
def test_any_file_yields_dialogues_or_a_corpus_error(tmp_path_factory, content, on_error):
    check_any(tmp_path_factory.getbasetemp() / "session_3_fuzz.txt", content, on_error)


def places(value, path=()) -> list[tuple]:
    """The path to every value within a JSON value."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(place for key, inner in items for place in places(inner, (*path, key)))]


PLACES = places(record())[1:]
values = st.recursive(
    st.sampled_from([None, True, 0, -1.5, "", " ", "hi", "\ud800", "Speaker 2", 10**30]),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["text", "id", "dialog"]), inner, max_size=2)
    ),
    max_leaves=4,
)


@given(st.lists(st.tuples(st.sampled_from(PLACES), st.none() | values.map(lambda value: [value])), max_size=3), modes)
@example([(("dialog", 0, "text"), [["hi"]])], "raise")
@example([(("metadata", "initial_data_id"), [["hi"]])], "skip")
def test_any_json_yields_dialogues_or_a_corpus_error(tmp_path_factory, changes, on_error):
    """Values of a line replaced by others, or lost (None)."""
    line = record()
    for path, new in changes:
        holder = line
        try:
            for key in path[:-1]:
                holder = holder[key]
            if new is None:
                del holder[path[-1]]
            else:
                holder[path[-1]] = copy.deepcopy(new[0])
        except (KeyError, IndexError, TypeError):
            continue  # an earlier change took the place away
    content = encoded([line, record("valid_1")])
    check_any(tmp_path_factory.getbasetemp() / "session_3_fuzz.txt", content, on_error)
