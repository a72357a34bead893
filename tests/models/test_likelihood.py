"""Likelihoods against a slow float64 reference, and what persona gain must be."""

import math

import pytest
import torch
from datasets import load_dataset

import idl_hf  # noqa: F401
from idl_hf.evaluation.report import EvaluationData, evaluate_model, markdown_table
from idl_hf.models import likelihood as nll


@pytest.fixture(scope="module")
def row(sample_data):
    rows = load_dataset(
        "idl_hf/dialogues_idl", "msl", data_dir=str(sample_data), split="validation", encoder="offline",
        targets="all", reply="all",
    )  # fmt: skip
    return rows[0]


def test_reply_logprobs_equal_a_float64_forward_of_everything(row, tiny_llama, tokenizer):
    model = tiny_llama()
    found = nll.reply_logprobs(model, tokenizer, row["prompt"], row["completion"])
    double = model.double()
    expected = []
    messages = [*row["prompt"], *row["completion"]]
    for i in range(len(row["prompt"]), len(messages), 2):  # each reply on its own
        head = tokenizer.apply_chat_template(
            messages[:i], tokenize=True, add_generation_prompt=True, return_dict=False
        )
        reply = tokenizer(messages[i]["content"], add_special_tokens=False)["input_ids"] + [tokenizer.eos_token_id]
        with torch.no_grad():
            logits = double(torch.tensor([head + reply])).logits[0, len(head) - 1 : -1]
        expected.append(logits.log_softmax(-1).gather(1, torch.tensor(reply)[:, None])[:, 0])
    torch.testing.assert_close(found.double(), torch.cat(expected), rtol=1e-5, atol=1e-5)


def test_a_model_that_ignores_everything_has_no_gain(sample_data, tiny_llama, tokenizer):
    model = tiny_llama(tie_word_embeddings=False)
    torch.nn.init.zeros_(model.lm_head.weight)
    data = EvaluationData(
        "idl_hf/dialogues_idl", str(sample_data), dialogues_per_person=1, options={"encoder": "offline"}
    )
    report = evaluate_model(model, tokenizer, data, "uniform")
    assert set(report.nll) == {"own", "other", "none", "profile"}
    for estimate in report.nll.values():
        assert estimate.mean == pytest.approx(math.log(len(tokenizer)), rel=1e-5)
    assert report.gain.mean == pytest.approx(0, abs=1e-6)
    assert report.gain.people == 4
    assert "uniform" in markdown_table([report])


def test_gain_and_its_interval():
    gain = nll.persona_gain({"a": 1.0, "b": 2.0, "c": 3.0}, {"a": 1.5, "b": 2.5, "c": 3.5})
    assert (gain.mean, gain.low, gain.high, gain.people) == (0.5, 0.5, 0.5, 3)
    spread = nll.persona_gain({"a": 0.0, "b": 0.0, "c": 0.0}, {"a": 0.0, "b": 0.5, "c": 1.0})
    assert spread.mean == pytest.approx(0.5)
    assert spread.low < 0.5 < spread.high


def test_one_person_has_no_interval():
    estimate = nll.mean_over_people({"a": 1.0})
    assert math.isnan(estimate.low)
    assert estimate.mean == 1.0


def test_other_people_cannot_be_compared():
    with pytest.raises(ValueError, match="same people"):
        nll.persona_gain({"a": 1.0}, {"b": 1.0})
