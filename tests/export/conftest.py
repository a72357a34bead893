"""Adapters that change their base much, beside that base."""

from pathlib import Path

import pytest


@pytest.fixture
def make_adapter(tokenizer, tmp_path):
    """Makes a folder "adapter" beside "base": make_adapter(architecture, tied, config or options of LoRA)."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    from tests.dpoc.models import tiny

    def make(architecture: str = "Llama", tied: bool = True, config=None, **options) -> Path:
        special = {name: getattr(tokenizer, name) for name in ("bos_token_id", "eos_token_id", "pad_token_id")}
        length = "n_positions" if architecture == "GPT2" else "max_position_embeddings"
        sizes = {"vocab_size": len(tokenizer), length: 2048, "tie_word_embeddings": tied, **special}
        tiny(architecture, **sizes).save_pretrained(tmp_path / "base")
        tokenizer.save_pretrained(tmp_path / "base")
        base = AutoModelForCausalLM.from_pretrained(tmp_path / "base")
        adapter = get_peft_model(base, config or LoraConfig(task_type="CAUSAL_LM", r=4, **options))
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(3)
            for parameter in adapter.parameters():
                if parameter.requires_grad:
                    torch.nn.init.normal_(parameter, std=0.3)
        adapter.save_pretrained(tmp_path / "adapter")
        return tmp_path / "adapter"

    return make
