"""ContrastTrainer against TRL's SFTTrainer, by hand, and in a world where a reply depends on the references."""

import random

import pytest
import torch
from datasets import Dataset
from peft import LoraConfig
from trl import SFTConfig, SFTTrainer

from idl_hf.contrast import ContrastConfig, ContrastTrainer
from idl_hf.contrast.rows import tokenize_dataset
from idl_hf.token_ids import encode

WORDS = "i you we have had an old grumpy cat dog sheep farm tea rain train house like hate walk in by".split()


def said(role, chance, longest):
    return {"role": role, "content": " ".join(chance.choices(WORDS, k=chance.randint(2, longest)))}


def message_rows(counts=(3, 2, 5, 1), seed=0):
    """Rows with so many strangers each, of several replies of unequal lengths."""
    chance = random.Random(seed)
    return [
        {
            "prompt": [said("user", chance, 40)],
            "completion": [said("assistant", chance, 9), said("user", chance, 9), said("assistant", chance, 5)],
            "strangers": [[said("user", chance, 40)] for _ in range(count)],
        }
        for count in counts
    ]


@pytest.fixture
def make(tiny_llama, tokenizer, tmp_path):
    """Makes a trainer in float64 of the same weights: make(rows, **settings); of TRL's SFTTrainer with sft=True."""

    def build(rows, sft=False, model=None, peft_config=None, compute_metrics=None, **settings):
        common = {
            "output_dir": str(tmp_path), "per_device_train_batch_size": 4, "bf16": False, "use_cpu": True,
            "report_to": "none", "max_length": None, "gradient_checkpointing": False, "disable_tqdm": True,
            "completion_only_loss": True, "save_strategy": "no", "logging_steps": 1,
        }  # fmt: skip
        dataset, kind, config = Dataset.from_list(rows), ContrastTrainer, ContrastConfig
        if sft:
            kind, config = SFTTrainer, SFTConfig
            dataset = tokenize_dataset(dataset, tokenizer).remove_columns("strangers")
        args = config(**common | settings)
        return kind(
            model=model or tiny_llama().double(), args=args, train_dataset=dataset, processing_class=tokenizer,
            peft_config=peft_config, compute_metrics=compute_metrics,
        )  # fmt: skip

    return build


def step(trainer, items=None):
    """Loss, gradients and logged metrics of all rows in one batch."""
    trainer.model.train().zero_grad()
    trainer._metrics["train"].clear()
    columns = [name for name in ("input_ids", "labels", "strangers") if name in trainer.train_dataset.column_names]
    batch = trainer.data_collator(trainer.train_dataset.select_columns(columns).to_list())
    loss = trainer.compute_loss(trainer.model, batch, num_items_in_batch=items)
    loss.backward()
    gradients = {name: parameter.grad.clone() for name, parameter in trainer.model.named_parameters()}
    metrics = {name: values[-1] for name, values in trainer._metrics["train"].items()}
    return loss.item(), gradients, metrics


def apart(first, second):
    """How far weights or gradients are apart, relative to the largest."""
    largest = max(values.abs().max().item() for values in first.values())
    return max((first[name] - second[name]).abs().max().item() for name in first) / largest


def test_with_weight_0_it_is_sft_in_loss_gradients_and_metrics(make):
    rows = message_rows()
    loss, gradients, metrics = step(make(rows, contrast_weight=0.0))
    expected, of_sft, shared = step(make(rows, sft=True))
    assert loss == pytest.approx(expected, rel=1e-6)
    assert gradients.keys() == of_sft.keys()
    assert apart(gradients, of_sft) < 1e-6
    assert metrics["nll"] == pytest.approx(expected, rel=1e-6)
    for name in ("entropy", "mean_token_accuracy"):
        assert metrics[name] == pytest.approx(shared[name], rel=1e-5)
    weighed = step(make(rows, contrast_weight=1.0))
    assert apart(weighed[1], of_sft) > 1e-3


def by_hand(model, tokenizer, rows, temperature, count):
    """The loss of rows with weight 2, each text run for itself, and what identifies the person."""
    nll, contrast, tokens, hits = 0.0, 0.0, 0, []
    for row in rows:
        totals = []
        for prompt in [row["prompt"], *row["strangers"][:count]]:
            encoded = encode(tokenizer, prompt, row["completion"])
            ids, mask = (torch.tensor(encoded[name]) for name in ("input_ids", "completion_mask"))
            with torch.no_grad():
                log_probs = model(ids[None]).logits[0].log_softmax(dim=-1)
            totals.append(log_probs[:-1].gather(1, ids[1:, None])[:, 0][mask[1:].bool()].sum())
        n = int(mask.sum())
        scale = 1 if temperature is None else n * temperature
        contrast += scale * ((torch.stack(totals) / scale).logsumexp(dim=0) - totals[0] / scale).item()
        nll, tokens = nll - totals[0].item(), tokens + n
        hits.append(all(totals[0] > total for total in totals[1:]))
    return nll / tokens, contrast / tokens, sum(hits) / len(hits)


