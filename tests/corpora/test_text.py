"""Text as it comes: in other encodings, packed, decomposed, in parts and empty. It is read as what was said, or
refused with what to do."""

import bz2
import gzip
import json
import lzma
import unicodedata
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from idl_hf.corpora import convai2, cornell_movie, jsonl, light, msc, personaext, spc
from idl_hf.corpora.errors import CorpusError, ErrorLog
from idl_hf.corpora.files import each_once
from idl_hf.dataset_scripts.dialogues_idl import DialoguesIdl
from idl_hf.persona import patterns
from idl_hf.persona.triples import mentions
from idl_hf.schema import Dialogue, Turn, comparable, plain

SAID = [{"role": "partner", "text": "hi"}, {"role": "self", "text": "caf\u00e9"}]
RECORD = {"person_id": "ruth", "dialogue_id": "1", "turns": SAID}
# Enough of any file for the first bytes to tell what it is
CONTENT = (json.dumps(RECORD, ensure_ascii=False) + "\n") * 3
READERS = {
    "train.jsonl": jsonl.read_dialogues,
    "train_self_original.txt": convai2.read_dialogues,
    "speech_train.txt": light.read_dialogues,
    "session_2_train.txt": lambda path, log: msc.read_dialogues([path], log),
    "spc_train.csv": spc.read_dialogues,
    "facts.jsonl": personaext.read_sentences,
    "movie_lines.txt": lambda path, log: cornell_movie.read_dialogues(
        [path, path.with_name("movie_conversations.txt")], log=log
    ),
}
FORMS = {
    "UTF-16": CONTENT.encode("utf-16"),
    "UTF-16, big endian, no mark": CONTENT.encode("utf-16-be"),
    "UTF-16, little endian, no mark": CONTENT.encode("utf-16-le"),
    "UTF-32": CONTENT.encode("utf-32"),
    "gzip": gzip.compress(CONTENT.encode()),
    "bzip2": bz2.compress(CONTENT.encode()),
    "xz": lzma.compress(CONTENT.encode()),
    "zip": b"PK\x03\x04" + CONTENT.encode(),
}


@pytest.mark.parametrize("on_error", ["raise", "skip"])
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", READERS)
def test_a_file_of_which_no_line_can_be_read_is_refused_with_what_to_do(tmp_path, name, form, on_error):
    path = tmp_path / name
    path.write_bytes(FORMS[form])
    with pytest.raises(CorpusError, match=r"^\S+:1: .*(Save the file as UTF-8|Unpack it)") as error:
        list(READERS[name](path, ErrorLog(on_error)))
    assert "on_error" not in str(error.value)


@pytest.mark.parametrize(
    "lines",
    [["[", "{}", "]"], ['{"person": "ruth"}'] * 3, [RECORD | {"turns": "hi"}] * 2],
    ids=["array", "keys", "turns"],
)
def test_to_skip_is_no_advice_where_nothing_would_be_left(tmp_path, lines):
    path = tmp_path / "train.jsonl"
    path.write_text("".join((line if isinstance(line, str) else json.dumps(line)) + "\n" for line in lines))
    builder = DialoguesIdl(config_name="msl", data_dir=str(tmp_path), encoder="offline", cache_dir=str(tmp_path))
    with pytest.raises(CorpusError, match=r"train\.jsonl:1: .* would leave none") as error:
        builder.read_persons("train", [str(path)], ErrorLog())
    assert "on_error" not in str(error.value)
    path.write_text(path.read_text() + json.dumps(RECORD) + "\n")
    with pytest.raises(CorpusError, match="on_error='skip'"):
        builder.read_persons("train", [str(path)], ErrorLog())


# Cornell: cp1252 as published, UTF-8 in copies


