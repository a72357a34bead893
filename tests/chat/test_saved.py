"""A saved persona comes back as it was; a file that somebody else has written is refused with a sentence."""

import json
import stat

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from idl_hf import PersonaChat
from idl_hf.chat.saved import PERSONA_FILE, read_persona
from idl_hf.models.generation import GenerationSettings
from idl_hf.rows.options import RowOptions
from idl_hf.schema import Turn

OPTIONS = RowOptions(encoder="offline", references=2)


@pytest.fixture
def chat(tiny_llama, tokenizer, encoder):
    generation = GenerationSettings(max_new_tokens=5, temperature=0.8, seed=3)
    chat = PersonaChat(
        tiny_llama(), tokenizer, encoder, OPTIONS, 700, person_id="ann", partner_id="bo", choose_every=2,
        generation=generation,
    )  # fmt: skip
    turns = [Turn("partner", "any plans ?", time="2026-01-02T03:04:05", speaker="Bo"), Turn("self", 'müde 🐐 "ja"')]
    chat.add_dialogue(turns, "one", partner_id="bo")
    chat.add_dialogue([("self", "rain again"), ("partner", "here too")])
    return chat


def test_a_persona_comes_back_as_it_was_and_goes_on_alike(chat, tmp_path):
    chat.reply("hi", do_sample=False)
    chat.save(tmp_path / "ann")
    loaded = PersonaChat.load(tmp_path / "ann", like=chat)
    for name in ("dialogues", "turns", "references", "generation", "person_id", "partner_id", "name", "_choose_every",
                 "_max_prompt_tokens"):  # fmt: skip
        assert getattr(loaded, name) == getattr(chat, name), name
    assert loaded.dialogues[0].turns[0].speaker == "Bo"
    assert [reason.fall for reason in loaded.why()] == [reason.fall for reason in chat.why()]
    assert loaded.reply("and ?") == chat.reply("and ?")  # by the same seed


def test_only_its_owner_may_read_it_and_no_model_is_in_it(chat, tmp_path):
    chat.save(tmp_path / "ann")
    chat.save(tmp_path / "ann")
    assert [path.name for path in (tmp_path / "ann").iterdir()] == [PERSONA_FILE]
    assert stat.S_IMODE((tmp_path / "ann" / PERSONA_FILE).stat().st_mode) == 0o600


def test_the_model_is_named_and_loaded_by_its_name(tiny_llama, tokenizer, tmp_path, chat):
    tiny_llama().save_pretrained(tmp_path / "model")
    tokenizer.save_pretrained(tmp_path / "model")
    chat.save(tmp_path / "ann")
    with pytest.raises(ValueError, match="names no model"):
        PersonaChat.load(tmp_path / "ann")
    named = PersonaChat.load(tmp_path / "ann", model=str(tmp_path / "model"))
    named.save(tmp_path / "ann")
    assert json.loads((tmp_path / "ann" / PERSONA_FILE).read_text())["model"] == str(tmp_path / "model")
    again = PersonaChat.load(tmp_path / "ann")
    assert again.name == str(tmp_path / "model")
    assert again.reply("hi", do_sample=False) == named.reply("hi", do_sample=False)


def test_a_folder_without_a_persona_is_named(tmp_path, chat):
    with pytest.raises(FileNotFoundError, match="expected a file persona"):
        PersonaChat.load(tmp_path, like=chat)


@pytest.fixture
def values(chat, tmp_path):
    chat.reply("hi")
    chat.save(tmp_path / "sound")
    return json.loads((tmp_path / "sound" / PERSONA_FILE).read_text())


WRONG = {
    "version": [0, None, "1"], "person_id": ["", 3, None], "model": [3, ""], 
    "options": [[], {"trust": 1}, {"seed": "x"}],
    "max_prompt_tokens": [0, "9", 1.5, True], "partner_id": [None, 3], "choose_every": [0, "2"],
    "generation": [[], {"temperature": "hot"}, {"temperature": -1}, {"code": 1}, {"top_p": float("nan")},
                   {"max_new_tokens": True}, {"seed": 10**400}],
    "dialogues": [{}, [3], [{}], [{"person_id": "a", "dialogue_id": "one", "turns": []}], "x"],
    "conversation": [{}, [3], [{"said": "hi"}], "x"], "more": [1],
}  # fmt: skip


@pytest.mark.parametrize(
    ("name", "value"), [(name, value) for name, found in WRONG.items() for value in found], ids=str
)
def test_what_is_wrong_is_said_with_the_file(name, value, values, tmp_path, chat):
    (tmp_path / PERSONA_FILE).write_text(json.dumps(values | {name: value}))
    with pytest.raises(ValueError, match=PERSONA_FILE):
        PersonaChat.load(tmp_path, like=chat)


@pytest.mark.parametrize(
    "change", [{"reference_ids": ["nobody"]}, {"dropped": 9}, {"said": " "}, {"reply": None}, {"x": 1}], ids=str
)
def test_what_is_wrong_in_the_conversation_is_said(change, values, tmp_path, chat):
    values["conversation"][0] |= change
    (tmp_path / PERSONA_FILE).write_text(json.dumps(values))
    with pytest.raises(ValueError, match="no saved persona"):
        PersonaChat.load(tmp_path, like=chat)


def test_dialogues_of_one_id_are_refused(values, tmp_path, chat):
    values["dialogues"][1]["dialogue_id"] = "one"
    (tmp_path / PERSONA_FILE).write_text(json.dumps(values))
    with pytest.raises(ValueError, match="same dialogue_id"):
        PersonaChat.load(tmp_path, like=chat)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_whatever_a_file_holds_it_is_a_persona_or_a_sentence(data, values, tmp_path):
    if data.draw(st.booleans()):
        changed = data.draw(st.dictionaries(st.sampled_from(sorted(values)), json_values, min_size=1, max_size=2))
        content = json.dumps(values | changed).encode()
    else:
        content = data.draw(st.binary(max_size=60) | st.just(b"[" * 100_000))
    (tmp_path / PERSONA_FILE).write_bytes(content)
    try:
        persona = read_persona(tmp_path)
    except ValueError as refused:
        error = str(refused)
    else:
        error = str(tmp_path)
        assert all(exchange.dropped <= len(exchange.references) for exchange in persona.conversation)
    assert str(tmp_path) in error