@pytest.mark.parametrize("temperature", [None, 0.1])
def test_the_loss_is_that_of_texts_run_one_by_one(temperature, make, tokenizer):
    """So padding does not matter, nor what else is in the batch."""
    rows = message_rows()
    everybody = {"random_strangers": 4, "nearest_strangers": 3}
    trainer = make(rows, contrast_weight=2.0, contrast_temperature=temperature, **everybody)
    loss, _, metrics = step(trainer)
    nll, contrast, hits = by_hand(trainer.model, tokenizer, rows, temperature, 7)
    assert loss == pytest.approx(nll + 2 * contrast, rel=1e-6)
    found = {name: metrics[name] for name in ("nll", "contrast", "identified")}
    assert found == pytest.approx({"nll": nll, "contrast": contrast, "identified": hits}, rel=1e-6)


def test_the_order_of_strangers_does_not_matter(make):
    rows = message_rows(counts=(4, 4))
    turned = [{**row, "strangers": row["strangers"][::-1]} for row in rows]
    first, second = (step(make(part, random_strangers=4)) for part in (rows, turned))
    assert first[0] == pytest.approx(second[0], rel=1e-9)
    assert apart(first[1], second[1]) < 1e-6


def test_strangers_who_show_the_same_pull_at_nothing_and_are_no_hit(make):
    rows = [{**row, "strangers": [row["prompt"]] * 3} for row in message_rows()]
    loss, gradients, metrics = step(make(rows, contrast_temperature=None, random_strangers=3))
    expected, of_sft, _ = step(make(rows, sft=True))
    tokens = sum(label != -100 for row in make(rows).train_dataset["labels"] for label in row)
    assert loss == pytest.approx(expected + 4 * torch.tensor(4.0).log().item() / tokens, rel=1e-6)
    assert apart(gradients, of_sft) < 1e-6  # all totals move alike
    assert metrics["identified"] == 0
    assert metrics["nll_strangers"] == pytest.approx(metrics["nll"], rel=1e-9)


def test_accumulated_steps_are_those_of_one_batch(make):
    """Dialogues of unequal lengths, and of unequal counts of strangers: each token counts the same."""
    rows = message_rows(counts=(3, 1, 2, 4), seed=3)
    settings = {"max_steps": 2, "optim": "sgd", "learning_rate": 0.1, "lr_scheduler_type": "constant"}
    whole = make(rows, **settings)
    parts = make(rows, per_device_train_batch_size=1, gradient_accumulation_steps=4, **settings)
    for trainer in (whole, parts):
        trainer.train()
    losses = [[entry["loss"] for entry in trainer.state.log_history if "loss" in entry] for trainer in (whole, parts)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-6)
    assert losses[0][0] == pytest.approx(step(make(rows))[0], rel=1e-6)  # by the own replies' tokens, counted once
    assert apart(dict(whole.model.named_parameters()), dict(parts.model.named_parameters())) < 1e-6


PEOPLE, NOISE = 6, range(20, 60)


def world(count, seed):
    """Rows in which a prompt holds a person's word among others, and the completion the person's other word."""
    chance = random.Random(seed)

    def hide(word, length):
        words = chance.choices(NOISE, k=length)
        words.insert(chance.randrange(length + 1), word)
        return words

    rows = []
    for person in (number % PEOPLE for number in range(count)):
        prompt, completion = hide(3 + person, 6), hide(60 + person, 5)
        strangers = [hide(3 + other, 6) for other in range(PEOPLE) if other != person]
        labels = [-100] * len(prompt) + completion
        rows.append({"input_ids": prompt + completion, "labels": labels, "strangers": strangers})
    return rows


def test_in_as_many_steps_it_finds_the_person_more_often_than_msl_and_knows_replies_no_worse(make, tiny_llama):
    settings = {
        "max_steps": 40, "learning_rate": 1e-2, "lr_scheduler_type": "constant", "per_device_train_batch_size": 16,
        "per_device_eval_batch_size": 32, "random_strangers": 3, "logging_steps": 40,
    }  # fmt: skip
    found = {}
    for weight in (0.0, 3.0):
        model = tiny_llama(vocab_size=70, pad_token_id=0, bos_token_id=1, eos_token_id=2)
        trainer = make(world(240, 5), model=model, contrast_weight=weight, **settings)
        trainer.train()
        found[weight] = trainer.evaluate(Dataset.from_list(world(96, 6)))
    msl, contrast = found[0.0], found[3.0]
    assert contrast["eval_identified"] > msl["eval_identified"] + 0.15
    assert contrast["eval_nll"] < msl["eval_nll"]
    assert contrast["eval_nll_strangers"] - contrast["eval_nll"] > msl["eval_nll_strangers"] - msl["eval_nll"] + 0.1
    for weight, metrics in found.items():
        assert metrics["eval_loss"] == pytest.approx(metrics["eval_nll"] + weight * metrics["eval_contrast"], rel=1e-4)


