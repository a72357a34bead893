"""Attention to the reference dialogues against a full eager forward and plain loops, and numbers worked by hand."""

import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from datasets import load_dataset
from peft import LoraConfig, get_peft_model

import idl_hf  # noqa: F401
from idl_hf import prompting
from idl_hf.evaluation.attention import (
    PersonaAttention,
    SessionLine,
    TokenAttention,
    attention_on_sessions,
    persona_attention,
    persona_keywords,
    weigh_keywords,
)
from idl_hf.evaluation.data import DialogueKey
from idl_hf.evaluation.scores import Scored, score_line
from idl_hf.schema import Turn
from tests.dpoc.models import tiny

GOATS = [
    Turn("partner", "any pets?"),
    Turn("self", "three goats, Zdzisława and two kids 🐐!"),
    Turn("partner", "cute!"),
]
SEA = [
    Turn("self", "  the sea was rough today. \nvery rough."),
    Turn("partner", "user"),
    Turn("self", "assistant system"),
]
OPENED = [Turn("partner", "hello"), Turn("self", "i feed my goats’ kids at dawn")]
CONTEXT = [Turn("partner", "what do you do?"), Turn("self", "i keep goats."), Turn("partner", "why?")]
REPLIES = [Turn("self", "for the cheese, of course."), Turn("partner", "oh."), Turn("self", "aye.")]


def make_row(references, replies=REPLIES, context=CONTEXT, profile=()):
    prompt = prompting.render(references, context, profile)
    return {
        "prompt": prompt.messages,
        "completion": prompting.render_replies(replies),
        "dialogue_starts": prompt.starts,
        "dialogue_id": "ruth-1",
    }


def make_model(name, tokenizer):
    longer = "n_positions" if name == "GPT2" else "max_position_embeddings"
    window = {"sliding_window": 80} if name == "Mistral" else {}
    model = tiny(name.removesuffix(" with LoRA"), vocab_size=len(tokenizer), **{longer: 1024}, **window)
    if name.endswith("LoRA"):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            model = get_peft_model(model, LoraConfig(target_modules="all-linear", init_lora_weights=False)).eval()
    return model


def lines_of(attention):
    return [(prefix, attention.text[begin:end]) for prefix, begin, end in attention.lines]


@pytest.mark.parametrize("replies", [REPLIES, REPLIES[:1]], ids=["all replies", "one reply"])
@pytest.mark.parametrize("name", ["Llama", "GPT2", "Mistral", "Llama with LoRA"])
def test_weights_equal_those_of_a_full_eager_forward(name, replies, tokenizer):
    model = make_model(name, tokenizer)
    row = make_row([GOATS, SEA, OPENED], replies)
    found = attention_on_sessions(model, tokenizer, row)
    assert model.config._attn_implementation == "sdpa"  # as before

    encoded = prompting.encode(tokenizer, row["prompt"], row["completion"])
    model.set_attn_implementation("eager")
    with torch.no_grad():
        layers = model(torch.tensor([encoded["input_ids"]]), output_attentions=True).attentions
    expected = []
    for position in positions_within(found, tokenizer):
        paid = [
            layer[0, head, reply - 1, position].item()
            for layer in layers
            for head in range(layer.shape[1])
            for reply, is_reply in enumerate(encoded["completion_mask"])
            if is_reply
        ]
        expected.append(sum(paid) / len(paid))
    np.testing.assert_allclose(found.weights, np.array(expected) / sum(expected), atol=1e-6)
    assert found.weights.max() > 2 / len(expected)  # far from uniform, where a shift by a token would not show


def positions_within(found, tokenizer):
    """Positions of the tokens that lie in one of the reference dialogues' lines, but for the space before a word."""
    encoding = tokenizer(found.text, add_special_tokens=False, return_offsets_mapping=True)
    lines = [range(begin, end) for _, begin, end in found.lines]
    return [
        position
        for position, (begin, end) in enumerate(encoding["offset_mapping"])
        if found.text[begin:end].strip()
        and any(
            end - 1 in line and (begin in line or (begin + 1 in line and found.text[begin] == " ")) for line in lines
        )
    ]


def test_only_what_was_said_in_the_reference_dialogues_counts(tiny_llama, tokenizer):
    found = attention_on_sessions(tiny_llama(), tokenizer, make_row([SEA, GOATS], profile=["i have goats."]))
    assert lines_of(found) == [
        ("Person: ", "the sea was rough today."),
        ("Person: ", "very rough."),
        ("Partner: ", "user"),
        ("Person: ", "assistant system"),
        ("Partner: ", "any pets?"),
        ("Person: ", "three goats, Zdzisława and two kids 🐐!"),
        ("Partner: ", "cute!"),
    ]
    shown = "".join(dict.fromkeys(found.text[begin:end] + " " for begin, end in found.offsets))
    for left_out in ("<|", "|>", "SILENCE", "persona", "hello", "cheese", "why", "\n"):
        assert left_out not in shown
    assert found.weights.sum() == pytest.approx(1)
    assert (found.weights > 0).all()


