"""A tree is its rows: log-probs, loss, gradients in float64, on many architectures; and which rows it is made of."""

import pytest
import torch
from datasets import Dataset, IterableDataset
from peft import LoraConfig, get_peft_model

from idl_hf import DPOCConfig
from idl_hf.dpoc.collator import COMPLETIONS, DataCollatorForCriterion, DataCollatorForTrees
from idl_hf.dpoc.loss import dpoc_penalty
from idl_hf.dpoc.scores import predict, token_log_probs
from idl_hf.dpoc.trees import IDS, plant, plant_dataset
from idl_hf.packing import attention as packed
from idl_hf.packing.attention import ATTENTION
from tests.dpoc.models import tiny, token_rows
from tests.dpoc.packed_rows import packed_log_probs

NAMES = ["Llama", "Qwen3", "Mistral", "Gemma3", "GPT2", "Olmo2", "Phi3"]


def dialogue(turns=4, start=9, ids=None, seed=2):
    """Return a dialogue: each prompt goes on from the one before, its chosen reply and the answer to that."""
    generator = torch.Generator().manual_seed(seed)

    def draw(length):
        return torch.randint(3, 97, (length,), generator=generator).tolist()

    rows, prompt = [], draw(start)
    for turn in range(turns):
        replies = {f"{name}_ids": draw(2 + (turn + i) % 3) for i, name in enumerate(COMPLETIONS)}
        rows.append({"prompt_ids": prompt, **replies, **(ids or {})})
        prompt = [*prompt, *replies["chosen_ids"], *draw(3)]
    return rows


def messy():
    """Return rows whose prompts do not extend each other, are empty, or whose completions are equal or begin alike."""
    rows = [*dialogue(3), *token_rows()]
    rows[1] = {**rows[1], "prompt_ids": [*rows[1]["prompt_ids"][:6], 50, *rows[1]["prompt_ids"][7:]]}
    same = rows[0]["chosen_ids"]
    return [
        *rows,
        {"prompt_ids": [], "chosen_ids": [5, 6, 7], "criterion_ids": [5, 6], "rejected_ids": [8]},
        {"prompt_ids": rows[0]["prompt_ids"], "chosen_ids": same, "criterion_ids": same, "rejected_ids": same[:-1]},
        {"prompt_ids": rows[0]["prompt_ids"], "chosen_ids": [], "criterion_ids": same[:1], "rejected_ids": [4, *same]},
    ]


def model_of(name):
    """Return a model in float64, its adapter away from zero; RMSNorm rounds to float32 in transformers."""
    linear = ["c_attn", "c_fc"] if name == "GPT2" else "all-linear"
    model = get_peft_model(tiny(name), LoraConfig(r=4, target_modules=linear, task_type="CAUSAL_LM")).double()
    torch.manual_seed(5)
    for key, parameter in model.named_parameters():
        if "lora_B" in key:
            torch.nn.init.normal_(parameter, std=0.05)
    for module in model.modules():
        if type(module).__name__.endswith("RMSNorm"):
            module.forward = exact_norm(module)
    return model


def exact_norm(module):
    epsilon = module.variance_epsilon if hasattr(module, "variance_epsilon") else module.eps
    scale = module.weight + 1 if type(module).__name__.startswith("Gemma") else module.weight
    return lambda states: scale * states * torch.rsqrt(states.pow(2).mean(-1, keepdim=True) + epsilon)


def loss_and_gradients(model, logps):
    """Return log-probs of (3, rows), a DPOC loss against a reference near to them, and the adapter's gradients."""
    model.zero_grad()
    reference = -5 - torch.arange(logps.numel(), dtype=torch.float64).view_as(logps).sin()
    ratios = logps - reference
    loss = -torch.nn.functional.logsigmoid(0.1 * (ratios[0] - ratios[2])).mean() + dpoc_penalty(*ratios).mean()
    loss.backward()
    return logps.detach(), loss.detach(), {key: p.grad for key, p in model.named_parameters() if p.grad is not None}


