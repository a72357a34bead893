"""A packed row is its three rows: log-probs and gradients, in float64, on every architecture it claims."""

import doctest

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from idl_hf.dpoc.collator import DataCollatorForCriterion
from idl_hf.dpoc.scores import completion_labels, completion_logits, real_tokens, token_log_probs
from idl_hf.packing import attention as prefix_sharing
from idl_hf.packing.attention import ATTENTION, HIDDEN, DataCollatorForPrefixSharing, block_distances, obstacle
from tests.dpoc.models import NOT_SHARING, SHARING, tiny, token_rows


def test_worked_example():
    failed, tried = doctest.testmod(prefix_sharing)
    assert tried >= 7
    assert failed == 0


def completion_logps(model, batch):
    labels = completion_labels(batch)
    return token_log_probs(completion_logits(model, batch, labels)[0], labels).sum(dim=1)


def gradients(model, batch):
    model.zero_grad()
    logps = completion_logps(model, batch)
    (logps * torch.arange(1, len(logps) + 1)).sum().backward()
    return [parameter.grad for parameter in model.parameters() if parameter.grad is not None]


@pytest.fixture(params=["tiles", "kernel"])
def attention(request, monkeypatch):
    """Both ways to attend in a packed row, whatever the precision."""
    monkeypatch.setattr(prefix_sharing, "_takes_tiles", lambda query: request.param == "tiles")


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


def test_distances_are_those_of_the_row_a_token_comes_from():
    batch = DataCollatorForPrefixSharing(0)(token_rows())
    segments, positions = batch["segment_ids"], batch["position_ids"]
    length = batch["completion_labels"].shape[1]
    distances = block_distances(segments, positions, length)[:, 0]
    for row in (0, 1, 3):
        for query in range(length):
            index = segments.shape[1] - length + query
            if segments[row, index] < 0:
                continue
            seen = (distances[row, query] != HIDDEN).nonzero()[:, 0].tolist()
            own = [
                key
                for key in range(segments.shape[1])
                if segments[row, key] in (0, segments[row, index]) and key <= index
            ]
            assert seen == own
            # Each position before it once: what a row of its own would hold
            assert sorted(distances[row, query, seen].tolist()) == list(range(len(own)))


def test_padding_is_counted_in_both_layouts():
    rows = token_rows()
    total = sum(len(ids) for row in rows for name, ids in row.items() if name != "prompt_ids")
    prompts = sum(len(row["prompt_ids"]) for row in rows)
    assert real_tokens(DataCollatorForCriterion(0)(rows)).sum() == total + 3 * prompts
    assert real_tokens(DataCollatorForPrefixSharing(0)(rows)).sum() == total + prompts - len(rows)


@pytest.mark.parametrize("name", NOT_SHARING)
def test_models_that_cannot_share_say_why(name):
    assert NOT_SHARING[name][1] in obstacle(tiny(name))


def test_layers_with_a_state_cannot_share():
    from transformers import Lfm2Config, Lfm2ForCausalLM

    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 1}
    model = Lfm2ForCausalLM(Lfm2Config(vocab_size=20, layer_types=["conv", "full_attention"], **sizes))
    assert "conv" in obstacle(model)


def test_an_attention_that_needs_more_is_refused_rather_than_approximated():
    model = tiny("Llama")
    model.set_attn_implementation(ATTENTION)
    batch = DataCollatorForPrefixSharing(0)(token_rows())
    with pytest.raises(ValueError, match="softcap"):
        model(
            input_ids=batch["input_ids"],
            position_ids=batch["position_ids"],
            attention_mask=block_distances(batch["segment_ids"], batch["position_ids"], 3),
            softcap=30.0,
        )


@pytest.mark.parametrize("name", ["Llama", "Gemma3", "Mistral"])
def test_other_forwards_are_untouched(name):
    """Left-padded generation and full-row logits of a model that was set up for packed rows."""
    model = tiny(name)
    ids = torch.randint(3, 97, (2, 11), generator=torch.Generator().manual_seed(3))
    mask = torch.ones_like(ids)
    mask[0, :4] = 0
    options = {"attention_mask": mask, "max_new_tokens": 8, "do_sample": False}
    expected, logits = model.generate(ids, **options), model(ids, attention_mask=mask).logits
    model.set_attn_implementation(ATTENTION)
    assert torch.equal(model.generate(ids, **options), expected)
    torch.testing.assert_close(model(ids, attention_mask=mask).logits, logits)
