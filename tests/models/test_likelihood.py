"""Likelihoods against a slow float64 reference, and what persona gain must be."""

import json
import math

import pytest
import torch
from datasets import load_dataset

import idl_hf  # noqa: F401
from idl_hf.evaluation.arguments import EvaluateArguments
from idl_hf.evaluation.run import evaluate
from idl_hf.models.likelihood import SummedNLL, per_token, reply_logprobs


@pytest.fixture(scope="module")
def row(sample_data):
    rows = load_dataset(
        "idl_hf/dialogues_idl", "msl", data_dir=str(sample_data), split="validation", encoder="offline",
        targets="all", reply="all",
    )  # fmt: skip
    return rows[0]


def test_reply_logprobs_equal_a_float64_forward_of_everything(row, tiny_llama, tokenizer):
    model = tiny_llama()
    found = reply_logprobs(model, tokenizer, row["prompt"], row["completion"])
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


def test_a_model_that_ignores_everything_has_no_gain(sample_data, tiny_llama, tokenizer, tmp_path):
    model = tiny_llama(tie_word_embeddings=False)
    torch.nn.init.zeros_(model.lm_head.weight)
    model.save_pretrained(tmp_path / "uniform")
    tokenizer.save_pretrained(tmp_path / "uniform")
    folder = evaluate(
        EvaluateArguments(
            models=[str(tmp_path / "uniform")],
            dataset_name="idl_hf/dialogues_idl",
            data_dir=str(sample_data),
            dialogues_per_person=1,
            encoder="offline",
            output_dir=str(tmp_path / "report"),
        )
    )
    (table,) = json.loads((folder / "report.json").read_text())["tables"]
    (line,) = table["lines"]
    assert list(line["values"]) == ["nll", "nll_other", "gain", "id_hits", "id_log_loss", "nll_none", "nll_profile"]
    assert {len(values) for values in line["values"].values()} == {4}
    for key in ("nll", "nll_other", "nll_none", "nll_profile"):
        assert list(line["values"][key].values()) == pytest.approx([math.log(len(tokenizer))] * 4, rel=1e-5)
    assert list(line["values"]["gain"].values()) == pytest.approx([0] * 4, abs=1e-6)
    assert list(line["values"]["id_log_loss"].values()) == pytest.approx([math.log(4)] * 4, abs=1e-4)


def test_long_rows_weigh_more_than_short_ones():
    assert per_token(["a", "b", "a"], [SummedNLL(3, 1), SummedNLL(1, 2), SummedNLL(1, 3)]) == {"a": 1.0, "b": 0.5}
