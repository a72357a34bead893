"""Texts in trees run as in rows of their own; a model that cannot do that says why."""

import doctest

import pytest
import torch

from idl_hf.packing import attention as module
from idl_hf.packing.attention import ATTENTION, HIDDEN, obstacle, tree_mask
from idl_hf.packing.tree import build_tree
from tests.dpoc.models import NOT_SHARING, SHARING, tiny

BEGINNING = list(range(3, 14))
ONE = [[*BEGINNING, *ending] for ending in ([20, 21, 22, 23], [30], [], [40, 41], [20, 21, 50])]
OTHER = [[7, 8, 9], [7, 8, 60, 61, 62, 63], [70]]


def test_worked_example():
    failed, tried = doctest.testmod(module)
    assert tried >= 2
    assert failed == 0


def run(model, trees, mask=None):
    """Return the logits of every slot of a row of trees."""
    ids = [token for tree in trees for token in tree.ids]
    positions = [position for tree in trees for position in tree.positions]
    mask = tree_mask(trees) if mask is None else mask
    inputs = {"input_ids": torch.tensor([ids]), "position_ids": torch.tensor([positions])}
    return model(**inputs, attention_mask=mask, use_cache=False).logits[0]


@pytest.mark.parametrize("tiles", [True, False])
@pytest.mark.parametrize("groups", [[ONE], [OTHER], [ONE, OTHER], [OTHER, [[5]], ONE]], ids=len)
@pytest.mark.parametrize("name", SHARING)
def test_each_text_gets_the_logits_of_a_row_of_its_own(name, groups, tiles, monkeypatch):
    monkeypatch.setattr(module, "_takes_tiles", lambda query: tiles)
    model, trees = tiny(name).double(), [build_tree(texts) for texts in groups]
    expected = [model(torch.tensor([text])).logits[0] for texts in groups for text in texts if text]
    model.set_attn_implementation(ATTENTION)
    logits, first, found = run(model, trees), 0, []
    for texts, tree in zip(groups, trees, strict=True):
        found += [logits[first:][slots] for text, slots in zip(texts, tree.slots, strict=True) if text]
        first += len(tree.ids)
    for own, other in zip(found, expected, strict=True):
        torch.testing.assert_close(own, other, rtol=1e-12, atol=1e-12)


def test_branches_that_see_each_other_give_other_logits():
    model, tree = tiny("Llama").double(), build_tree(ONE)
    model.set_attn_implementation(ATTENTION)
    mask = tree_mask([tree])
    tree.ends = [len(tree.ids)] * len(tree.ids)
    difference = (run(model, [tree], mask) - run(model, [tree])).abs().amax(dim=1)
    assert difference[: tree.trunk].max() == 0
    assert difference[-1] > 1e-2


def test_distances_are_those_of_the_text_a_token_comes_from():
    tree = build_tree(ONE)
    distances = tree_mask([tree])[0, 0, :-1]
    for slots in tree.slots:
        for i, slot in enumerate(slots):
            if slot >= tree.trunk:
                seen = (distances[slot - tree.trunk] != HIDDEN).nonzero()[:, 0].tolist()
                assert seen == slots[: i + 1]
                assert distances[slot - tree.trunk, seen].tolist() == [*range(i, -1, -1)]


@pytest.mark.parametrize("name", NOT_SHARING)
def test_models_that_cannot_share_say_why(name):
    assert NOT_SHARING[name][1] in obstacle(tiny(name))


def test_layers_with_a_state_cannot_share():
    from transformers import Lfm2Config, Lfm2ForCausalLM

    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 1}
    model = Lfm2ForCausalLM(Lfm2Config(vocab_size=20, layer_types=["conv", "full_attention"], **sizes))
    assert "conv" in obstacle(model)


def test_an_attention_that_needs_more_is_refused_rather_than_approximated():
    model, tree = tiny("Llama"), build_tree(ONE)
    model.set_attn_implementation(ATTENTION)
    ids, positions = torch.tensor([tree.ids]), torch.tensor([tree.positions])
    with pytest.raises(ValueError, match="softcap"):
        model(input_ids=ids, position_ids=positions, attention_mask=tree_mask([tree]), softcap=30.0)


@pytest.mark.parametrize("name", ["Llama", "Gemma3", "Mistral"])
def test_other_forwards_are_untouched(name):
    """Left-padded generation and full-row logits of a model that was set up for trees."""
    model = tiny(name)
    ids = torch.randint(3, 97, (2, 11), generator=torch.Generator().manual_seed(3))
    mask = torch.ones_like(ids)
    mask[0, :4] = 0
    options = {"attention_mask": mask, "max_new_tokens": 8, "do_sample": False}
    expected, logits = model.generate(ids, **options), model(ids, attention_mask=mask).logits
    model.set_attn_implementation(ATTENTION)
    assert torch.equal(model.generate(ids, **options), expected)
    torch.testing.assert_close(model(ids, attention_mask=mask).logits, logits)
