"""The LIGHT reader on the real examples, on exports and pickles written here, and through load_dataset."""

import hashlib
import pickle
from pathlib import Path

import pytest
from datasets import load_dataset
from hypothesis import given
from hypothesis import strategies as st

import idl_hf  # noqa: F401 (registers the datasets)
from idl_hf.corpora import light
from idl_hf.corpora.errors import CorpusError, ErrorLog
from idl_hf.corpora.light import read_dialogues, read_pickle, split_files
from idl_hf.dataset_scripts import light_idl
from idl_hf.schema import Dialogue, Turn
from tests.corpora.as_ever import digest_of

SETUP = (
    r"_task_speech\n_setting_name Barn, Farm\n_setting_desc A barn. It is old.\n_partner_name cow\n_self_name farmer\n"
    r"_self_persona I farm. My cow is called Mrs. Bell! Do I sow?\n_object_desc a rake : A rake."
)
FIRST = (
    f"text:{SETUP}\tlabels:Hello.\tlabel_candidates:No. |Hello.| Yes!||Hello. \n"
    r"text:_self_say Hello.\n_partner_say Moo.\n_partner_act nod" + "\tlabels:Good cow.\tepisode_done:True\n"
)
SECOND = (
    r"text:_task_speech\n_partner_name farmer\n_self_name cow\n_self_persona I eat grass.\n_partner_say Hello."
    "\tlabels:Moo.\tepisode_done:True\n"
)


@pytest.fixture
def file(tmp_path):
    """Writes an export and returns its path."""

    def write(content: str | bytes, name: str = "speech_train.txt") -> Path:
        path = tmp_path / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    return write


# The real examples


@pytest.mark.parametrize(
    ("split", "replies", "partner_first", "digest"),
    [("train", 5, False, "e644b3a4c508ee89"), ("valid", 5, True, "065a319c9f6e89b2")],
)
def test_the_real_episodes_are_read_as_before(shared, split, replies, partner_first, digest):
    log = ErrorLog()
    (dialogue,) = read_dialogues(shared / "data" / "light" / f"speech_{split}.txt", log)
    assert len(dialogue.texts("self")) == replies
    assert len(dialogue.texts("partner")) == replies - (not partner_first)
    assert (dialogue.turns[0].role == "partner") == partner_first
    own = [turn for turn in dialogue.turns if turn.role == "self"]
    assert all(len(turn.candidates) == 19 and turn.text not in turn.candidates for turn in own)
    assert len(dialogue.profile) == (3 if partner_first else 4)
    assert not log.drops
    assert digest_of(dialogue)[:16] == digest


def test_the_real_episodes_hold_no_stage_business(shared):
    for split in ("train", "valid"):
        (dialogue,) = read_dialogues(shared / "data" / "light" / f"speech_{split}.txt")
        texts = [*dialogue.profile, *(turn.text for turn in dialogue.turns)]
        assert not [text for text in texts if "_self" in text or "_partner" in text or "\\n" in text]


def test_the_real_files_load_as_a_dataset(shared):
    folder = str(shared / "data" / "light")
    rows = load_dataset("idl_hf/light_idl", "sessions", data_dir=folder)
    assert {split: len(part) for split, part in rows.items()} == {"train": 1, "validation": 1}
    assert rows["train"][0]["source"] == "speech_train.txt:1"
    assert "test_unseen" in rows["train"].info.description


# Exports


def test_the_person_gives_the_labels_and_no_reply_counts_twice(file):
    (dialogue,) = read_dialogues(file(FIRST))
    assert dialogue.turns == (
        Turn("self", "Hello.", ("No.", "Yes!")),
        Turn("partner", "Moo."),
        Turn("self", "Good cow."),
    )
    assert dialogue.profile == ("I farm.", "My cow is called Mrs. Bell!", "Do I sow?")


