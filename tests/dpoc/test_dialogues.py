"""A training on dialogues is that on their rows: each reply counts the same, whatever tree it is in."""

import pytest
import torch
from datasets import Dataset, IterableDataset
from peft import get_peft_model

from idl_hf import DPOCConfig, DPOCTrainer
from tests.dpoc.models import tiny
from tests.dpoc.test_features import lora
from tests.dpoc.test_trainer import options, train, trained_adapter


@pytest.fixture
def dialogues():
    """Three dialogues, of 3, 1 and 2 replies, as messages."""
    lines = [
        "i farm sheep .",
        "do you like rain ?",
        "yes , a lot .",
        "two dogs and a cat",
        "oh , nice",
        "i walk a lot .",
    ]
    rows = []
    for name, replies in (("a", 3), ("b", 1), ("c", 2)):
        prompt = [{"role": "user", "content": f"hi , i am {name} and i have had a very old and very grumpy cat ."}]
        for turn in range(replies):
            texts = [f"{lines[(turn + i) % 6]} {name}" for i in range(3)]
            said = [[{"role": "assistant", "content": text}] for text in texts]
            ids = {"person_id": name, "dialogue_id": "1"}
            rows.append({"prompt": prompt, **dict(zip(("chosen", "criterion", "rejected"), said, strict=True)), **ids})
            prompt = [*prompt, *said[0], {"role": "user", "content": lines[(turn + 3) % 6]}]
    return Dataset.from_list(rows)


TREES = {"prefix_sharing": "dialogue", "per_device_train_batch_size": 1, "gradient_accumulation_steps": 3}
ROWS = {"prefix_sharing": False, "per_device_train_batch_size": 6}
COMMON = {"train_sampling_strategy": "sequential", "optim": "sgd", "max_steps": 3, "learning_rate": 0.3}


def train_adapter(folder, tokenizer, rows, **changes):
    model = trained_adapter(tokenizer, folder / "msl")
    return train(DPOCTrainer, DPOCConfig, folder, tokenizer, rows, model=model, **changes)


def history(trainer, noise=("runtime", "per_second", "total_flos", "num_tokens", "padding")):
    """Return what was logged, but for what is counted and timed."""
    return [
        {key: value for key, value in entry.items() if not any(word in key for word in noise)}
        for entry in trainer.state.log_history
    ]


@pytest.mark.parametrize(
    "how",
    [
        {},
        {"precompute_ref_log_probs": True},
        {"loss_type": ["ipo", "sigmoid_norm", "apo_zero"], "use_weighting": True},
        {"penalty_form": "released", "penalty": 0.5},
        {"f_divergence_type": "js_divergence", "max_length": 113},
    ],
    ids=str,
)
def test_steps_on_trees_are_those_on_their_rows(how, tmp_path, tokenizer, dialogues, monkeypatch):
    monkeypatch.setenv("IDL_HF_CACHE", str(tmp_path / "cache"))
    trainers = [train_adapter(tmp_path, tokenizer, dialogues, **COMMON, **layout, **how) for layout in (TREES, ROWS)]
    assert trainers[0].train_dataset["rows"][:] == [3, 1, 2]
    assert [entry.keys() for entry in history(trainers[0])] == [entry.keys() for entry in history(trainers[1])]
    for found, expected in zip(*map(history, trainers), strict=True):
        for name in ("logits/chosen", "logits/rejected"):  # TRL's means over the tokens of each batch, which differ
            assert (found.pop(name, None) is None) == (expected.pop(name, None) is None)
        assert found == pytest.approx(expected, rel=2e-4, abs=5e-5)  # sums of a hundred nats, in float32
    weights = [dict(trainer.model.named_parameters()) for trainer in trainers]
    for name, expected in weights[1].items():
        torch.testing.assert_close(weights[0][name], expected, rtol=1e-4, atol=1e-5)
    first, _, last, *_ = trainers[0].state.log_history
    assert first["loss"] != pytest.approx(last["loss"], rel=1e-3), "a curve that stands still agrees with any"


def test_an_evaluation_on_trees_is_that_on_their_rows(tmp_path, tokenizer, dialogues):
    found = []
    for layout in (TREES, {**ROWS, "per_device_eval_batch_size": 1}):
        trainer = train(DPOCTrainer, DPOCConfig, tmp_path, tokenizer, dialogues, **COMMON, **layout)
        metrics = trainer.evaluate(dialogues)
        found.append({key: value for key, value in metrics.items() if not key.endswith(("_second", "runtime"))})
        assert trainer.state.log_history[-1]["eval_loss"] == metrics["eval_loss"]
    for entry in found:
        del entry["eval_num_tokens"], entry["eval_padding"]
    # TRL's means over tokens are of each batch, and ours weigh batches by rows
    for name in ("entropy", "logits/chosen", "logits/rejected", "mean_token_accuracy"):
        assert found[0].pop(f"eval_{name}") == pytest.approx(found[1].pop(f"eval_{name}"), rel=0.05, abs=1e-3)
    assert found[0] == pytest.approx(found[1], rel=1e-4, abs=1e-5)  # float32


