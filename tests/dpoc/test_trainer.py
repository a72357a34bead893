"""DPOCTrainer against DPOTrainer, and what only it does. Tiny random models, the real trainers."""

import contextlib

import pytest
import torch
from datasets import Dataset
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import LlamaConfig, LlamaForCausalLM
from trl import DPOConfig, DPOTrainer

from idl_hf import DPOCConfig, DPOCTrainer
from idl_hf.dpoc.tokenization import tokenize_dataset


def tiny_model(tokenizer, seed=0):
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=512, pad_token_id=2, bos_token_id=1, eos_token_id=2,
    )  # fmt: skip
    return LlamaForCausalLM(config)


@pytest.fixture
def rows():
    def message(text):
        return [{"role": "assistant", "content": text}]

    prompts = ["hi , what do you do ?", "do you have pets ? i have a very old and very grumpy cat named tom ."]
    replies = [
        ("i farm sheep .", "i am a spaceman", "no"),
        ("two dogs", "i have a cat named tom", "yes , it rained ."),
    ]
    return Dataset.from_list(
        [
            {
                "prompt": [{"role": "user", "content": prompt}],
                **{name: message(text) for name, text in zip(("chosen", "criterion", "rejected"), reply, strict=True)},
            }
            for prompt, reply in zip(prompts * 2, [*replies, *reversed(replies)], strict=True)
        ]
    )


def options(folder, **changes):
    common = {
        "output_dir": str(folder), "per_device_train_batch_size": 2, "max_steps": 2, "logging_steps": 1, "bf16": False,
        "use_cpu": True, "report_to": "none", "save_strategy": "no", "learning_rate": 1e-2, "max_length": None,
        "disable_tqdm": True, "gradient_checkpointing": False,
    }  # fmt: skip
    return common | changes


def train(trainer_class, config_class, folder, tokenizer, dataset, model=None, **changes):
    trainer = trainer_class(
        model=model or tiny_model(tokenizer),
        args=config_class(**options(folder, **changes)),
        train_dataset=dataset,
        processing_class=tokenizer,
        peft_config=LoraConfig(r=4, task_type="CAUSAL_LM", target_modules="all-linear") if model is None else None,
    )
    trainer.train()
    return trainer


def shared_metrics(trainer):
    """Return what both log. num_tokens counts the criterion's tokens too, runtimes are not comparable."""
    noise = ("num_tokens", "runtime", "per_second", "total_flos")
    return [
        {key: value for key, value in entry.items() if not any(word in key for word in noise)}
        for entry in trainer.state.log_history
    ]


@pytest.mark.parametrize("loss_type", ["sigmoid", "nca_pair"])
def test_without_penalty_a_training_is_that_of_dpo(loss_type, tmp_path, tokenizer, rows):
    theirs = train(DPOTrainer, DPOConfig, tmp_path, tokenizer, rows, loss_type=loss_type)
    ours = train(DPOCTrainer, DPOCConfig, tmp_path, tokenizer, rows, loss_type=loss_type, penalty=0.0)
    for expected, found in zip(shared_metrics(theirs), shared_metrics(ours), strict=True):
        for key, value in expected.items():
            assert found[key] == pytest.approx(value, rel=1e-5, abs=1e-6), key
    expected = dict(theirs.model.named_parameters())
    for name, parameter in ours.model.named_parameters():
        torch.testing.assert_close(parameter, expected[name], rtol=1e-4, atol=1e-5)


def test_precomputed_reference_trains_the_same_and_is_kept(tmp_path, tokenizer, rows, monkeypatch):
    monkeypatch.setenv("IDL_HF_CACHE", str(tmp_path / "cache"))
    on_the_fly = train(DPOCTrainer, DPOCConfig, tmp_path, tokenizer, rows)
    first = train(DPOCTrainer, DPOCConfig, tmp_path, tokenizer, rows, precompute_ref_log_probs=True)
    monkeypatch.setattr("idl_hf.dpoc.reference._compute", lambda *_: pytest.fail("computed again"))
    second = train(DPOCTrainer, DPOCConfig, tmp_path, tokenizer, rows, precompute_ref_log_probs=True)
    for trainer in (first, second):
        for expected, found in zip(shared_metrics(on_the_fly), shared_metrics(trainer), strict=True):
            assert found == pytest.approx(expected, rel=1e-4, abs=1e-6)


