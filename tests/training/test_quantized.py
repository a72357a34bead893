"""QLoRA: both stages on a base in 4 bits, where bitsandbytes computes on this machine."""

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import BitsAndBytesConfig
from trl import ModelConfig, SFTConfig

from idl_hf import DPOCConfig, DPOCTrainer, PersonaChat
from idl_hf.models.loading import load_model
from idl_hf.training.data import DataArguments, fit_rows
from idl_hf.training.stages import train_dpoc, train_msl
from tests.training.test_stages import stage

REASON = "bitsandbytes is not installed; `pip install bitsandbytes` to train in 4 bits."


@pytest.fixture
def data(sample_data):
    options = {"encoder": "offline", "references": 1}
    return DataArguments("idl_hf/dialogues_idl", str(sample_data), options, max_rows=4, max_prompt_tokens=400)


def quantized(name, **changes):
    return ModelConfig(model_name_or_path=name, use_peft=True, lora_r=4, load_in_4bit=True, **changes)


@pytest.mark.slow
def test_both_stages_train_on_a_base_in_4_bits(data, base, tmp_path):
    pytest.importorskip("bitsandbytes", reason=REASON)
    settings = {"max_steps": 6, "save_steps": 100, "gradient_accumulation_steps": 1, "lr_scheduler_type": "constant"}
    msl = train_msl(data, SFTConfig(**stage(tmp_path / "msl", **settings)), quantized(str(base)))
    assert type(msl.model.base_model.model.model.layers[0].mlp.up_proj).__name__ == "Linear4bit"
    losses = [entry["loss"] for entry in msl.state.log_history if "loss" in entry]
    assert losses[-1] < losses[0]
    for sharing in (False, True, "dialogue"):
        folder = tmp_path / f"dpoc-{sharing}"
        args = DPOCConfig(**stage(folder, prefix_sharing=sharing, **(settings | {"max_steps": 3})))
        trainer = train_dpoc(data, args, quantized(str(tmp_path / "msl")))
        first, *_, last = [entry for entry in trainer.state.log_history if "loss" in entry]
        assert [first[f"rewards/{name}"] for name in ("chosen", "criterion", "rejected")] == [0, 0, 0]
        assert last["rewards/chosen"] != 0
        assert {p.dtype for n, p in trainer.model.named_parameters() if "lora_" in n} == {torch.float32}
    chat = PersonaChat.from_pretrained(str(tmp_path / "dpoc-dialogue"))
    assert isinstance(chat._model.model, PeftModel)
    chat.add_dialogue([("partner", "any plans ?"), ("self", "i am feeding my goats .")])
    chat.reply("hi", max_new_tokens=4)
    assert chat.new_tokens == chat.prompt_tokens > 0


@pytest.fixture
def base(tiny_llama, tokenizer, tmp_path):
    """A tiny model, and an adapter on it whose every weight counts."""
    folder = tmp_path / "base"
    tiny_llama(hidden_size=64, intermediate_size=128).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    adapter = get_peft_model(load_model(str(folder), trainable=True).model, LoraConfig(target_modules="all-linear"))
    for number, weight in enumerate(weight for weight in adapter.parameters() if weight.requires_grad):
        torch.nn.init.normal_(weight, std=0.05, generator=torch.Generator().manual_seed(number))
    adapter.save_pretrained(tmp_path / "adapter")
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("sharing", [False, "dialogue"])
def test_gradients_are_those_on_the_same_weights_in_float32(base, data, tokenizer, sharing, tmp_path):
    """With and without checkpoints; the packed attention, too, must not notice what the layers hold."""
    pytest.importorskip("bitsandbytes", reason=REASON)
    in_4_bits = BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=torch.float32)
    rows = fit_rows(data.load("dpoc", "train"), tokenizer, data.max_prompt_tokens, per_dialogue=True)

    def gradients(checkpoints: bool, **options) -> dict[str, torch.Tensor]:
        model = load_model(str(tmp_path / "adapter"), trainable=True, **options).model
        settings = stage(tmp_path / "run", prefix_sharing=sharing, gradient_checkpointing=checkpoints)
        trainer = DPOCTrainer(model, args=DPOCConfig(**settings), train_dataset=rows, processing_class=tokenizer)
        with torch.no_grad():  # as an evaluation between two steps
            trainer.model.eval()(input_ids=torch.tensor([[1, 2, 3]]))
        trainer.model.train()
        batch = trainer._prepare_inputs(next(iter(trainer.get_train_dataloader())))
        trainer.compute_loss(trainer.model, batch).backward()
        kept = {name: p.grad for name, p in trainer.model.named_parameters() if p.requires_grad}
        assert {gradient.dtype for gradient in kept.values()} == {torch.float32}
        return kept

    found = gradients(False, quantization_config=in_4_bits)
    checkpointed = gradients(True, quantization_config=in_4_bits)
    exact = load_model(str(base), dtype=torch.float32, quantization_config=in_4_bits).model
    exact.dequantize().save_pretrained(base)
    expected = gradients(False)
    scale = max(float(gradient.abs().max()) for gradient in expected.values())
    assert scale > 1e-3
    assert found.keys() == checkpointed.keys() == expected.keys()
    for name, gradient in expected.items():
        for other in (found[name], checkpointed[name]):
            assert torch.allclose(other, gradient, rtol=1e-4, atol=1e-5 * scale), name


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"load_in_4bit": False, "load_in_8bit": True}, "--load_in_8bit is not supported"),
        ({"use_peft": False}, "an adapter is trained: --use_peft"),
    ],
)
def test_what_does_not_train_so_is_refused(data, changes, message, tmp_path):
    asked = {"model_name_or_path": "offline", "use_peft": True, "load_in_4bit": True} | changes
    with pytest.raises(ValueError, match=message):
        train_msl(data, SFTConfig(**stage(tmp_path)), ModelConfig(**asked))


def test_without_bitsandbytes_it_is_said_what_to_install(data, tmp_path):
    try:
        import bitsandbytes
    except ImportError:
        with pytest.raises(ModuleNotFoundError, match=r"needs bitsandbytes.*pip install bitsandbytes"):
            train_msl(data, SFTConfig(**stage(tmp_path)), quantized("offline"))
    else:
        pytest.skip(f"bitsandbytes {bitsandbytes.__version__} is installed.")