def test_a_prediction_leaves_nothing_for_the_next_evaluation(tmp_path, tokenizer, dialogues):
    trainer = train_adapter(tmp_path, tokenizer, dialogues, **{**COMMON, **TREES, "max_steps": 1})
    expected = trainer.evaluate(dialogues)
    trainer.predict(trainer.train_dataset.select([1]))
    again = trainer.evaluate(dialogues)
    for name in ("eval_loss", "eval_logps/criterion", "eval_rewards/chosen"):
        assert again[name] == pytest.approx(expected[name], rel=1e-6)


def test_a_column_called_slots_makes_no_tree(tmp_path, tokenizer, dialogues):
    rows = dialogues.add_column("slots", [[1]] * 6)
    assert train_adapter(tmp_path, tokenizer, rows, **{**COMMON, **TREES}).train_dataset["rows"][:] == [3, 1, 2]


def test_a_training_on_trees_resumes_to_the_same_loss(tmp_path, tokenizer, dialogues):
    settings = {**TREES, "gradient_accumulation_steps": 1, "max_steps": 5, "seed": 3}
    whole = train(
        DPOCTrainer, DPOCConfig, tmp_path / "a", tokenizer, dialogues,
        model=trained_adapter(tokenizer, tmp_path / "msl"), save_strategy="steps", save_steps=2, **settings,
    )  # fmt: skip
    again = DPOCTrainer(
        model=trained_adapter(tokenizer, tmp_path / "msl"),
        args=DPOCConfig(**options(tmp_path / "b", **settings)),
        train_dataset=dialogues,
        processing_class=tokenizer,
    )
    again.train(resume_from_checkpoint=str(tmp_path / "a" / "checkpoint-2"))
    for step in (2, 3, 4):
        expected = whole.state.log_history[step]["loss"]
        assert again.state.log_history[step]["loss"] == pytest.approx(expected, rel=1e-6)


def test_a_stream_of_dialogues(tmp_path, tokenizer, dialogues):
    stream = IterableDataset.from_generator(lambda: iter(dialogues.to_list()))
    streamed, listed = (
        train(DPOCTrainer, DPOCConfig, tmp_path, tokenizer, rows, **COMMON, **TREES) for rows in (stream, dialogues)
    )
    for found, expected in zip(history(streamed), history(listed), strict=True):
        found.pop("epoch"), expected.pop("epoch")
        assert found == pytest.approx(expected, rel=1e-5, abs=1e-6)


def test_another_grouping_has_another_reference(tmp_path, tokenizer, dialogues, monkeypatch):
    monkeypatch.setenv("IDL_HF_CACHE", str(tmp_path / "cache"))
    kept = tmp_path / "cache" / "reference_logps"
    mixed = dialogues.remove_columns("dialogue_id").select([5, *range(5)])
    for rows, count in ((dialogues, 1), (dialogues, 1), (mixed, 2)):
        layout = {**TREES, "precompute_ref_log_probs": True, "max_steps": 1}
        train_adapter(tmp_path, tokenizer, rows, **layout)
        assert len(list(kept.iterdir())) == count


def test_dialogues_by_force_say_why_they_cannot(tmp_path, tokenizer, dialogues):
    bloom = get_peft_model(tiny("Bloom", vocab_size=len(tokenizer)), lora())
    with pytest.raises(ValueError, match="prefix_sharing='dialogue' is not possible"):
        train(DPOCTrainer, DPOCConfig, tmp_path, tokenizer, dialogues, model=bloom, **TREES)


def test_trees_of_a_batch_stand_side_by_side(tmp_path, tokenizer, dialogues):
    """per_device_train_batch_size counts trees."""
    found = []
    for size, accumulated in ((3, 1), (1, 3)):
        layout = {**TREES, "per_device_train_batch_size": size, "gradient_accumulation_steps": accumulated}
        trainer = train_adapter(tmp_path, tokenizer, dialogues, **COMMON, **layout)
        found.append([entry["loss"] for entry in trainer.state.log_history if "loss" in entry])
    assert found[0] == pytest.approx(found[1], rel=1e-5)