def test_a_person_is_a_name_with_a_persona(file):
    other_name = FIRST.replace("_self_name farmer", "_self_name king")
    other_persona = FIRST.replace("I farm.", "I plough.")
    elsewhere = FIRST.replace("Barn, Farm", "Field, Farm").replace("_partner_name cow", "_partner_name bull")
    ids = [d.person_id for d in read_dialogues(file(FIRST + other_name + other_persona + elsewhere + SECOND))]
    assert [ids.index(person_id) for person_id in ids] == [0, 1, 2, 0, 4]
    assert all(len(person_id) == 12 for person_id in ids)


def test_a_dialogue_is_traced_to_its_file_and_line(file):
    found = [(d.dialogue_id, d.source) for d in read_dialogues(file(FIRST + "\n" + SECOND))]
    assert found == [("episode-1", "speech_train.txt:1"), ("episode-2", "speech_train.txt:4")]


def test_escapes_of_the_format_are_undone(file):
    text = (
        r"text:_self_name elf\n_self_persona I sing\nand dance.\n_partner_say a__PIPE__b\tc" + "\tlabels:"
        r"one\ntwo" + "\tlabel_candidates:" + r"x__PIPE__y|one\ntwo" + "\n"
        r"text:_self_say one\ntwo\n_partner_say \n_partner_emote sigh" + "\tlabels:Three.\tepisode_done:True\n"
    )
    (dialogue,) = read_dialogues(file(text))
    assert dialogue.turns == (
        Turn("partner", "a|b\tc"),
        Turn("self", "one\ntwo", ("x|y",)),
        Turn("self", "Three."),
    )
    assert dialogue.profile == ("I sing\nand dance.",)


@pytest.mark.parametrize(
    "change",
    [
        lambda content: b"\xef\xbb\xbf" + content,
        lambda content: content.replace(b"\n", b"\r\n"),
        lambda content: content.replace(b"\ntext", b"\n\n \ntext"),
        lambda content: content.rstrip(b"\n"),
        lambda content: content.replace(b"\n", b"\t\n"),
    ],
    ids=["byte order mark", "CRLF", "blank lines", "no end", "a tab at the end"],
)
def test_how_lines_end_changes_no_dialogue(file, change):
    sound = [(d.person_id, d.dialogue_id, d.turns) for d in read_dialogues(file(FIRST + SECOND))]
    changed = read_dialogues(file(change((FIRST + SECOND).encode())))
    assert [(d.person_id, d.dialogue_id, d.turns) for d in changed] == sound


MALFORMED = [
    pytest.param(FIRST.replace("\tepisode_done:True", ""), 4, "Expected 'episode_done:True' here", id="never done"),
    pytest.param(SECOND.replace("_self_name cow", ""), 3, "Expected '_self_name' and '_self_persona'", id="no name"),
    pytest.param(SECOND.replace("_self_name cow", "_self_name "), 3, "Expected '_self_name' and", id="empty name"),
    pytest.param(SECOND.replace(r"\n_self_persona I eat grass.", ""), 3, "and '_self_persona'", id="no persona"),
    pytest.param(SECOND.replace("\tlabels:Moo.", ""), 3, "Expected 'text:...<TAB>labels:...'.*'text:_task",
        id="no label"),
    pytest.param(SECOND.replace("Moo.", " "), 3, "both once and a label given.*'labels: '", id="empty label"),
    pytest.param(SECOND.replace("text:", "words:"), 3, "'words:_task_speech", id="another field"),
    pytest.param(SECOND.replace("Moo.", "Moo.\tlabels:Mu."), 3, "'labels:Moo.', 'labels:Mu.'", id="two labels"),
    pytest.param(FIRST.replace("_self_say Hello.", "_self_say Hi."), 4, "to repeat the label .*found 'Hi.'",
        id="other"),
    pytest.param(FIRST.replace("_self_say Hello.", r"_self_say Hello.\n_self_say Hello."), 4, "'_self_say'",
        id="twice"),
    pytest.param(SECOND.replace("_partner_say", "_self_say"), 3, "Expected '_self_say' to repeat",
        id="said before all"),
    pytest.param(FIRST.replace("_self_say Hello.", "Hello."), 4, "such as '_partner_say hello', found 'Hel",
        id="no tag"),
    pytest.param(FIRST.replace("speech", "action"), 3, "found '_task_action'", id="another task"),
    pytest.param(FIRST.encode().replace(b"Moo.", b"Moo\xe9"), 4, "Expected UTF-8 text, found the byte 0xe9",
        id="latin-1"),
    pytest.param(SECOND.encode().replace(b"farmer", b"\xff"), 3, "Expected UTF-8 text, found the byte 0xff",
        id="at first"),
]  # fmt: skip