def test_another_model_does_not_use_the_kept_reference(tmp_path, tokenizer, rows, monkeypatch):
    monkeypatch.setenv("IDL_HF_CACHE", str(tmp_path / "cache"))
    for seed in (0, 1):
        model = get_peft_model(tiny_model(tokenizer, seed), LoraConfig(r=4, task_type="CAUSAL_LM"))
        train(DPOCTrainer, DPOCConfig, tmp_path, tokenizer, rows, model=model, precompute_ref_log_probs=True)
    assert len(list((tmp_path / "cache" / "reference_logps").glob("*.npy"))) == 2


def trained_adapter(tokenizer, folder, seed=0):
    """Return an adapter as after the first stage: its B matrices are not zero. `seed` is the base model's."""
    model = get_peft_model(tiny_model(tokenizer, seed), LoraConfig(r=4, task_type="CAUSAL_LM"))
    torch.manual_seed(3)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.05)
    model.save_pretrained(folder)
    return PeftModel.from_pretrained(tiny_model(tokenizer, seed), folder, is_trainable=True)


def test_second_stage_starts_at_its_own_adapter_and_saves_only_that(tmp_path, tokenizer, rows):
    model = trained_adapter(tokenizer, tmp_path / "msl")
    trainer = train(
        DPOCTrainer, DPOCConfig, tmp_path / "dpoc", tokenizer, rows, model=model, save_strategy="steps", save_steps=1
    )
    first = trainer.state.log_history[0]
    assert first["rewards/chosen"] == first["rewards/criterion"] == first["rewards/rejected"] == 0.0
    trainer.save_model()
    saved = [
        path.relative_to(tmp_path / "dpoc").as_posix() for path in (tmp_path / "dpoc").rglob("*") if path.is_file()
    ]
    assert "adapter_model.safetensors" in saved
    assert "checkpoint-1/adapter_model.safetensors" in saved
    assert not [path for path in saved if "ref/" in path]


def test_resuming_ends_where_an_uninterrupted_run_ends(tmp_path, tokenizer, rows):
    whole = train(
        DPOCTrainer, DPOCConfig, tmp_path / "a", tokenizer, rows, model=trained_adapter(tokenizer, tmp_path / "msl"),
        max_steps=4, save_strategy="steps", save_steps=2,
    )  # fmt: skip
    trainer = DPOCTrainer(
        model=trained_adapter(tokenizer, tmp_path / "msl"),
        args=DPOCConfig(**options(tmp_path / "b", max_steps=4)),
        train_dataset=rows,
        processing_class=tokenizer,
    )
    trainer.train(resume_from_checkpoint=str(tmp_path / "a" / "checkpoint-2"))
    for step in (2, 3):
        assert trainer.state.log_history[step]["loss"] == pytest.approx(
            whole.state.log_history[step]["loss"], rel=1e-6
        )
    expected = dict(whole.model.named_parameters())
    for name, parameter in trainer.model.named_parameters():
        torch.testing.assert_close(parameter, expected[name])


@pytest.mark.parametrize("sharing", [True, False])
@pytest.mark.parametrize(("form", "weight"), [("paper", 2.0), ("released", 0.5)])
def test_loss_is_what_its_plain_formula_gives(sharing, form, weight, tmp_path, tokenizer, rows):
    trainer = train(
        DPOCTrainer, DPOCConfig, tmp_path, tokenizer, rows, max_steps=1, penalty=weight, penalty_form=form,
        prefix_sharing=sharing,
    )  # fmt: skip
    assert trainer.shares_prefix is sharing
    trainer.model.double().eval()
    torch.manual_seed(3)
    for name, parameter in trainer.model.named_parameters():
        if "lora_B" in name:  # far from the reference, where some rewards stand in order and some do not
            torch.nn.init.normal_(parameter, std=0.3)
    batch = trainer.data_collator([trainer.train_dataset[i] for i in range(4)])
    loss = trainer._compute_loss(trainer.model, batch, return_outputs=False)
    tokens = tokenize_dataset(rows, tokenizer, trainer.args, "train")
    chosen, criterion, rejected = plain_log_ratios(trainer.model, list(tokens))
    violation = torch.clamp(chosen - criterion, max=0) + torch.clamp(criterion - rejected, max=0)
    assert (violation < 0).any()
    assert (violation == 0).any()
    if form == "paper":
        expected = -torch.log(torch.sigmoid(0.1 * (chosen - rejected))) - weight * violation
    else:
        expected = -torch.log(torch.sigmoid(0.1 * (chosen - rejected + weight * violation)))
    assert loss.item() == pytest.approx(expected.mean().item(), rel=1e-10)