@pytest.mark.parametrize("encoding", ["cp1252", "utf-8", "utf-8-sig"])
def test_cornell_is_read_right_in_the_encodings_it_is_given_in(tmp_path, encoding):
    texts = ["caf\u00e9 \u2013 d\u00e9j\u00e0 vu", "don\u2019t", "r\u00e9sum\u00e9 ?", "no"]
    separator = " +++$+++ "
    lines = [separator.join([f"L{i}", f"u{i % 2}", "m0", "AB"[i % 2], text]) for i, text in enumerate(texts)]
    files = {
        "movie_lines.txt": lines,
        "movie_conversations.txt": [separator.join(["u0", "u1", "m0", "['L0', 'L1', 'L2', 'L3']"])],
    }
    for name, content in files.items():
        (tmp_path / name).write_bytes("\n".join(content).encode(encoding))
    dialogues = list(cornell_movie.read_dialogues([tmp_path / name for name in files]))
    assert [[turn.text for turn in dialogue.turns] for dialogue in dialogues] == [texts, texts]


# Chat logs


def text(*parts: str) -> list[dict[str, str]]:
    return [{"type": "text", "text": part} for part in parts]


@pytest.mark.parametrize(
    ("content", "expected", "notes"),
    [
        (text("hi"), "hi", {}),
        (text("hi", "you"), "hi\nyou", {}),
        (["hi"], "hi", {}),
        ([{"type": "output_text", "text": "hi"}], "hi", {}),
        ([{"type": "image_url", "image_url": {}}, *text("hi")], "hi", {"part of a content that is no text": 1}),
        ([{"type": "thinking", "text": "hm"}, *text("hi")], "hi", {"part of a content that is no text": 1}),
        (
            [{"type": "image_url"}],
            None,
            {"part of a content that is no text": 1, "empty turn left out of its dialogue": 1},
        ),
        (None, None, {"empty turn left out of its dialogue": 1}),
        ("", None, {"empty turn left out of its dialogue": 1}),
        (" \u00a0\n", None, {"empty turn left out of its dialogue": 1}),
        ("\u200b\u3164\ufe0f", None, {"empty turn left out of its dialogue": 1}),
        ([], None, {"empty turn left out of its dialogue": 1}),
    ],
    ids=repr,
)
def test_a_content_is_read_or_left_out_and_counted(content, expected, notes):
    counted: Counter[str] = Counter()
    messages = [{"role": "user", "content": "yo"}, {"role": "assistant", "content": content}]
    dialogue = jsonl.parse_dialogue({"person_id": "ruth", "dialogue_id": "1", "messages": messages}, counted)
    assert dialogue.texts("self") == ([] if expected is None else [expected])
    assert counted == notes


def test_without_a_count_an_empty_turn_is_an_error():
    with pytest.raises(CorpusError, match="Turn 1: expected a text that is not empty"):
        jsonl.parse_turns({"turns": [{"role": "self", "text": " "}]})


@pytest.mark.parametrize(("given_id", "read"), [(7, "7"), (0, "0"), (" 7 ", "7"), ("Zoe\u0308", "Zo\u00eb")])
def test_ids_are_read_as_text(given_id, read):
    dialogue = jsonl.parse_dialogue(RECORD | {"person_id": given_id, "dialogue_id": given_id})
    assert (dialogue.person_id, dialogue.dialogue_id) == (read, read)


@pytest.mark.parametrize("given_id", [True, 7.5, None, "", "\u00a0", [7], {"id": 7}], ids=repr)
def test_what_is_no_id_is_named(given_id):
    with pytest.raises(CorpusError, match="Expected the text fields person_id, found"):
        jsonl.parse_dialogue(RECORD | {"person_id": given_id})


