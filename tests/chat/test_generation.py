"""How replies are written: greedily unless somebody says otherwise; settings that are checked and the same again."""

import json

import pytest
import torch
from transformers import GenerationConfig, RepetitionPenaltyLogitsProcessor

from idl_hf import PersonaChat
from idl_hf.corpora.jsonl import read_dialogues
from idl_hf.models.drawing import Drawer
from idl_hf.models.generation import SAMPLED, GenerationSettings, parsed_setting, settings_of
from idl_hf.models.replies import ReplyPenalty
from idl_hf.rows.options import RowOptions

OPTIONS = RowOptions(encoder="offline")


@pytest.fixture
def chat(tiny_llama, tokenizer, encoder):
    chat = PersonaChat(tiny_llama(), tokenizer, encoder, OPTIONS)
    chat.add_dialogue([("partner", "any plans ?"), ("self", "band practice .")])
    return chat


def replies(chat, count=3, **options):
    found = []
    for _ in range(count):
        chat.reset()
        found.append(chat.reply("hello", max_new_tokens=8, **options))
    return found


def test_replies_are_greedy_unless_somebody_says_otherwise(chat):
    greedy = replies(chat)
    assert len(set(greedy)) == 1
    assert len(set(replies(chat, do_sample=True))) > 1
    chat.generation = GenerationSettings(temperature=5.0)
    assert len(set(replies(chat))) > 1
    assert replies(chat, do_sample=False) == greedy
    assert replies(chat, generation_config=GenerationConfig(do_sample=False)) == greedy


def test_with_a_seed_a_conversation_is_the_same_again_and_each_reply_is_drawn_anew(chat):
    chat.generation = GenerationSettings(temperature=5.0, seed=1, max_new_tokens=8)
    first = [chat.reply("hello"), chat.reply("and ?")]
    chat.reset()
    assert [chat.reply("hello"), chat.reply("and ?")] == first
    again = "".join(chat.retry()).strip()
    assert again != first[1]
    assert [turn.text for turn in chat.turns] == ["hello", first[0], "and ?", again]


def test_a_retry_that_is_broken_off_leaves_the_reply_that_was_there(chat):
    chat.reply("hello", max_new_tokens=4)
    before = chat.turns
    next(iter(chat.retry(max_new_tokens=20)))
    assert chat.turns == before


def test_the_last_exchange_is_taken_back(chat):
    chat.reply("hello", max_new_tokens=4)
    chat.reply("and ?", max_new_tokens=4)
    assert chat.undo() == "and ?"
    assert [turn.text for turn in chat.turns[:1]] == ["hello"]
    assert chat.undo() == "hello"
    assert chat.turns == chat.references == []
    with pytest.raises(ValueError, match="no reply yet"):
        chat.undo()


def test_an_adapters_saved_settings_are_followed_and_a_models_are_not(tiny_llama, tokenizer, tmp_path):
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    tiny_llama().save_pretrained(tmp_path / "base")
    tokenizer.save_pretrained(tmp_path / "base")
    model = get_peft_model(AutoModelForCausalLM.from_pretrained(tmp_path / "base"), LoraConfig(task_type="CAUSAL_LM"))
    model.save_pretrained(tmp_path / "adapter")
    config = {"do_sample": True, "temperature": 0.6, "top_p": 0.9, "eos_token_id": [1, 2], "max_new_tokens": None}
    for folder in ("base", "adapter"):
        (tmp_path / folder / "generation_config.json").write_text(json.dumps(config))
    adapter = PersonaChat.from_pretrained(str(tmp_path / "adapter"), encoder="offline")
    assert adapter.generation == GenerationSettings(temperature=0.6, top_p=0.9)
    base = PersonaChat.from_pretrained(str(tmp_path / "base"), encoder="offline")
    assert base.generation == GenerationSettings()
    (tmp_path / "adapter" / "generation_config.json").write_text('{"do_sample": true, "temperature": "hot"}')
    with pytest.raises(ValueError, match="temperature must be a number"):
        PersonaChat.from_pretrained(str(tmp_path / "adapter"), encoder="offline")


def test_what_does_not_sample_is_greedy_whatever_temperature_it_names():
    assert settings_of({"temperature": 0.6, "repetition_penalty": 1.2}, "it").sampling_options() == {}
    assert settings_of({"do_sample": True}, "it").temperature == 1.0