def around(malformed: str | bytes) -> bytes:
    """Between two sound episodes of two lines each."""
    return FIRST.encode() + (malformed.encode() if isinstance(malformed, str) else malformed) + FIRST.encode()


@pytest.mark.parametrize(("malformed", "line", "message"), MALFORMED)
def test_raise_stops_with_file_and_line(file, malformed, line, message):
    path = file(around(malformed))
    with pytest.raises(CorpusError, match=rf"{path}:{line}: .*{message}.*on_error='skip'"):
        list(read_dialogues(path))


@pytest.mark.parametrize(("malformed", "line", "message"), MALFORMED)
def test_skip_leaves_out_the_whole_episode_and_counts_it_once(file, malformed, line, message):
    path, log = file(around(malformed)), ErrorLog("skip")
    assert [dialogue.dialogue_id for dialogue in read_dialogues(path, log)] == ["episode-1", "episode-3"]
    assert len(log.messages) == log.drops.total() == 1
    assert log.messages[0].startswith(f"{path}:{line}: ")


def test_a_file_that_ends_within_an_episode_says_so(file):
    path, log = file(FIRST + FIRST.splitlines(keepends=True)[0]), ErrorLog("skip")
    assert len(list(read_dialogues(path, log))) == log.drops.total() == 1
    assert log.messages == [
        f"{path}:3: The file ends within an episode. Expected 'episode_done:True' on its last line."
    ]


# Pickles


def record(*speech: str | None, **changes) -> dict:
    agents = [{"name": "farmer", "persona": "I farm. I sow."}, {"name": "cow", "persona": "I eat grass."}]
    rest = {"setting": {"name": "Barn", "category": "Farm"}, "emote": [None] * len(speech), "score": (1.0, True)}
    return {"agents": agents, "speech": list(speech), **rest} | changes


def pickled(path: Path, records: object) -> Path:
    path.write_bytes(pickle.dumps(records))
    return path


def exported(records: list[dict]) -> str:
    """What ParlAI's export makes of them: first the second player's side, then the first's, where they say
    anything."""
    lines = []
    for entry in records:
        first, second = entry["agents"]
        for own, other, speech in ((second, first, entry["speech"]), (first, second, [None, *entry["speech"]])):
            text = rf"_task_speech\n_partner_name {other['name']}\n_self_name {own['name']}\n"
            text += rf"_self_persona {own['persona']}\n"
            mine = []
            for partner, reply in zip(speech[::2], speech[1::2], strict=False):
                text += rf"_partner_say {partner}\n" if partner is not None else ""
                if reply is not None:
                    mine.append(f"text:{text}\tlabels:{reply}")
                    text = rf"_self_say {reply}\n"
            lines += [f"{line}\n" for line in mine[:-1]] + [f"{line}\tepisode_done:True\n" for line in mine[-1:]]
    return "".join(lines)


def without_source(dialogues) -> list[Dialogue]:
    return [Dialogue(d.person_id, d.dialogue_id, d.turns, d.profile) for d in dialogues]


speeches = st.lists(st.none() | st.sampled_from(["Hello.", "Moo!", "a b"]), max_size=6)