@pytest.mark.parametrize("names", [("a.jsonl", "b.jsonl"), ("x/train.jsonl", "y/train.jsonl")])
@pytest.mark.parametrize("again", [{}, {"dialogue_id": 1}, {"person_id": "ruth "}], ids=repr)
def test_a_dialogue_id_occurs_once_in_all_files_of_a_split(tmp_path, names, again):
    for name, record in zip(names, (RECORD, RECORD | again), strict=True):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("\n" + json.dumps(record) + "\n")
    paths = [str(tmp_path / name) for name in names]
    builder = DialoguesIdl(config_name="msl", data_files={"train": paths}, encoder="offline", cache_dir=str(tmp_path))
    with pytest.raises(CorpusError, match=rf"{paths[1]}:2: .*'1' occurs twice for this person, first at {paths[0]}:2"):
        builder.read_split("train", paths, ErrorLog())
    log = ErrorLog("skip")
    assert len(builder.read_split("train", paths, log)) == 1
    assert log.drops.total() == 1


@pytest.mark.parametrize("again", [1, 2])
def test_two_files_of_any_corpus_that_count_from_one_do_not_share_ids(again):
    turns = (Turn("partner", "hi"), Turn("self", "yo"))
    read = [Dialogue("ruth", f"dialogue-{n}", turns, source=f"{n}.txt:1") for n in (1, 2)]
    read.append(Dialogue("ruth", f"dialogue-{again}", turns, source="more.txt:9"))
    with pytest.raises(CorpusError, match=rf"more\.txt:9: .* occurs twice for this person, first at {again}\.txt:1"):
        list(each_once(read, ErrorLog()))
    log = ErrorLog("skip")
    assert list(each_once(read, log)) == read[:2]
    assert log.drops.total() == 1


# Signs

ENGLISH = [
    "i have two dogs",
    "i work as a nurse",
    "i'm a nurse",
    "i am a nurse",
    "my favorite food is pizza",
    "i don't like cats",
]
# Ways to write the same, each a function of a text
WAYS = {
    "curly": lambda text: text.replace("'", "\u2019"),
    "modifier letter": lambda text: text.replace("'", "\u02bc"),
    "acute": lambda text: text.replace("'", "\u00b4"),
    "no-break spaces": lambda text: text.replace(" ", "\u00a0"),
    "narrow no-break spaces": lambda text: text.replace(" ", "\u202f"),
    "tabs": lambda text: text.replace(" ", "\t"),
    "two spaces": lambda text: text.replace(" ", "  "),
    "zero-width spaces": lambda text: text.replace(" ", " \u200b"),
    "soft hyphens": lambda text: text.replace("o", "o\u00ad"),
    "decomposed": lambda text: unicodedata.normalize("NFD", text),
    "direction marks": lambda text: f"\u200e{text}\u200f",
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("sentence", ENGLISH)
def test_rules_read_facts_however_apostrophes_and_spaces_are_written(sentence, way):
    written = WAYS[way](sentence)
    assert patterns.extract([written]) == patterns.extract([sentence]) != [[]]
    assert all(mentions(written, triple) for triple in patterns.extract([sentence])[0])


texts = st.text(st.sampled_from("aeio\u00e9\u00fc\u0301\u0308'? \n\u4eca\ud55c\U0001f9d1"), max_size=12)


@given(texts, st.sampled_from([*WAYS, "upper"]))
def test_what_reads_the_same_is_comparable(said, way):
    written = said.upper() if way == "upper" else WAYS[way](said)
    assert comparable(written) == comparable(said)
    assert way == "upper" or plain(plain(written)) == plain(written)


@given(texts)
def test_rows_hold_what_was_said_but_for_its_form(said):
    turn = Turn("self", said, (said,))
    assert turn.text == turn.candidates[0] == unicodedata.normalize("NFC", said).strip()
    assert Turn("self", unicodedata.normalize("NFD", said)) == Turn("self", said)
    dialogue = Dialogue(said, said, (turn,), (said,))
    assert {dialogue.person_id, dialogue.dialogue_id, *dialogue.profile} == {turn.text}


def test_the_sample_data_are_kept_byte_for_byte(sample_data):
    for name in ("train", "validation"):
        path = Path(sample_data, f"{name}.jsonl")
        raw = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        assert [[turn.text for turn in dialogue.turns] for dialogue in jsonl.read_dialogues(path)] == [
            [turn["text"] for turn in record["turns"]] for record in raw
        ]