def plain_log_ratios(model, rows):
    """One completion at a time, float64, the whole vocabulary's logits: (3, rows)."""
    ratios = torch.zeros(3, len(rows), dtype=torch.float64)
    for i, name in enumerate(("chosen", "criterion", "rejected")):
        for j, row in enumerate(rows):
            ids = torch.tensor([row["prompt_ids"] + row[f"{name}_ids"]])
            for sign in (1, -1):
                with contextlib.ExitStack() as stack:
                    stack.enter_context(torch.no_grad())
                    if sign == -1:
                        stack.enter_context(model.disable_adapter())
                    logps = model(ids).logits[:, :-1].log_softmax(-1).gather(2, ids[:, 1:, None])[0, :, 0]
                ratios[i, j] += sign * logps[len(row["prompt_ids"]) - 1 :].sum()
    return ratios


def test_full_fine_tuning_keeps_a_reference_model(tmp_path, tokenizer, rows):
    tiny_model(tokenizer).save_pretrained(tmp_path / "model")
    trainer = train(DPOCTrainer, DPOCConfig, tmp_path, tokenizer, rows, model=str(tmp_path / "model"))
    assert trainer.ref_model is not None
    assert trainer.state.log_history[0]["rewards/criterion"] == 0.0
    assert trainer.state.log_history[1]["rewards/criterion"] != 0.0


def test_weights_in_a_pickle_are_not_read(tmp_path, tokenizer, rows):
    model = tiny_model(tokenizer)
    model.save_pretrained(tmp_path / "model")
    (tmp_path / "model" / "model.safetensors").unlink()
    torch.save(model.state_dict(), tmp_path / "model" / "pytorch_model.bin")
    with pytest.raises(OSError, match="safetensors"):
        train(DPOCTrainer, DPOCConfig, tmp_path, tokenizer, rows, model=str(tmp_path / "model"))


def test_evaluation_logs_the_criterion_too(tmp_path, tokenizer, rows):
    trainer = train(DPOCTrainer, DPOCConfig, tmp_path, tokenizer, rows)
    metrics = trainer.evaluate(rows)
    assert {"eval_loss", "eval_rewards/criterion", "eval_penalty/chosen_criterion_active"} <= set(metrics)


def test_missing_columns_are_named_with_those_found(tmp_path, tokenizer, rows):
    with pytest.raises(ValueError, match=r"lacks the columns criterion.*found: prompt, chosen, rejected"):
        train(DPOCTrainer, DPOCConfig, tmp_path, tokenizer, rows.remove_columns("criterion"))


def tokens_of(folder, tokenizer, rows, **changes):
    """Return the tokenized rows that a training of one step had, each completion a row of its own."""
    changes |= {"max_steps": 1, "per_device_train_batch_size": 1, "prefix_sharing": False}
    return train(DPOCTrainer, DPOCConfig, folder, tokenizer, rows, **changes).train_dataset


def test_plain_text_rows_get_an_end_of_sequence_token(tmp_path, tokenizer):
    rows = Dataset.from_dict({"prompt": ["a b"], "chosen": [" c"], "criterion": [" d e"], "rejected": [" f"]})
    row = tokens_of(tmp_path, tokenizer, rows)[0]
    assert [row[f"{name}_ids"][-1] for name in ("chosen", "criterion", "rejected")] == [tokenizer.eos_token_id] * 3
    assert tokenizer.decode(row["criterion_ids"]) == " d e" + tokenizer.eos_token


def test_a_prompt_that_fills_max_length_is_left_out(tmp_path, tokenizer, rows):
    lengths = [len(ids) for ids in tokens_of(tmp_path, tokenizer, rows)["prompt_ids"]]
    assert min(lengths) < max(lengths)
    kept = tokens_of(tmp_path, tokenizer, rows, max_length=max(lengths))["prompt_ids"]
    assert [len(ids) for ids in kept] == [n for n in lengths if n < max(lengths)]


def test_a_long_prompt_keeps_its_end(tmp_path, tokenizer, rows):
    tokens = tokens_of(tmp_path, tokenizer, rows, max_prompt_length=7)
    assert {len(ids) for ids in tokens["prompt_ids"]} == {7}
    assert tokens["prompt_cut"] == [True] * 4
