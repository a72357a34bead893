"""A packed row is its three rows: tokens, log-probs and gradients, in float64, on every architecture it claims."""

import doctest

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from idl_hf.dpoc import collator
from idl_hf.dpoc.collator import DataCollatorForCriterion, DataCollatorForPrefixSharing
from idl_hf.dpoc.scores import completion_labels, completion_logits, real_tokens, token_log_probs
from idl_hf.packing import attention as packed
from idl_hf.packing.attention import ATTENTION
from tests.dpoc.models import SHARING, tiny, token_rows


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


def completion_logps(model, batch):
    labels = completion_labels(batch)
    return token_log_probs(completion_logits(model, batch, labels).logits, labels).sum(dim=1)


def gradients(model, batch):
    model.zero_grad()
    logps = completion_logps(model, batch)
    (logps * torch.arange(1, len(logps) + 1)).sum().backward()
    return [parameter.grad for parameter in model.parameters() if parameter.grad is not None]


@pytest.fixture(params=["tiles", "kernel"])
def attention(request, monkeypatch):
    """Both ways to attend in a packed row, whatever the precision."""
    monkeypatch.setattr(packed, "_takes_tiles", lambda query: request.param == "tiles")


@pytest.mark.usefixtures("attention")
@pytest.mark.parametrize("checkpointing", [None, True, False])
@pytest.mark.parametrize("name", SHARING)
def test_packed_rows_equal_rows_of_their_own(name, checkpointing):
    """`checkpointing`: none, reentrant, or not."""
    model, rows = tiny(name).double(), token_rows()
    expected = completion_logps(model, DataCollatorForCriterion(0)(rows))
    expected_gradients = gradients(model, DataCollatorForCriterion(0)(rows))
    model.set_attn_implementation(ATTENTION)
    if checkpointing is not None:
        model.gradient_checkpointing_enable({"use_reentrant": checkpointing})
        model.enable_input_require_grads()
        model.train()
    batch = DataCollatorForPrefixSharing(0)(rows)
    torch.testing.assert_close(completion_logps(model, batch), expected, rtol=1e-12, atol=1e-12)
    found = gradients(model, batch)
    assert len(found) == len(expected_gradients)
    # RMSNorm rounds to float32 in transformers, where gradients of three completions are summed before or after it
    accuracy = 1e-12 if name in ("GPT2", "GPTNeoX", "OPT") else 1e-6
    whole = torch.stack([other.norm() for other in expected_gradients]).norm()  # that of a key's bias is zero
    for one, other in zip(found, expected_gradients, strict=True):
        assert (one - other).norm() <= accuracy * other.norm() + 1e-13 * whole


LENGTHS = st.lists(
    st.tuples(st.integers(0, 12), st.integers(0, 4), st.integers(0, 4), st.integers(0, 4)), min_size=1, max_size=4
)


@pytest.mark.usefixtures("attention")
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(LENGTHS, st.integers(1, 14) | st.none(), st.integers(2, 8) | st.none())
def test_any_lengths_give_the_tokens_and_log_probs_of_rows(lengths, max_length, multiple):
    rows = token_rows(tuple(lengths))
    packed = DataCollatorForPrefixSharing(0, max_length, multiple)(rows)
    plain = DataCollatorForCriterion(0, max_length, multiple)(rows)
    if multiple:
        assert packed["input_ids"].shape[1] % multiple == plain["input_ids"].shape[1] % multiple == 0
    model = mistral()
    kept = [sorted(row[row >= 0].tolist()) for row in completion_labels(packed)]
    if plain["completion_mask"][:, 1:].any():
        assert kept == [sorted(row[row >= 0].tolist()) for row in completion_labels(plain)]
        model.set_attn_implementation("sdpa")
        expected = completion_logps(model, plain)
        model.set_attn_implementation(ATTENTION)
        torch.testing.assert_close(completion_logps(model, packed), expected, rtol=1e-11, atol=1e-11)
    else:
        assert not any(kept)


_MODELS = {}


def mistral():
    if "mistral" not in _MODELS:
        _MODELS["mistral"] = tiny("Mistral").double()
    return _MODELS["mistral"]


def test_padding_is_counted_in_both_layouts():
    rows = token_rows()
    total = sum(len(ids) for row in rows for name, ids in row.items() if name != "prompt_ids")
    prompts = sum(len(row["prompt_ids"]) for row in rows)
    assert real_tokens(DataCollatorForCriterion(0)(rows)).sum() == total + 3 * prompts
    assert real_tokens(DataCollatorForPrefixSharing(0)(rows)).sum() == total + prompts - len(rows)