def test_a_reference_and_the_current_dialogue_in_one_message(tiny_llama, tokenizer):
    row = make_row([GOATS])  # the partner speaks last in it, and first in the current one
    assert "cute!\nwhat do you do?" in [message["content"] for message in row["prompt"]]
    assert lines_of(attention_on_sessions(tiny_llama(), tokenizer, row))[-1] == ("Partner: ", "cute!")


def test_the_first_token_is_a_sink_and_does_not_count(tiny_llama, tokenizer):
    bare = template(tokenizer, f"{{% for m in messages %}}{{{{ m.content }}}}{END}{{{{ '\n' }}}}{{% endfor %}}")
    found = attention_on_sessions(tiny_llama(), bare, make_row([OPENED]))
    assert found.text.startswith("hello\n")
    assert found.text[slice(*found.offsets[0])] != "hello"


END = "{% if m.role == 'assistant' %}{{ eos_token }}{% endif %}"


def template(tokenizer, text):
    other = type(tokenizer).from_pretrained(tokenizer.name_or_path)
    other.chat_template = text
    return other


def test_templates_may_strip_messages(tiny_llama, tokenizer):
    messages = f"{{% for m in messages %}}[{{{{ m.role }}}}] {{{{ m.content | trim }}}}{END}[end]{{% endfor %}}"
    stripping = template(tokenizer, messages + "{% if add_generation_prompt %}[assistant] {% endif %}")
    model, row = tiny_llama(), make_row([SEA, GOATS])
    expected = lines_of(attention_on_sessions(model, tokenizer, row))
    assert lines_of(attention_on_sessions(model, stripping, row)) == expected
    assert model.config._attn_implementation == "sdpa"  # also where the reply's last token is the very last


def test_templates_that_alter_messages_are_refused(tiny_llama, tokenizer):
    altering = template(tokenizer, "{% for m in messages %}{{ m.content[:9] }}{% endfor %}")
    with pytest.raises(ValueError, match="chat template alters messages"):
        attention_on_sessions(tiny_llama(), altering, make_row([SEA]))


@pytest.mark.parametrize("references", [[], [[]], [[Turn("partner", prompting.SILENCE)]]])
def test_a_prompt_without_references_is_refused(references, tiny_llama, tokenizer):
    with pytest.raises(ValueError, match="'ruth-1' has no reference dialogue"):
        attention_on_sessions(tiny_llama(), tokenizer, make_row(references, profile=["i have goats."]))


@pytest.mark.parametrize("profile", [[], ["i have goats."]], ids=["", "system"])
@pytest.mark.parametrize("dropped", [0, 1, 2, 3, 4])
def test_references_that_were_dropped_to_fit_are_no_longer_looked_for(dropped, profile, tiny_llama, tokenizer):
    references = [GOATS, SEA, OPENED, GOATS, [Turn("partner", "psst")]]  # the last two and the context share a message
    row = make_row(references, profile=profile)
    fitted = prompting.drop_references(row["prompt"], row["dialogue_starts"], dropped)
    found = attention_on_sessions(tiny_llama(), tokenizer, {**row, "prompt": fitted, "dropped_references": dropped})
    expected = attention_on_sessions(tiny_llama(), tokenizer, make_row(references[dropped:], profile=profile))
    assert lines_of(found) == lines_of(expected)
    np.testing.assert_array_equal(found.weights, expected.weights)


def test_a_model_that_looks_everywhere_alike_has_lift_one(tiny_llama, tokenizer):
    model = tiny_llama()
    for layer in model.model.layers:
        torch.nn.init.zeros_(layer.self_attn.q_proj.weight)
    attention = attention_on_sessions(model, tokenizer, make_row([GOATS, SEA]))
    np.testing.assert_allclose(attention.weights, 1 / len(attention.weights), rtol=1e-5)
    found = weigh_keywords(attention, {"goat", "sea", "zdzisława"})
    assert 0 < found.base_rate < 1
    assert found.lift == pytest.approx(1, rel=1e-5)


