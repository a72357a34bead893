"""With penalty 0, DPOCTrainer is TRL's DPOTrainer: loss, gradients and every shared metric, in both layouts.

TRL's own trainer computes the expected values here, so that a change of TRL shows.
"""

import copy

import pytest
import torch
from datasets import Dataset
from peft import LoraConfig
from trl import DPOConfig, DPOTrainer

from idl_hf import DPOCConfig, DPOCTrainer
from idl_hf.dpoc.trees import plant
from tests.dpoc.models import tiny, token_rows

ARCHITECTURES = ["Llama", "Qwen3", "Mistral", "Gemma3", "GPT2"]
LOSS_TYPES = [
    "sigmoid", "hinge", "ipo", "exo_pair", "nca_pair", "robust", "bco_pair", "sppo_hard", "aot", "aot_unpaired",
    "apo_zero", "apo_down", "discopop", "sft", "sigmoid_norm",
]  # fmt: skip
DIVERGENCES = ["forward_kl", "js_divergence", "alpha_divergence"]


TEXTS = Dataset.from_dict({name: [f" {name}"] * 4 for name in ("prompt", "chosen", "criterion", "rejected")})


def make(trainer_class, config_class, model, tokenizer, folder, **changes):
    """Return a trainer whose adapter is away from its reference. Nothing is trained."""
    settings = {
        "output_dir": str(folder), "per_device_train_batch_size": 4, "bf16": False, "use_cpu": True,
        "report_to": "none", "max_length": None, "gradient_checkpointing": False, "label_smoothing": 0.1,
        "loss_type": "sigmoid", "disable_tqdm": True, **changes,
    }  # fmt: skip
    linear = "all-linear" if model.config.model_type != "gpt2" else ["c_attn", "c_fc"]
    trainer = trainer_class(
        model=copy.deepcopy(model),
        args=config_class(**settings),
        train_dataset=TEXTS,  # TRL takes no tokens; those of these tests have a small vocabulary
        processing_class=tokenizer,
        peft_config=LoraConfig(r=4, task_type="CAUSAL_LM", target_modules=linear),
    )
    torch.manual_seed(5)
    for name, parameter in trainer.model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.02)
    return trainer


def step(trainer):
    """Loss, gradients and logged metrics of one batch of tokenized rows of unequal lengths."""
    trainer.model.zero_grad()
    trainer.model.train()
    trainer._metrics["train"].clear()
    rows = [plant([row]) for row in token_rows()] if getattr(trainer, "shares_prefix", False) else token_rows()
    batch = trainer.data_collator(rows)
    loss = trainer._compute_loss(trainer.model, batch, return_outputs=False)
    loss.backward()
    gradients = {name: p.grad.clone() for name, p in trainer.model.named_parameters() if p.grad is not None}
    return loss.item(), gradients, {name: values[0] for name, values in trainer._metrics["train"].items()}


def assert_equal_steps(ours, theirs, case):
    (loss, gradients, metrics), (their_loss, their_gradients, their_metrics) = step(ours), step(theirs)
    assert loss == pytest.approx(their_loss, rel=1e-5, abs=1e-6), case
    # discopop divides a difference of log-ratios by 0.05, and float32 rounds the log-probs that it is a difference of
    assert_equal_gradients(gradients, their_gradients, 1e-4 if case == "discopop" else 1e-5, case)
    for name, expected in their_metrics.items():
        if name != "num_tokens":  # ours counts the criterion's, and a shared prompt once
            assert metrics[name] == pytest.approx(expected, rel=1e-5, abs=1e-5), (case, name)


def assert_equal_gradients(found, expected, accuracy, case=None):
    """Compare the whole gradient to `accuracy`, each weight's less strictly: it may be a difference of large sums."""
    assert found.keys() == expected.keys()
    whole = torch.stack([gradient.norm() for gradient in expected.values()]).norm()
    differences = {name: (found[name] - gradient).norm() for name, gradient in expected.items()}
    assert torch.stack(list(differences.values())).norm() <= accuracy * whole, case
    for name, gradient in expected.items():
        assert differences[name] <= 10 * accuracy * gradient.norm() + 1e-2 * accuracy * whole, (case, name)


@pytest.fixture(params=ARCHITECTURES)
def model(request):
    return tiny(request.param)


