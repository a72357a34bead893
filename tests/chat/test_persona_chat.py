"""PersonaChat: the prompt is the one of training, and the kept keys and values change nothing but the cost."""

import pytest

from idl_hf import PersonaChat, prompting
from idl_hf.corpora.jsonl import read_dialogues
from idl_hf.models.identity import save_recipe
from idl_hf.models.replies import generate_reply
from idl_hf.rows.options import RowOptions
from idl_hf.schema import Turn

OPTIONS = RowOptions(encoder="offline")


@pytest.fixture
def dialogues(sample_data):
    return [d for d in read_dialogues(sample_data / "validation.jsonl") if d.person_id == "leroy"]


@pytest.fixture
def chat(tiny_llama, tokenizer, encoder, dialogues):
    chat = PersonaChat(tiny_llama(), tokenizer, encoder, OPTIONS)
    for dialogue in dialogues:
        chat.add_dialogue(dialogue.turns)
    return chat


def test_replies_are_those_of_generating_without_a_cache(chat, tiny_llama, tokenizer):
    turns = []
    for said in ("hi , do you have pets ?", "what do you do for a living ?", "nice !"):
        reply = chat.reply(said, max_new_tokens=12)
        turns.append(Turn("partner", said))
        prompt = prompting.render([reference.turns for reference in chat.references], turns)
        assert reply == generate_reply(tiny_llama(), tokenizer, prompt.messages, max_new_tokens=12)
        turns.append(Turn("self", reply))


def test_a_later_turn_costs_only_its_own_tokens(chat):
    chat.reply("hi , do you have pets ?", max_new_tokens=8)
    assert chat.new_tokens == chat.prompt_tokens > 500
    chat.reply("and what are their names ?", max_new_tokens=8)
    assert chat.new_tokens < 50 < chat.prompt_tokens


def test_streamed_pieces_are_the_reply(chat):
    pieces = list(chat.stream("hello there", max_new_tokens=12))
    chat.reset()
    assert "".join(pieces).strip() == chat.reply("hello there", max_new_tokens=12)


def test_references_are_chosen_once_and_kept(chat):
    assert chat.references == []
    chat.reply("do you play in a band ?", max_new_tokens=4)
    first = chat.references
    chat.reply("my dog is asleep .", max_new_tokens=4)
    assert chat.references == first != []


def test_a_new_dialogue_starts_anew(chat):
    chat.reply("hello", max_new_tokens=4)
    chat.add_dialogue([("partner", "any plans ?"), ("self", "band practice .")])
    assert chat.references == []


def test_all_ways_to_give_a_dialogue_are_one(tiny_llama, tokenizer, encoder):
    given = [
        [Turn("partner", "any plans ?"), Turn("self", "band practice .")],
        [("partner", "any plans ?"), ("self", "band practice .")],
        [{"role": "user", "content": "any plans ?"}, {"role": "assistant", "content": "band practice ."}],
    ]
    replies = set()
    for dialogue in given:
        chat = PersonaChat(tiny_llama(), tokenizer, encoder, OPTIONS)
        chat.add_dialogue(dialogue)
        replies.add(chat.reply("hello", max_new_tokens=8))
    assert len(replies) == 1


def test_a_stranger_can_chat_too(tiny_llama, tokenizer, encoder):
    chat = PersonaChat(tiny_llama(), tokenizer, encoder, OPTIONS)
    assert isinstance(chat.reply("hello", max_new_tokens=4), str)
    assert chat.references == []


def test_an_error_while_generating_reaches_the_caller_and_the_chat_goes_on(chat):
    with pytest.raises(ValueError, match="max_new_tokens"):
        chat.reply("hello", max_new_tokens=-1)
    assert isinstance(chat.reply("hello", max_new_tokens=4), str)


def test_a_stream_that_is_broken_off_leaves_a_sound_chat(chat, tiny_llama, tokenizer):
    for _ in chat.stream("do you have pets ?", max_new_tokens=40):
        break
    after = chat.reply("hello", max_new_tokens=8)
    chat.reset()
    assert after == chat.reply("hello", max_new_tokens=8)


def test_a_model_with_a_sliding_window_chats_too(tokenizer, encoder, dialogues):
    import torch
    from transformers import Gemma3ForCausalLM, Gemma3TextConfig

    torch.manual_seed(0)
    config = Gemma3TextConfig(
        vocab_size=len(tokenizer), hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=1, head_dim=16, sliding_window=64, eos_token_id=2, bos_token_id=1, pad_token_id=2,
    )  # fmt: skip
    model = Gemma3ForCausalLM(config).eval()
    chat = PersonaChat(model, tokenizer, encoder, OPTIONS)
    chat.add_dialogue(dialogues[0].turns)
    turns = []
    for said in ("hi , do you have pets ?", "what do you do for a living ?"):
        reply = chat.reply(said, max_new_tokens=6)
        turns.append(Turn("partner", said))
        prompt = prompting.render([dialogues[0].turns], turns)
        assert reply == generate_reply(model, tokenizer, prompt.messages, max_new_tokens=6)
        turns.append(Turn("self", reply))


