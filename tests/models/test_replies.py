"""Replies over shared prompts are those of each prompt alone, every token of a prompt is computed once, in bounded
memory."""

import logging
from itertools import pairwise

import pytest
import torch
from peft import LoraConfig, PrefixTuningConfig, get_peft_model

from idl_hf import prompting
from idl_hf.corpora.jsonl import read_dialogues
from idl_hf.models import replies as generation
from idl_hf.models import tree_decoding
from idl_hf.models.replies import generate_replies, generate_reply
from idl_hf.models.tree_decoding import tree_obstacle
from tests.dpoc.models import SHARING, tiny

NEW_TOKENS = 8


@pytest.fixture(scope="module")
def prompts(sample_data):
    """Of two people, before each reply of two dialogues, after the same references and after none."""
    dialogues = list(read_dialogues(sample_data / "validation.jsonl"))
    people = list(dict.fromkeys(dialogue.person_id for dialogue in dialogues))
    found = []
    for person in people[:2]:
        *targets, first, second = [d.turns for d in dialogues if d.person_id == person][:4]
        for references in ([first, second], []):
            for turns in targets:
                starts = [i for i in range(1, 6) if turns[i].role == "self"]
                found += [prompting.render(references, turns[:i]).messages for i in starts]
    return found


@pytest.fixture(scope="module")
def make(tokenizer):
    """Tiny models by architecture whose windows and positions suit these prompts."""

    def build(name="Llama", **changes):
        special = {name: getattr(tokenizer, name) for name in ("bos_token_id", "eos_token_id", "pad_token_id")}
        length = "n_positions" if name == "GPT2" else "max_position_embeddings"
        return tiny(name, vocab_size=len(tokenizer), **{length: 2048, **special, **changes}).double()

    return build


def alone(model, tokenizer, prompts):
    return [generate_reply(model, tokenizer, prompt, max_new_tokens=NEW_TOKENS) for prompt in prompts]


def shared(model, tokenizer, prompts, **options):
    replies = list(generate_replies(model, tokenizer, prompts, NEW_TOKENS, **options))
    assert len(replies) == len(prompts)
    return [text for _, text in sorted(replies)]


def end_early(model, tokenizer, prompts):
    """Makes ends of tokens that the model writes, so that rows leave their batch at different times."""
    ids = torch.tensor([prompting.prompt_ids(tokenizer, prompts[0])])
    written = model.generate(input_ids=ids, attention_mask=torch.ones_like(ids), max_new_tokens=3, do_sample=False)
    model.generation_config.eos_token_id = [tokenizer.eos_token_id, int(written[0, -1])]


@pytest.fixture
def forwards(monkeypatch):
    """(tokens, slots that they may see) of each forward pass over shared prompts."""
    passes = []
    forward = tree_decoding.TreeDecoder._forward

    def counted(self, ids, *rest):
        tokens = forward(self, ids, *rest)
        passes.append((len(ids), self._cache.get_seq_length()))
        return tokens

    monkeypatch.setattr(tree_decoding.TreeDecoder, "_forward", counted)
    return passes


# The same replies


@pytest.mark.parametrize("name", SHARING)
def test_replies_are_those_of_each_prompt_alone(make, tokenizer, prompts, name):
    model = make(name)
    end_early(model, tokenizer, prompts)
    expected = alone(model, tokenizer, prompts)
    assert tree_obstacle(model) is None
    assert len(set(expected)) > 1
    assert shared(model, tokenizer, prompts) == expected


