"""Forgetting: after it no file of this package holds a dialogue's text, to the byte, and no prompt shows it."""

import sqlite3

import pytest

from idl_hf import PersonaChat
from idl_hf.cache import Cache, cache_folder
from idl_hf.encoding import SentenceEncoder
from idl_hf.persona import extractor
from idl_hf.persona.extractor import forget_triples
from idl_hf.rows.options import RowOptions

SECRET = "my parrot captain biscuit sleeps in the pantry"
OTHER = "i feed my goats at dawn"


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("IDL_HF_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def chat(tiny_llama, tokenizer, cache):
    chat = PersonaChat(
        tiny_llama(), tokenizer, SentenceEncoder("offline", show_progress=False), RowOptions(encoder="offline")
    )
    chat.add_dialogue([("partner", "any pets ?"), ("self", SECRET), ("partner", "oh !"), ("self", "yes")], "pets")
    chat.add_dialogue([("partner", "what else ?"), ("self", OTHER)], "goats")
    return chat


def holding(folder, text):
    """The files in a folder that hold a text, in its own bytes or as JSON may write them."""
    return [path.name for path in folder.rglob("*") if path.is_file() and text.encode() in path.read_bytes()]


def vectors(cache):
    files = list((cache / "embeddings").glob("*.sqlite"))
    return sum(sqlite3.connect(file).execute("SELECT count(*) FROM entries").fetchone()[0] for file in files)


@pytest.mark.parametrize("mode", ["delete", "wal"])
def test_after_forgetting_no_file_holds_the_text(mode, chat, cache, tmp_path):
    for text in (SECRET, OTHER):  # what a model extracts is a copy of parts of the text, under any extractor's name
        for name in ("old", "new"):
            file = cache / "triples" / f"{name}.sqlite"
            file.parent.mkdir(parents=True, exist_ok=True)
            sqlite3.connect(file).execute(f"PRAGMA journal_mode = {mode}")
            Cache(file).write({extractor._key(text): f"<i, say, {text}>".encode()})
    chat.reply("hi", max_new_tokens=4)
    chat.save(tmp_path / "saved")
    assert {"old.sqlite", "new.sqlite"} <= {name.removesuffix("-wal") for name in holding(cache, SECRET)}
    assert holding(tmp_path / "saved", SECRET) == ["persona.json"]
    before = vectors(cache)
    forgotten = chat.forget("pets")
    assert holding(cache_folder(), SECRET) == holding(tmp_path / "saved", SECRET) == []
    assert holding(cache, OTHER) != []
    assert holding(tmp_path / "saved", OTHER) == ["persona.json"]
    assert (forgotten.dialogue_ids, forgotten.triples) == (("pets",), 2)
    assert forgotten.vectors == before - vectors(cache) > 0
    assert forgotten.folders == ((tmp_path / "saved").resolve(),)


def test_a_forgotten_dialogue_is_in_no_prompt(chat):
    chat.reply("hi", max_new_tokens=4)
    chat.forget("pets")
    assert chat.references == chat.turns == []
    assert chat._model._cache is None
    chat.reply("do you have a parrot ?", max_new_tokens=4)
    assert [dialogue.dialogue_id for dialogue in chat.references] == ["goats"]
    assert chat.prompt_tokens == chat.new_tokens


def test_the_vectors_of_other_dialogues_stay_and_those_of_the_conversation_go(chat, cache):
    chat.reply("hi", max_new_tokens=4)
    chat.forget("pets")
    left = vectors(cache)
    assert left > 0
    assert chat._encoder.encoded_count > left
    chat.forget("goats")
    assert vectors(cache) == 0


def test_copies_under_another_id_go_too(chat):
    chat.add_dialogue([("partner", "Any pets?"), ("self", "no")], "short")
    same = [("partner", "any  pets ?"), ("self", SECRET.upper()), ("partner", "oh !"), ("self", "yes")]
    chat.add_dialogue(same, "copy")
    assert chat.forget("copy").dialogue_ids == ("pets", "copy")
    assert [dialogue.dialogue_id for dialogue in chat.dialogues] == ["goats", "short"]


def test_a_conversation_that_quotes_it_is_emptied_and_a_broken_save_goes_with_it(chat, tmp_path):
    chat.reply(f"you said {SECRET} ?", max_new_tokens=4)
    chat.save(tmp_path / "saved")
    (tmp_path / "saved" / ".persona.json.999999999-a.partial").write_text(SECRET)
    chat.forget("pets")
    assert holding(tmp_path / "saved", SECRET) == []


def test_a_folder_it_was_loaded_from_is_written_anew_and_one_that_is_gone_is_no_error(chat, tmp_path):
    chat.save(tmp_path / "saved")
    loaded = PersonaChat.load(tmp_path / "saved", like=chat)
    loaded.forget("pets")
    assert holding(tmp_path / "saved", SECRET) == []
    (tmp_path / "saved" / "persona.json").unlink()
    assert chat.forget("pets").folders == ()


def test_an_unknown_id_names_those_there_are(chat):
    with pytest.raises(ValueError, match=r"no dialogue 'nobody'.*pets, goats"):
        chat.forget("nobody")
    assert len(chat.dialogues) == 2


def test_where_a_cache_cannot_be_written_the_dialogue_is_still_known(chat, monkeypatch):
    def fail(*_):
        raise OSError("locked")

    monkeypatch.setattr("idl_hf.chat.persona_chat.remove_from_caches", fail)
    with pytest.raises(OSError, match="locked"):
        chat.forget("pets")
    monkeypatch.undo()
    assert "pets" in [dialogue.dialogue_id for dialogue in chat.dialogues]


def test_what_is_left_is_named_with_the_command_that_deletes_it(chat, tmp_path, monkeypatch):
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "data sets")
    (tmp_path / "data sets" / "dialogues_idl").mkdir(parents=True)
    (left,) = chat.forget("pets").left
    assert left.command == f"rm -r '{tmp_path / 'data sets' / 'dialogues_idl'}'"


def test_a_long_utterance_is_found_under_the_key_of_what_was_read_of_it(cache):
    text = "word " * 500
    Cache(cache / "triples" / "a.sqlite").write({extractor._key(extractor._shortened(text)): b"<i, say, word>"})
    assert forget_triples([text]) == 1