@given(st.lists(speeches, max_size=4))
def test_a_pickle_gives_what_its_export_gives(tmp_path_factory, speech):
    folder = tmp_path_factory.getbasetemp()
    records = [record(*said) for said in speech]
    (folder / "speech_test_unseen.txt").write_text(exported(records))
    log = ErrorLog()
    found = list(read_pickle(pickled(folder / light.UNSEEN, records), "test_unseen", log))
    assert without_source(found) == without_source(read_dialogues(folder / "speech_test_unseen.txt"))
    assert len(found) + log.drops.total() == 2 * len(records)


def test_a_dialogue_of_a_pickle_is_there_from_both_sides(tmp_path):
    path = pickled(tmp_path / light.UNSEEN, [record("Hello.", "Moo.", "Good cow.", None, "Bye.")])
    cow, farmer = read_pickle(path, "test_unseen")
    assert cow.turns == (Turn("partner", "Hello."), Turn("self", "Moo."))
    assert [turn.text for turn in farmer.turns] == ["Hello.", "Moo.", "Good cow.", "Bye."]
    assert (cow.profile, farmer.profile) == (("I eat grass.",), ("I farm.", "I sow."))
    assert (cow.dialogue_id, farmer.dialogue_id) == ("episode-1", "episode-2")
    assert farmer.source == f"{light.UNSEEN}:1"


@pytest.fixture(scope="module")
def large(tmp_path_factory) -> Path:
    records = [record(f"{number}", "Moo.") for number in range(5000)]
    return pickled(tmp_path_factory.mktemp("pickles") / light.SEEN, records)


def test_the_splits_of_the_large_pickle_are_those_of_parlai(large):
    """Drawn anew from its description: 1,000 for test and the next 500 for validation from the records 1,368 to
    4,732."""
    found = {
        split: [int(d.turns[0].text) for d in read_pickle(large, split)][::2]
        for split in ("train", "validation", "test")
    }
    assert {split: len(numbers) for split, numbers in found.items()} == {
        "train": 3500,
        "validation": 500,
        "test": 1000,
    }
    assert sorted(number for numbers in found.values() for number in numbers) == list(range(5000))
    assert all(1368 <= number < 4733 for number in found["test"] + found["validation"])
    assert all(numbers == sorted(numbers) for numbers in found.values())
    assert (found["test"][:3], found["validation"][:3]) == ([1368, 1373, 1375], [1371, 1384, 1402])


@pytest.mark.parametrize(
    "malformed",
    [
        None,
        "text",
        {},
        record("Hello.", agents=[]),
        record("Hello.", agents=[{"name": "cow", "persona": "I eat."}]),
        record("Hello.", agents=[{"name": " ", "persona": "I eat."}] * 2),
        record("Hello.", agents=[{"name": "cow"}] * 2),
        record("Hello.", agents=[{"name": b"cow", "persona": "I eat."}] * 2),
        record("Hello.", agents=3),
        record("Hello.", 3),
        record("Hello.", ["Moo."]),
        record("Hello.", "\ud800"),
        record("Hello.", speech="Hello."),
        record("Hello.", speech=None),
        record("Hello.", speech={"Hello.": 1}),
    ],
)
def test_a_malformed_record_loses_both_sides_and_is_reported(tmp_path, malformed):
    path = pickled(tmp_path / light.UNSEEN, [record("Hello.", "Moo."), malformed, record("Hello.", "Moo.")])
    with pytest.raises(CorpusError, match=rf"{path}:2: Expected a dict with 'agents'.*on_error='skip'"):
        list(read_pickle(path, "test_unseen"))
    log = ErrorLog("skip")
    found = [dialogue.dialogue_id for dialogue in read_pickle(path, "test_unseen", log)]
    assert found == ["episode-1", "episode-2", "episode-5", "episode-6"]
    assert log.drops.total() == 2