@pytest.mark.parametrize("said", ["", "  \n"])
def test_an_empty_message_is_refused(chat, said):
    with pytest.raises(ValueError, match="empty"):
        chat.reply(said)


def test_a_long_past_is_shortened_by_whole_dialogues(tiny_llama, tokenizer, encoder, dialogues):
    chat = PersonaChat(tiny_llama(), tokenizer, encoder, OPTIONS, max_prompt_tokens=450)
    for dialogue in dialogues:
        chat.add_dialogue(dialogue.turns)
    chat.reply("hello", max_new_tokens=4)
    assert 100 < chat.prompt_tokens <= 450


def test_an_adapter_is_loaded_with_its_base_model_and_the_options_it_was_trained_with(
    tiny_llama, tokenizer, tmp_path, dialogues
):
    from peft import LoraConfig, get_peft_model

    tiny_llama().save_pretrained(tmp_path / "base")
    tokenizer.save_pretrained(tmp_path / "base")
    from transformers import AutoModelForCausalLM

    model = get_peft_model(AutoModelForCausalLM.from_pretrained(tmp_path / "base"), LoraConfig(task_type="CAUSAL_LM"))
    model.save_pretrained(tmp_path / "adapter")
    save_recipe(tmp_path / "adapter", {"encoder": "offline", "references": 2, "reply": "each"}, 300)
    chat = PersonaChat.from_pretrained(str(tmp_path / "adapter"))
    for dialogue in dialogues:
        chat.add_dialogue(dialogue.turns)
    assert isinstance(chat.reply("hello", max_new_tokens=4), str)
    assert len(chat.references) == 2
    assert chat.prompt_tokens <= 300
    other = PersonaChat.from_pretrained(str(tmp_path / "adapter"), references=1, max_prompt_tokens=999)
    assert (other._options.references, other._max_prompt_tokens) == (1, 999)


def test_a_model_that_is_nowhere_names_the_offline_option():
    with pytest.raises(OSError, match="offline"):
        PersonaChat.from_pretrained("nobody/nothing", encoder="offline")


def test_an_id_is_given_or_made_and_stands_for_one_dialogue(tiny_llama, tokenizer, encoder):
    chat = PersonaChat(tiny_llama(), tokenizer, encoder, OPTIONS)
    said = [("partner", "any plans ?"), ("self", "band practice .")]
    assert [chat.add_dialogue(said), chat.add_dialogue(said, " mine "), chat.add_dialogue(said, "dialogue-4")] == [
        "dialogue-1", "mine", "dialogue-4",
    ]  # fmt: skip
    assert chat.add_dialogue(said) == "dialogue-5"
    with pytest.raises(ValueError, match="'mine' already"):
        chat.add_dialogue(said, "mine")
    assert len(chat.dialogues) == 4


@pytest.mark.parametrize("order", ["free", "input"])
def test_references_prefer_the_same_partner_and_others_fill_up(order, tiny_llama, tokenizer, encoder, dialogues):
    options = RowOptions(encoder="offline", references=3, order=order)

    def references(partner_id, whose):
        chat = PersonaChat(tiny_llama(), tokenizer, encoder, options, partner_id=partner_id)
        for i, dialogue in enumerate(dialogues):
            chat.add_dialogue(dialogue.turns, f"d{i}", "bo" if i in whose else "cleo")
        chat.reply("do you play in a band ?", max_new_tokens=2)
        return [int(reference.dialogue_id[1:]) for reference in chat.references]

    usual = references("", ())
    assert references("nobody", ()) == usual
    far = next(i for i in range(len(dialogues)) if i not in usual)
    assert far in references("bo", {far})
    assert len(references("bo", {far})) == len(usual) == 3
    others = [i for i in range(len(dialogues)) if i != far]
    assert set(references("bo", others[:3])) == set(others[:3])


def test_choosing_again_reads_the_whole_conversation(chat, monkeypatch):
    contexts = []
    monkeypatch.setattr(chat, "_choose", lambda context: contexts.append(len(context)) or [])
    chat._choose_every = 2
    for _ in range(5):
        chat.reply("hm", max_new_tokens=1)
    assert contexts == [1, 5, 9]
    with pytest.raises(ValueError, match="choose_every"):
        PersonaChat(chat._model.model, chat._model.tokenizer, chat._encoder, OPTIONS, choose_every=0)