@pytest.mark.parametrize("name", SHARING)
def test_logits_are_those_of_a_forward_of_everything(make, tokenizer, prompts, name):
    """Random models say much the same whatever came before; their logits tell a wrong mask."""
    model, found = make(name), []
    hook = model.register_forward_hook(lambda *passed: found.append(passed[-1].logits[0]))
    written = shared(model, tokenizer, prompts[3:7])
    hook.remove()
    expected = []
    for prompt in prompts[3:7]:
        ids = torch.tensor([prompting.prompt_ids(tokenizer, prompt)])
        output = model.generate(
            input_ids=ids, attention_mask=torch.ones_like(ids), max_new_tokens=NEW_TOKENS, do_sample=False
        )
        with torch.no_grad():
            expected.append(model(input_ids=output).logits[0, ids.shape[1] - 1 : -1])
    expected, found = torch.cat(expected), torch.cat(found)
    assert len(found) == len(expected)
    assert len(written) == 4
    distances = torch.cdist(found, expected, compute_mode="donot_use_mm_for_euclid_dist")
    assert distances.min(dim=1).values.max() < 1e-9 * found.norm()
    assert distances.min(dim=0).values.max() < 1e-9 * found.norm()


@pytest.mark.parametrize("batch_size", [1, 3, 64])
def test_neither_the_size_of_batches_nor_that_of_chunks_and_tiles_matters(
    make, tokenizer, prompts, monkeypatch, batch_size
):
    model = make().float()
    expected = alone(model, tokenizer, prompts)
    monkeypatch.setattr(tree_decoding, "CHUNK", 50)
    monkeypatch.setattr(tree_decoding, "TILE", 7)
    assert shared(model, tokenizer, prompts, batch_size=batch_size) == expected


def test_a_window_shorter_than_what_is_shared(make, tokenizer, prompts):
    model = make("Mistral", sliding_window=30)
    assert len(prompting.prompt_ids(tokenizer, prompts[0])) > 10 * 30
    assert shared(model, tokenizer, prompts, batch_size=5) == alone(model, tokenizer, prompts)


def test_an_adapter_writes_its_own_replies(make, tokenizer, prompts):
    base = make()
    before = shared(base, tokenizer, prompts)
    adapter = get_peft_model(base, LoraConfig(r=2, target_modules=["q_proj", "v_proj"], init_lora_weights=False))
    adapter = adapter.double().eval()
    found = shared(adapter, tokenizer, prompts)
    assert found == alone(adapter, tokenizer, prompts)
    assert found != before


def test_what_is_missing_after_a_crash_is_as_it_would_have_been(make, tokenizer, prompts):
    model = make()
    replies = generate_replies(model, tokenizer, prompts, NEW_TOKENS, batch_size=4)
    kept = dict(next(replies) for _ in range(6))
    replies.close()
    missing = [i for i in range(len(prompts)) if i not in kept]
    rest = shared(model, tokenizer, [prompts[i] for i in missing])
    assert kept | dict(zip(missing, rest, strict=True)) == dict(enumerate(alone(model, tokenizer, prompts)))


def test_nothing_to_generate(make, tokenizer):
    assert shared(make(), tokenizer, []) == []


# The cost


def tree_size(tokenizer, prompts):
    ids = {tuple(prompting.prompt_ids(tokenizer, prompt)) for prompt in prompts}
    return len({prompt[: i + 1] for prompt in ids for i in range(len(prompt))})


@pytest.mark.parametrize("batch_size", [1, 3, 8])
def test_a_token_that_prompts_share_is_computed_once(make, tokenizer, prompts, forwards, batch_size):
    replies = shared(make(), tokenizer, prompts, batch_size=batch_size)
    generated = (NEW_TOKENS - 1) * len(prompts)  # nothing follows the last
    assert sum(tokens for tokens, _ in forwards) == tree_size(tokenizer, prompts) + generated
    assert len(replies) * 100 > tree_size(tokenizer, prompts)  # of prompts of 200 tokens and more


def test_a_repeated_prompt_costs_nothing(make, tokenizer, prompts, forwards):
    model = make()
    once = shared(model, tokenizer, prompts[:3])
    cost = list(forwards)
    assert shared(model, tokenizer, prompts[:3] * 2) == once * 2
    assert forwards == cost * 2