def assert_equal(found, expected):
    (logps, loss, gradients), (their_logps, their_loss, their_gradients) = found, expected
    torch.testing.assert_close(logps, their_logps, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(loss, their_loss, rtol=1e-10, atol=1e-10)
    assert gradients.keys() == their_gradients.keys()
    whole = torch.stack([gradient.norm() for gradient in their_gradients.values()]).norm()
    for key, gradient in their_gradients.items():
        assert (gradients[key] - gradient).norm() <= 1e-10 * whole, key


@pytest.mark.parametrize("rows", [dialogue(), messy()], ids=["clean", "messy"])
@pytest.mark.parametrize("name", NAMES)
def test_a_tree_equals_packed_rows_and_rows_of_their_own(name, rows, monkeypatch):
    model = model_of(name)
    batch = DataCollatorForCriterion(0)(rows)
    expected = loss_and_gradients(model, token_log_probs(predict(model, batch)).sum(dim=1).view(3, -1))
    assert_equal(loss_and_gradients(model, packed_log_probs(model.get_base_model(), rows)), expected)
    model.get_base_model().set_attn_implementation(ATTENTION)
    groups = {"one": [rows], "several": [rows[:1], rows[1:3], rows[3:]]}
    for tiles, checkpointing, trees in [
        (False, None, "one"), (False, True, "one"), (False, False, "several"), (True, None, "several")
    ]:  # fmt: skip
        monkeypatch.setattr(packed, "_takes_tiles", lambda query, tiles=tiles: tiles)
        if checkpointing is not None:  # reentrant, or not
            model.gradient_checkpointing_enable({"use_reentrant": checkpointing})
            model.enable_input_require_grads()
            model.train()
        batch = DataCollatorForTrees(0)([plant(group) for group in groups[trees]])
        logps = token_log_probs(predict(model, batch)).sum(dim=1).view(3, -1)
        assert_equal(loss_and_gradients(model, logps), expected)


def test_a_dialogue_is_the_tokens_of_its_longest_row_and_what_was_not_chosen():
    rows = dialogue(8)
    tree = plant(rows)
    last = max((rows[-1][f"{name}_ids"] for name in COMPLETIONS), key=len)
    beside = sum(len(row[f"{name}_ids"]) - 1 for row in rows[:-1] for name in COMPLETIONS[1:])
    assert tree["trunk"] == len(rows[-1]["prompt_ids"]) + len(last) - 1
    rest = sum(len(rows[-1][f"{name}_ids"]) - 1 for name in COMPLETIONS) - (len(last) - 1)
    assert len(tree["input_ids"]) == tree["trunk"] + beside + rest
    assert tree["labels"] == [row[f"{name}_ids"] for name in COMPLETIONS for row in rows]


def config(tmp_path, **changes):
    return DPOCConfig(str(tmp_path), use_cpu=True, bf16=False, prefix_sharing="dialogue", **changes)


def planted(rows, tmp_path, stream=False, **changes):
    """Return the tokens of each row, by tree."""
    dataset = IterableDataset.from_generator(lambda: iter(rows)) if stream else Dataset.from_list(rows)
    trees = list(plant_dataset(dataset, True, config(tmp_path, **changes), "train"))
    assert sum(tree["rows"] for tree in trees) == len(rows)
    return [tree["labels"][: tree["rows"]] for tree in trees]  # the chosen ones


def chosen(*groups):
    return [[row["chosen_ids"] for row in group] for group in groups]


@pytest.mark.parametrize("stream", [False, True])
def test_a_tree_is_a_dialogue_of_one_person(stream, tmp_path):
    """Both characters of a conversation have its id, and their rows begin alike; so do those of one person."""
    people = [dialogue(3, ids=dict(zip(IDS, ids, strict=True))) for ids in (("a", "1"), ("b", "1"), ("b", "2"))]
    rows = [row for group in people for row in group]
    assert planted(rows, tmp_path, stream) == chosen(*people)


def test_rows_of_a_dialogue_are_found_wherever_they_lie(tmp_path):
    one, other = (
        dialogue(3, ids=dict(zip(IDS, ids, strict=True)), seed=seed) for seed, ids in enumerate(["ab", "ac"])
    )
    mixed = [row for pair in zip(one, other, strict=True) for row in pair]
    assert planted(mixed, tmp_path) == chosen(one, other)
    assert len(planted(mixed, tmp_path, stream=True)) == 6, "of a stream only neighbours"


@pytest.mark.parametrize("stream", [False, True])
def test_without_ids_neighbours_that_begin_alike_are_a_dialogue(stream, tmp_path):
    one, other = dialogue(3, seed=3), dialogue(2, seed=4)
    assert planted([*one, *other], tmp_path, stream) == chosen(one, other)


def test_a_dialogue_whose_prompts_share_less_than_half_is_two_trees(tmp_path):
    ids = dict(zip(IDS, "ab", strict=True))
    rows = [*dialogue(2, ids=ids, seed=3), *dialogue(3, ids=ids, seed=4)]
    assert planted(rows, tmp_path) == chosen(rows[:2], rows[2:])


def test_a_tree_grows_to_three_times_its_longest_row_at_most(tmp_path):
    system = [*range(3, 53)]
    rows = [{**row, "prompt_ids": [*system, *row["prompt_ids"]]} for row in token_rows(((40, 4, 3, 5),) * 12)]
    trees = [plant(rows[:size])["input_ids"] for size in (3, 4, 5)]
    sizes = [len(tree) for tree in planted(rows, tmp_path)]
    assert sum(sizes) == 12
    assert len(trees[sizes[0] - 3]) <= 3 * (50 + 40 + 5) < len(trees[sizes[0] - 2])


def test_a_reference_that_rows_bring_with_them_goes_with_their_tree(tmp_path):
    rows = [{**row, "ref_chosen_logps": float(i)} for i, row in enumerate(dialogue(3))]
    (tree,) = plant_dataset(Dataset.from_list(rows), True, config(tmp_path), "train")
    assert tree["ref_chosen_logps"] == [0.0, 1.0, 2.0]


def test_trees_of_a_kept_dataset_are_kept_beside_it(tmp_path):
    dataset = Dataset.from_list(dialogue(3))
    dataset.save_to_disk(str(tmp_path / "rows"))
    dataset = Dataset.load_from_disk(str(tmp_path / "rows"))
    (made,) = plant_dataset(dataset, True, config(tmp_path), "train")
    (file,) = (tmp_path / "rows").glob("trees-*.arrow")
    written = file.stat().st_mtime_ns
    assert [*plant_dataset(dataset, True, config(tmp_path), "train")] == [made]
    assert file.stat().st_mtime_ns == written
    assert len(plant_dataset(dataset, False, config(tmp_path), "train")) == 3
    assert plant_dataset(dataset, True, config(tmp_path, max_length=11), "train")[0] != made


def test_trees_that_save_nothing_are_warned_of(tmp_path, caplog):
    planted([dialogue(1, seed=i)[0] for i in range(4)], tmp_path)
    assert "4 train rows are 4 trees" in caplog.text