def test_other_pickles_are_refused_and_say_why(tmp_path, large):
    few = pickled(tmp_path / light.SEEN, [record("Hello.", "Moo.")])
    with pytest.raises(CorpusError, match=r"more than 4,732 dialogues .*found 1\. .*'test_unseen' only"):
        list(read_pickle(few, "train"))
    with pytest.raises(
        CorpusError, match=r"split 'dev' is unknown\. A pickle has test, validation, train, test_unseen"
    ):
        list(read_pickle(large, "dev"))
    with pytest.raises(CorpusError, match="Expected a list of dialogues, found dict"):
        list(read_pickle(pickled(tmp_path / "x.pkl", {}), "train"))


# Folders and downloads


def test_the_export_goes_before_the_pickles_and_unseen_is_a_split(tmp_path):
    for name in (light.SEEN, "light_unseen_data.pkl"):
        (tmp_path / name).touch()
    assert {split: Path(files[0]).name for split, files in split_files(tmp_path).items()} == {
        "train": light.SEEN,
        "validation": light.SEEN,
        "test": light.SEEN,
        "test_unseen": "light_unseen_data.pkl",
    }
    for name in ("speech_valid.txt", "speech_test_unseen.txt"):
        (tmp_path / name).touch()
    assert {split: Path(files[0]).name for split, files in split_files(tmp_path).items()} == {
        "validation": "speech_valid.txt",
        "test_unseen": "speech_test_unseen.txt",
    }


def test_a_folder_without_light_says_what_it_should_hold(tmp_path):
    with pytest.raises(
        CorpusError, match=r"Expected ParlAI's files speech_train\.txt.*light-dialog-processed-small7\.pkl"
    ):
        split_files(tmp_path)


@pytest.fixture
def published(large, tmp_path, monkeypatch) -> None:
    """The pickles as if they were the published ones, fetched from a folder instead of the network."""
    unseen = pickled(tmp_path / light.UNSEEN, [record("Hello.", "Moo.")])
    (tmp_path / light.SEEN).write_bytes(large.read_bytes())
    pickles = (tmp_path / light.SEEN, unseen)
    downloads = tuple((str(file), hashlib.sha256(file.read_bytes()).hexdigest()) for file in pickles)
    monkeypatch.setattr(light_idl.LightIdl, "DOWNLOADS", downloads)


def test_the_published_pickles_are_fetched_checked_and_read(published, tmp_path):
    rows = load_dataset("idl_hf/light_idl", "sessions", cache_dir=str(tmp_path / "cache"))
    sizes = {split: len(part) for split, part in rows.items()}
    assert sizes == {"train": 7000, "validation": 1000, "test": 2000, "test_unseen": 2}


def test_other_pickles_than_the_published_are_not_opened(published, tmp_path, monkeypatch):
    monkeypatch.setattr(light_idl.LightIdl, "DOWNLOADS", ((str(tmp_path / light.SEEN), "0" * 64),))
    monkeypatch.setattr(light.plain_pickle, "load", None)
    with pytest.raises(CorpusError, match=r"has the sha256 .*, expected 0000"):
        load_dataset("idl_hf/light_idl", "sessions", cache_dir=str(tmp_path / "cache"))


def test_pickles_cannot_be_streamed_and_what_cannot_be_fetched_says_what_to_do(tmp_path, monkeypatch):
    with pytest.raises(ValueError, match="data_dir"):
        load_dataset("idl_hf/light_idl", "sessions", streaming=True, cache_dir=str(tmp_path))
    monkeypatch.setattr(light_idl.LightIdl, "DOWNLOADS", ((f"{tmp_path}/nowhere/{light.SEEN}", "0" * 64),))
    with pytest.raises(OSError, match=r"could not be fetched .*data_dir='<folder>'"):
        load_dataset("idl_hf/light_idl", "sessions", cache_dir=str(tmp_path))
