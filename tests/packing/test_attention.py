"""Texts that share a beginning run as in rows of their own; a model that cannot do that says why."""

import doctest

import pytest
import torch

from idl_hf.packing import attention as module
from idl_hf.packing.attention import ATTENTION, HIDDEN, PADDING, block_distances, obstacle
from tests.dpoc.models import NOT_SHARING, SHARING, tiny

BEGINNING, ENDINGS = list(range(3, 14)), [[20, 21, 22, 23], [30], [], [40, 41]]


def test_worked_example():
    failed, tried = doctest.testmod(module)
    assert tried >= 1
    assert failed == 0


def packed_row():
    """Tokens, positions and segments of the texts above, of shape (1, S), and how many tokens follow the beginning."""
    length = len(BEGINNING)
    tokens, positions, segments = [*BEGINNING], list(range(length)), [0] * length
    for segment, ending in enumerate(ENDINGS, start=1):
        tokens += [*ending, 0]  # padding behind each
        positions += [*range(length, length + len(ending)), 0]
        segments += [segment] * len(ending) + [PADDING]
    return *(torch.tensor([values]) for values in (tokens, positions, segments)), len(tokens) - length


@pytest.mark.parametrize("tiles", [True, False])
@pytest.mark.parametrize("name", SHARING)
def test_each_text_gets_the_logits_of_a_row_of_its_own(name, tiles, monkeypatch):
    monkeypatch.setattr(module, "_takes_tiles", lambda query: tiles)
    model, (tokens, positions, segments, following) = tiny(name).double(), packed_row()
    expected = [model(torch.tensor([BEGINNING + ending])).logits[0] for ending in ENDINGS]
    model.set_attn_implementation(ATTENTION)
    distances = block_distances(segments, positions, following)
    logits = model(input_ids=tokens, position_ids=positions, attention_mask=distances, use_cache=False).logits[0]
    for segment, own in enumerate(expected, start=1):
        torch.testing.assert_close(logits[(segments[0] == 0) | (segments[0] == segment)], own, rtol=1e-12, atol=1e-12)


def test_distances_are_those_of_the_row_a_token_comes_from():
    _, positions, segments, following = packed_row()
    distances = block_distances(segments, positions, following)[0, 0]
    for query, index in enumerate(range(segments.shape[1] - following, segments.shape[1])):
        seen = (distances[query] != HIDDEN).nonzero()[:, 0].tolist()
        if segments[0, index] == PADDING:
            assert index in seen, "without a key it would be NaN"
            continue
        assert seen == [key for key in range(index + 1) if segments[0, key] in (0, segments[0, index])]
        # Each position before it once: what a row of its own would hold
        assert sorted(distances[query, seen].tolist()) == list(range(len(seen)))


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
    tokens, positions, segments, following = packed_row()
    distances = block_distances(segments, positions, following)
    with pytest.raises(ValueError, match="softcap"):
        model(input_ids=tokens, position_ids=positions, attention_mask=distances, softcap=30.0)


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