def test_numbers_worked_by_hand():
    text = "<u>my goats, aye!<p>naïve goat 🐐🐐"  # tokens: my| go|ats|,| aye|!  na|ï|ve| goat| 🐐(two)|🐐
    offsets = [(3, 5), (6, 8), (8, 11), (11, 12), (13, 16), (16, 17), (20, 22), (22, 23), (23, 25), (26, 30)]
    offsets += [(31, 32), (31, 32), (32, 33)]
    weights = np.array([1, 2, 3, 0, 4, 0, 1, 1, 2, 4, 1, 0, 1]) / 20
    attention = TokenAttention(
        text, [SessionLine("Partner: ", 3, 17), SessionLine("Person: ", 20, 33)], offsets, weights
    )
    found = weigh_keywords(attention, persona_keywords(["I have naïve goats", "i sail."]))
    assert found.mass == pytest.approx((2 + 3 + 1 + 1 + 2 + 4) / (13 + 4))  # "aye" is content, "my" and signs are not
    assert found.base_rate == pytest.approx(6 / 7)
    assert found.lift == pytest.approx(13 / 17 * 7 / 6)
    assert found.keywords_in_top == 2  # goat and naïve, once each
    assert [(span.text, span.weight, span.keyword) for span in found.spans] == [
        ("Partner: ", 0, False),
        ("my", 0, False),
        (" ", 0, False),
        ("goats", 1, True),
        (",", 0, False),
        (" ", 0, False),
        ("aye", 0.8, False),
        ("!", 0, False),
        ("\nPerson: ", 0, False),
        ("naïve", 0.8, True),
        (" ", 0, False),
        ("goat", 0.8, True),
        (" ", 0, False),
        ("🐐🐐", 0, False),
    ]


def test_keywords_below_the_hundred_heaviest_tokens_do_not_count():
    words = [*("w" for _ in range(99)), "goat", "cheese"]
    text = " ".join(words)
    offsets, begin = [], 0
    for word in words:
        offsets.append((begin, begin + len(word)))
        begin += len(word) + 1
    weights = np.arange(101, 0, -1) / np.arange(102).sum()
    attention = TokenAttention(text, [SessionLine("Person: ", 0, len(text))], offsets, weights)
    assert weigh_keywords(attention, {"goat", "cheese"}).keywords_in_top == 1
    backwards = TokenAttention(text, attention.lines, offsets, weights[::-1].copy())
    assert weigh_keywords(backwards, {"goat", "cheese"}).keywords_in_top == 2


def test_spans_show_the_reference_dialogues_as_they_are(sample_data, tiny_llama, tokenizer):
    options = {"data_dir": str(sample_data), "split": "validation", "encoder": "offline"}
    rows = load_dataset("idl_hf/dialogues_idl", "msl", **options)
    said = {row["dialogue_id"]: row for row in load_dataset("idl_hf/dialogues_idl", "sessions", **options)}
    for row in rows:
        found = persona_attention(tiny_llama(), tokenizer, row, said[row["dialogue_id"]]["profile"])
        turns = [turn for name in row["reference_ids"] for turn in said[name]["turns"]]
        expected = [{"self": "Person: ", "partner": "Partner: "}[turn["role"]] + turn["text"] for turn in turns]
        assert "".join(span.text for span in found.spans).split("\n") == expected
        assert max(span.weight for span in found.spans) == 1
        assert 0 < found.mass < 1
        assert 1 <= found.keywords_in_top <= 100


def test_keywords_are_content_words():
    profile = ["I'm in the third grade.", "i've 2 friends; I don't like my mom’s one-eyed cats!", "My boss’s bus."]
    assert persona_keywords(profile) == {"grade", "friend", "mom", "eyed", "cat", "boss", "bus"}
    assert persona_keywords([]) == set()


def test_scores_of_attention_are_the_mean_of_each_person():
    values = [(0.1, 1, 1), (0.3, 3, 4), (0, math.nan, 0)]
    found = [PersonaAttention(mass, 0.1, lift, top, []) for mass, lift, top in values]
    keys = ["mass", "lift", "keywords_in_top"]

    def scored(*people):
        attention = {DialogueKey(person, str(i)): found[i] for i, person in enumerate(people)}
        line = SimpleNamespace(attention=attention, attention_rows=3, shows_dialogues=True)
        return score_line(line, keys)

    assert scored("a", "a", "a")["lift"] == Scored({"a": 2}, 2)
    assert scored("a", "a", "a")["mass"].rows == 3
    assert {key: score.values for key, score in scored("a", "a", "b").items()} == {
        "mass": {"a": pytest.approx(0.2), "b": 0},
        "lift": {"a": 2},  # b's dialogues hold no keyword
        "keywords_in_top": {"a": 2.5, "b": 0},
    }


def test_without_keywords_there_is_no_lift():
    attention = TokenAttention("aye", [SessionLine("Person: ", 0, 3)], [(0, 3)], np.ones(1))
    found = weigh_keywords(attention, set())
    assert (found.mass, found.base_rate, found.keywords_in_top) == (0, 0, 0)
    assert math.isnan(found.lift)