def test_an_adapter_with_gradient_checkpointing_learns_the_same(make):
    def trained(**settings):
        torch.manual_seed(0)
        adapter = LoraConfig(r=4, target_modules=["q_proj", "v_proj"], task_type="CAUSAL_LM", init_lora_weights=False)
        trainer = make(message_rows(), peft_config=adapter, max_steps=1, optim="sgd", learning_rate=1.0, **settings)
        before = {name: values.detach().clone() for name, values in trainer.model.named_parameters()}
        trainer.train()
        after = dict(trainer.model.named_parameters())
        assert {name.rpartition("lora_")[1] for name in after if not after[name].equal(before[name])} == {"lora_"}
        return after

    plain, checkpointed = trained(), trained(gradient_checkpointing=True)
    assert apart(plain, checkpointed) < 1e-9


def test_an_evaluation_compares_with_the_same_strangers_at_any_step(make):
    trainer = make(message_rows(counts=(7, 7)), eval_strategy="no")
    rows = Dataset.from_list(message_rows(counts=(7, 7)))
    trainer.state.global_step = 3
    first = trainer.evaluate(rows)["eval_contrast"]
    trainer.state.global_step = 8
    assert trainer.evaluate(rows)["eval_contrast"] == first
    drawn = []
    for step in range(8):
        trainer.model.train()
        trainer.state.global_step = step
        drawn.append(trainer._drawn(torch.ones(1, 8, 3))[1].tolist())
    assert len({*map(tuple, drawn)}) > 3


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"contrast_weight": -1.0}, "contrast_weight must be"), ({"contrast_temperature": 0.0}, "must be above 0"),
        ({"random_strangers": 5}, "random_strangers must be 0 to 4"), ({"nearest_strangers": 4}, "0 to 3"),
        ({"random_strangers": 0, "nearest_strangers": 0}, "nobody to compare with"),
        ({"loss_type": "dft"}, "the plain NLL"), ({"label_smoothing_factor": 0.1}, "the plain NLL"),
        ({"max_length": 1024}, "would cut the end"),
        ({"padding_free": True}, "not supported"), ({"assistant_only_loss": True}, "not supported"),
    ],
)  # fmt: skip
def test_settings_that_have_no_meaning_are_refused(settings, told, tmp_path):
    with pytest.raises(ValueError, match=told):
        ContrastConfig(str(tmp_path), bf16=False, use_cpu=True, **settings)


def test_rows_without_strangers_are_refused(make):
    rows = [{name: row[name] for name in ("prompt", "completion")} for row in message_rows()]
    with pytest.raises(ValueError, match="found no strangers among: prompt, completion"):
        make(rows)
    with pytest.raises(ValueError, match="compute_metrics"):
        make(message_rows(), compute_metrics=len)


def test_a_run_that_goes_on_ends_as_one_that_was_not_broken_off(make, tmp_path):
    """The strangers of a step are those of its number."""
    settings = {"save_strategy": "steps", "save_steps": 2, "lr_scheduler_type": "constant", "learning_rate": 1e-2}
    rows = message_rows(counts=(7, 7, 7, 7))
    whole = make(rows, max_steps=4, **settings)
    whole.train()
    rest = make(rows, max_steps=4, **settings)
    rest.train(resume_from_checkpoint=str(tmp_path / "checkpoint-2"))
    losses = [[entry["loss"] for entry in trainer.state.log_history if "loss" in entry] for trainer in (whole, rest)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-6)
    assert apart(dict(whole.model.named_parameters()), dict(rest.model.named_parameters())) < 1e-6


def test_padding_that_only_prompts_not_drawn_needed_is_not_run(make):
    rows = message_rows(counts=(2, 2))
    long = [{"role": "user", "content": " ".join(WORDS * 8)}]
    with_long = [{**row, "strangers": [*row["strangers"], long]} for row in rows]
    widths, found = [], []
    for part in (rows, with_long):
        trainer = make(part, eval_strategy="no", random_strangers=2, nearest_strangers=0)
        trainer.model.model.embed_tokens.register_forward_hook(lambda _, ids, __: widths.append(ids[0].shape))
        found.append(trainer.evaluate(Dataset.from_list(part))["eval_loss"])
    assert found[0] == pytest.approx(found[1], rel=1e-9)
    assert widths[: len(widths) // 2] == widths[len(widths) // 2 :]