@pytest.mark.parametrize("checkpointing", [None, "reentrant", "not reentrant"])
@pytest.mark.parametrize("sharing", [True, False])
def test_every_loss_type_on_every_architecture(sharing, checkpointing, model, tokenizer, tmp_path):
    options = {}
    if checkpointing is not None:
        kwargs = {"use_reentrant": checkpointing == "reentrant"}
        options = {"gradient_checkpointing": True, "gradient_checkpointing_kwargs": kwargs}
    ours = make(DPOCTrainer, DPOCConfig, model, tokenizer, tmp_path, penalty=0.0, prefix_sharing=sharing, **options)
    theirs = make(DPOTrainer, DPOConfig, model, tokenizer, tmp_path, **options)
    assert ours.shares_prefix is sharing
    if checkpointing is not None:  # the trainers switch it on when training starts
        for trainer in (ours, theirs):
            trainer.model.gradient_checkpointing_enable(kwargs)
    for loss_type in LOSS_TYPES:
        for trainer in (ours, theirs):
            trainer.loss_types = [loss_type]
        assert_equal_steps(ours, theirs, loss_type)
    for trainer in (ours, theirs):
        trainer.loss_types = ["sigmoid"]
    for divergence in DIVERGENCES:
        for trainer in (ours, theirs):
            trainer.f_divergence_type = divergence
        assert_equal_steps(ours, theirs, divergence)


@pytest.mark.parametrize("sharing", [True, False])
@pytest.mark.parametrize(
    "options",
    [
        {"loss_type": ["sigmoid", "bco_pair", "sft"], "loss_weights": [0.8, 0.2, 1.0]},
        {"loss_type": ["sigmoid", "apo_zero"], "use_weighting": True},
    ],
)
def test_weighted_losses_and_wpo(options, sharing, tokenizer, tmp_path):
    model = tiny("Llama")
    ours = make(DPOCTrainer, DPOCConfig, model, tokenizer, tmp_path, penalty=0.0, prefix_sharing=sharing, **options)
    assert_equal_steps(ours, make(DPOTrainer, DPOConfig, model, tokenizer, tmp_path, **options), "weighted")


@pytest.mark.parametrize("checkpointing", [False, True])
def test_layouts_agree_in_float64_on_every_loss_type(checkpointing, model, tokenizer, tmp_path):
    trainers = [
        make(DPOCTrainer, DPOCConfig, model.double(), tokenizer, tmp_path, penalty=2.0, prefix_sharing=sharing)
        for sharing in (True, False)
    ]
    for trainer in trainers:
        trainer.model.double()
        if checkpointing:
            trainer.model.gradient_checkpointing_enable()
    for loss_type in LOSS_TYPES:
        for trainer in trainers:
            trainer.loss_types = [loss_type]
        (packed, packed_gradients, _), (rows, gradients, _) = map(step, trainers)
        assert packed == pytest.approx(rows, rel=1e-12, abs=1e-12), loss_type
        assert_equal_gradients(packed_gradients, gradients, 1e-6, loss_type)  # RMSNorm is float32 in transformers


def test_full_fine_tuning_gives_the_same_gradients_of_every_weight(tokenizer, tmp_path):
    tiny("Llama").save_pretrained(tmp_path / "model")
    settings = {"output_dir": str(tmp_path), "bf16": False, "use_cpu": True, "report_to": "none", "max_length": None}
    found = {}
    for trainer_class, config_class in ((DPOCTrainer, DPOCConfig), (DPOTrainer, DPOConfig)):
        extra = {"penalty": 0.0, "prefix_sharing": True} if trainer_class is DPOCTrainer else {}
        trainer = trainer_class(
            model=str(tmp_path / "model"),
            args=config_class(**settings, **extra),
            train_dataset=TEXTS,
            processing_class=tokenizer,
        )
        torch.manual_seed(5)
        with torch.no_grad():
            for parameter in trainer.model.parameters():
                parameter.add_(0.01 * torch.randn_like(parameter))
        found[trainer_class] = step(trainer)
    (loss, gradients, _), (their_loss, their_gradients, _) = found[DPOCTrainer], found[DPOTrainer]
    assert loss == pytest.approx(their_loss, rel=1e-5)
    assert_equal_gradients(gradients, their_gradients, 1e-5)
