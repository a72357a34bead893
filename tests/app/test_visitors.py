"""What a visitor has alone, without a browser: people, chats, what is forgotten, and the copy of a file."""

import json
from pathlib import Path

import gradio as gr
import pytest

from idl_hf.app.chat import _send
from idl_hf.app.pasted import parse_pasted
from idl_hf.app.visitors import Shared, Visitor, read_people
from idl_hf.chat.persona_chat import PersonaChat
from idl_hf.corpora.errors import CorpusError
from idl_hf.schema import group_by_person

PASTED = "Ana: any plans?\nBo: feeding my goats\n\nBo: it is cold\nAna: so it is\n\nCy: hello\nBo: hey"


@pytest.fixture
def shared(tiny_llama, tokenizer, encoder, monkeypatch, tmp_path):
    monkeypatch.setenv("IDL_HF_CACHE", str(tmp_path / "cache"))
    return Shared(PersonaChat(tiny_llama(), tokenizer, encoder))


@pytest.fixture
def visitor(shared):
    visitor = Visitor()
    visitor.take(group_by_person(parse_pasted(PASTED)))
    return visitor


def ids(chat):
    return [dialogue.dialogue_id for dialogue in chat.dialogues]


def test_chats_share_the_model_and_are_left_as_they_are(shared, visitor):
    bo = visitor.turn_to("Bo", shared)
    bo.reply("hello ?", max_new_tokens=2)
    ana = visitor.turn_to("Ana", shared)
    assert ana._model.model is bo._model.model is shared.chat._model.model
    assert (ids(bo), ids(ana)) == (["Ana 1", "Ana 2", "Cy 1"], ["Bo 1", "Bo 2"])
    assert visitor.chat is ana
    assert visitor.turn_to("Bo", shared) is bo
    assert len(bo.turns) == 2


def test_where_memory_runs_out_the_page_says_so_and_the_chat_goes_on(shared, visitor, monkeypatch, caplog):
    chat, told = visitor.turn_to("Bo", shared), []
    chat.reply("hello ?", max_new_tokens=2)
    monkeypatch.setattr(gr, "Warning", lambda text, duration: told.append(text))
    monkeypatch.setattr(chat._model, "stream", lambda *_: (_ for _ in ()).throw(RuntimeError("out of memory")))
    *_, last = _send(shared, visitor, "and ?", 0.7, 0.9, 2, 1.1, "")
    assert told[0].startswith("That failed: out of memory. The conversation is as it was before.")
    assert "RuntimeError: out of memory" in caplog.text  # with its traceback, for whoever runs the app
    assert [turn.text for turn in chat.turns[:1]] == ["hello ?"]
    assert len(last[1]) == len(chat.turns) == 2
    assert last[2].value == "and ?"
    assert not shared.lock.locked()


def test_other_people_take_the_place_of_those_so_far(shared, visitor):
    visitor.turn_to("Bo", shared)
    visitor.take([])
    with pytest.raises(ValueError, match="Nobody is picked yet"):
        _ = visitor.chat
    with pytest.raises(ValueError, match="no person 'Bo' on this page"):
        visitor.turn_to("Bo", shared)


def test_a_conversation_is_forgotten_of_all_who_were_in_it(shared, visitor):
    visitor.turn_to("Cy", shared)
    visitor.turn_to("Bo", shared)
    lines = visitor.forget("Ana 1", shared)
    assert "'Ana 1'" in lines[0]
    assert any("as Ana had it" in line for line in lines)
    assert not any("Cy" in line for line in lines)
    assert ids(visitor.chat) == ["Ana 2", "Cy 1"]
    assert [dialogue.dialogue_id for dialogue in visitor.people["Bo"].dialogues] == ["Ana 2", "Cy 1"]
    assert ids(visitor.turn_to("Ana", shared)) == ["Bo 2"]
    assert ids(visitor.turn_to("Cy", shared)) == ["Bo 1"]
    with pytest.raises(ValueError, match="no dialogue 'Ana 1'"):
        visitor.turn_to("Bo", shared), visitor.forget("Ana 1", shared)


def test_the_lines_of_a_folder_are_named_with_the_file_they_are_in(shared, tmp_path):
    for split, name in (("train", "bo-1"), ("validation", "bo-2")):
        turns = [{"role": "partner", "text": f"{split} ?"}, {"role": "self", "text": f"{name} it is"}]
        line = {"person_id": "bo", "dialogue_id": name, "turns": turns}
        (tmp_path / f"{split}.jsonl").write_text(json.dumps(line) + "\n")
    people = read_people(tmp_path)
    assert [(person.person_id, len(person.dialogues)) for person in people] == [("bo", 2)]
    visitor = Visitor()
    visitor.take(people, tmp_path)
    visitor.turn_to("bo", shared)
    deletion = next(line for line in visitor.forget("bo-2", shared) if "sed" in line)
    assert str(tmp_path / "validation.jsonl") in deletion
    assert "train.jsonl" not in deletion


def test_a_folder_without_dialogues_is_refused(tmp_path):
    with pytest.raises(CorpusError, match=r"train\.jsonl"):
        read_people(tmp_path)


def test_of_copies_the_last_one_is_kept_until_it_was_read(tmp_path):
    first, second = (Path(tmp_path, name) for name in ("a.txt", "b.txt"))
    visitor = Visitor()
    for copy in (first, second):
        copy.touch()
        visitor.keep_copy(copy)
        visitor.keep_copy(copy)
    assert (first.exists(), second.exists()) == (False, True)
    visitor.keep_copy(None)
    assert not second.exists()