def test_the_penalty_is_of_the_replys_own_tokens():
    scores, prompt, penalty = torch.ones(1, 10), torch.tensor([[1, 2, 3]]), ReplyPenalty(2.0)
    assert torch.equal(penalty(prompt, scores), scores)
    found = penalty(torch.tensor([[1, 2, 3, 4]]), scores.clone())
    assert found[0].tolist() == [1, 1, 1, 1, 0.5, 1, 1, 1, 1, 1]
    everywhere = RepetitionPenaltyLogitsProcessor(2.0)(torch.tensor([[1, 2, 3, 4]]), scores.clone())
    assert everywhere[0, 1] == 0.5


def test_the_penalty_is_of_what_was_said_in_the_conversation_too(chat):
    scores, prompt = torch.ones(2, 10), torch.tensor([[1, 2, 3], [1, 2, 3]])
    penalty = ReplyPenalty(2.0, [7, 8])
    assert penalty(prompt, scores.clone())[1].tolist() == [1, 1, 1, 1, 1, 1, 1, 0.5, 0.5, 1]
    chat.generation = GenerationSettings(max_new_tokens=6)
    plain = [chat.reply("hello"), chat.reply("hello"), chat.reply("hello")]
    chat.reset()
    chat.generation = GenerationSettings(max_new_tokens=6, repetition_penalty=100.0)
    penalised = [chat.reply("hello"), chat.reply("hello"), chat.reply("hello")]
    assert len(set(penalised)) == 3 > len(set(plain))


def test_a_repetition_penalty_ends_a_greedy_loop(chat):
    looping = chat.reply("hello", max_new_tokens=40)
    chat.reset()
    chat.generation = GenerationSettings(repetition_penalty=100.0)
    words = chat._model.tokenizer(chat.reply("hello", max_new_tokens=40))["input_ids"]
    assert len(set(words)) > len(set(chat._model.tokenizer(looping)["input_ids"]))


@pytest.mark.parametrize(
    ("name", "value"),
    [("temperature", -1), ("temperature", float("nan")), ("top_p", 0), ("top_p", 2), ("min_p", 1.5), ("top_k", 1.5),
     ("repetition_penalty", 0), ("seed", -1), ("seed", 2**32), ("max_new_tokens", 0), ("max_new_tokens", "9"),
     ("temperature", True), ("temperature", 10**400)],
)  # fmt: skip
def test_a_value_that_is_none_is_named(name, value):
    with pytest.raises(ValueError, match=name):
        GenerationSettings(**{name: value})


@pytest.mark.parametrize("temperature", [1e-4, 9e-5, 1e-40, 5e-324])
def test_the_coldest_replies_are_greedy_ones(chat, temperature):
    greedy = replies(chat, 1)
    chat.generation = GenerationSettings(temperature=temperature)
    assert replies(chat, 1) == greedy
    logits = torch.tensor([1.0, -2e4, 3e4, 0.0])
    assert Drawer(chat.generation)([], logits) == 2
    assert (chat.generation.temperature == 0) == (temperature < 1e-4)


def test_what_is_typed_is_read():
    assert parsed_setting("temperature", "0.5") == 0.5
    assert (parsed_setting("seed", "7"), parsed_setting("seed", "none")) == (7, None)
    for name, text in (("top_k", "many"), ("temperature", "none"), ("seed", "1.5")):
        with pytest.raises(ValueError, match=f"{name} must be"):
            parsed_setting(name, text)


@pytest.mark.slow
def test_what_a_newcomer_sees_first_is_no_loop(sample_data):
    """The offline model with the terminal's settings: hardly four words in a row are said twice in seven replies."""
    chat = PersonaChat.from_pretrained("offline", encoder="offline", max_prompt_tokens=1024)
    chat.generation = SAMPLED
    for dialogue in read_dialogues(sample_data / "train.jsonl"):
        if dialogue.person_id == "ruth":
            chat.add_dialogue(dialogue.turns)
    torch.manual_seed(0)
    asked = ["hi !", "how was your day ?", "tell me more", "really ?", "what else ?", "and then ?", "any pets ?"]
    words = [chat.reply(text).split() for text in asked]
    fours = [tuple(line[i : i + 4]) for line in words for i in range(len(line) - 3)]
    assert len(fours) > 40
    assert len(set(fours)) > 0.9 * len(fours), words
