"""Batches as the docstrings work them out, cut, filled up and counted."""

import doctest

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from idl_hf.dpoc import collator
from idl_hf.dpoc.collator import DataCollatorForCriterion, DataCollatorForTrees
from idl_hf.dpoc.scores import completion_labels, predict, real_tokens, token_log_probs
from idl_hf.dpoc.trees import plant
from idl_hf.packing.attention import ATTENTION
from tests.dpoc.models import tiny, token_rows


def test_worked_example():
    failed, tried = doctest.testmod(collator)
    assert tried >= 12
    assert failed == 0


def test_reference_columns_and_cutting():
    row = {"prompt_ids": [1, 2], "chosen_ids": [3, 4], "criterion_ids": [5], "rejected_ids": [6]}
    row |= {f"ref_{name}_logps": value for name, value in zip(collator.COMPLETIONS, (-1.0, -2.0, -3.0), strict=True)}
    batch = DataCollatorForCriterion(pad_token_id=0, max_length=3, pad_to_multiple_of=4)([row])
    assert batch["input_ids"].tolist() == [[1, 2, 3, 0], [1, 2, 5, 0], [1, 2, 6, 0]]
    assert batch["ref_criterion_logps"].tolist() == [-2.0]
    trees = [plant([row, row], max_length=3) | {"ref_criterion_logps": [-2.0, -4.0]}, plant([row])]
    trees[1]["ref_criterion_logps"] = [-6.0]
    assert DataCollatorForTrees(pad_token_id=0)(trees)["ref_criterion_logps"].tolist() == [-2.0, -4.0, -6.0]


def completion_logps(model, batch):
    return token_log_probs(predict(model, batch)).sum(dim=1)


LENGTHS = st.lists(
    st.tuples(st.integers(0, 12), st.integers(0, 4), st.integers(0, 4), st.integers(0, 4)), min_size=1, max_size=5
)


@settings(max_examples=60, deadline=None)
@given(LENGTHS, st.integers(1, 5), st.integers(1, 14) | st.none(), st.integers(2, 8) | st.none(), st.integers(0, 1))
def test_any_lengths_and_groups_give_the_tokens_and_log_probs_of_rows(lengths, size, max_length, multiple, few):
    """few: tokens of a vocabulary of two, so that most texts begin alike."""
    rows = token_rows(tuple(lengths), highest=5 if few else 97)
    groups = [rows[i : i + size] for i in range(0, len(rows), size)]
    trees = DataCollatorForTrees(0, max_length, multiple)([plant(group, max_length) for group in groups])
    plain = DataCollatorForCriterion(0, max_length, multiple)(rows)
    if multiple:
        assert trees["input_ids"].shape[1] % multiple == plain["input_ids"].shape[1] % multiple == 0
    model = mistral()
    kept = [row[row >= 0].tolist() for row in completion_labels(trees)]
    if plain["completion_mask"][:, 1:].any():
        assert kept == [row[row >= 0].tolist() for row in completion_labels(plain)]
        model.set_attn_implementation("sdpa")
        expected = completion_logps(model, plain)
        model.set_attn_implementation(ATTENTION)
        torch.testing.assert_close(completion_logps(model, trees), expected, rtol=1e-11, atol=1e-11)
    else:
        assert not any(kept)
        model.set_attn_implementation(ATTENTION)
        assert completion_logps(model, trees).abs().max() == 0


_MODELS = {}


def mistral():
    if "mistral" not in _MODELS:
        _MODELS["mistral"] = tiny("Mistral").double()
    return _MODELS["mistral"]


def test_tokens_are_counted_in_both_layouts():
    rows = token_rows()
    total = sum(len(ids) for row in rows for name, ids in row.items() if name != "prompt_ids")
    prompts = sum(len(row["prompt_ids"]) for row in rows)
    assert real_tokens(DataCollatorForCriterion(0)(rows)).sum() == total + 3 * prompts
    # The last token of a completion is predicted and not read
    trees = DataCollatorForTrees(0, pad_to_multiple_of=16)([plant([row]) for row in rows])
    assert real_tokens(trees).sum() == total + prompts - 3 * len(rows)
    assert trees["input_ids"].shape[1] == 16 * -(-int(real_tokens(trees).sum()) // 16)