def test_memory_is_bounded_and_the_bound_changes_no_reply(make, tokenizer, prompts, forwards):
    model = make()
    longest = max(len(prompting.prompt_ids(tokenizer, prompt)) for prompt in prompts)
    bound = longest + 2 * NEW_TOKENS
    free = shared(model, tokenizer, prompts, batch_size=64)
    assert max(slots for _, slots in forwards) > 1.5 * bound
    forwards.clear()
    assert shared(model, tokenizer, prompts, batch_size=64, max_tokens=bound) == free
    assert max(slots for _, slots in forwards) <= bound


def test_replies_come_before_later_batches_are_computed(make, tokenizer, prompts, forwards):
    replies = generate_replies(make(), tokenizer, prompts, NEW_TOKENS, batch_size=2)
    next(replies)
    early = len(forwards)
    list(replies)
    assert 0 < early < len(forwards) / 4


def test_batches_end_where_little_is_shared():
    lengths, shared_lengths = [100] * 9, [0, 90, 90, 10, 90, 90, 10, 90, 90]
    cut = generation.batches(lengths, shared_lengths, batch_size=5, max_tokens=10**6, max_new_tokens=1)
    assert [(batch.start, batch.stop) for batch in cut] == [(0, 3), (3, 6), (6, 9)]


@pytest.mark.parametrize("batch_size", [1, 4, 100])
@pytest.mark.parametrize("max_tokens", [1, 150, 300, 10**6])
def test_batches_hold_every_prompt_once_within_both_bounds(batch_size, max_tokens):
    rng = torch.Generator().manual_seed(0)
    lengths = torch.randint(1, 100, (200,), generator=rng).tolist()
    common = [0, *(int(min(pair) * torch.rand(1, generator=rng)) for pair in pairwise(lengths))]
    batches = list(generation.batches(lengths, common, batch_size, max_tokens, 5))
    assert [i for batch in batches for i in range(200)[batch]] == list(range(200))
    for batch in batches:
        new = sum(lengths[i] - common[i] for i in range(200)[batch]) + common[batch.start]
        assert batch.stop - batch.start <= batch_size
        assert new + 5 * (batch.stop - batch.start) <= max_tokens or batch.stop - batch.start == 1


# Models that cannot, and what is left behind


def obstacles(make):
    penalised = make()
    penalised.generation_config.repetition_penalty = 1.5
    prefix = PrefixTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=2)
    dynamic = {"rope_type": "dynamic", "factor": 2.0, "rope_theta": 10000.0}
    return {
        "sets repetition_penalty": penalised,
        "put tokens of their own before the prompt": get_peft_model(make(), prefix).double().eval(),
        "by the longest of them": make(rope_parameters=dynamic),
        "does not take an attention function": make("Bloom"),
        "attn_implementation='eager'": make("Gemma2"),
    }


def test_a_model_that_cannot_share_writes_the_same_one_by_one_and_says_why_once(make, tokenizer, prompts, caplog):
    for reason, model in obstacles(make).items():
        caplog.clear()
        generation.logger.warning_once.__func__.cache_clear()  # what other tests of this process were told
        with caplog.at_level(logging.WARNING, generation.logger.name):
            for _ in range(2):
                assert shared(model, tokenizer, prompts[:2]) == alone(model, tokenizer, prompts[:2])
        assert [record.getMessage() for record in caplog.records].count(caplog.messages[0]) == 1
        assert reason in caplog.messages[0]


def test_the_model_attends_as_before_even_after_an_error(make, tokenizer, prompts, monkeypatch):
    model = make()
    list(generate_replies(model, tokenizer, prompts[:2], NEW_TOKENS))
    assert model.config._attn_implementation == "sdpa"
    monkeypatch.setattr(tree_decoding.TreeDecoder, "_decode", lambda *_: pytest.fail("stopped"))
    with pytest.raises(pytest.fail.Exception):
        list(generate_replies(model, tokenizer, prompts[:2], NEW_TOKENS))
    assert model.config._attn_implementation == "sdpa"
