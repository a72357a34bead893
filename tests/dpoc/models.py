"""Tiny models of random weights, by architecture, in float64 and far enough from uniform that a wrong mask shows."""

import torch
import transformers
from transformers import PreTrainedModel

_SIZES = {
    "vocab_size": 97, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 3, "num_attention_heads": 4,
    "num_key_value_heads": 2, "head_dim": 8, "max_position_embeddings": 128, "pad_token_id": 0, "bos_token_id": 1,
    "eos_token_id": 2,
}  # fmt: skip
_GPT2 = {"vocab_size": 97, "n_embd": 32, "n_layer": 3, "n_head": 4, "n_positions": 128, "resid_pdrop": 0.0,
         "attn_pdrop": 0.0, "embd_pdrop": 0.0, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}  # fmt: skip

# What differs from _SIZES. Windows are shorter than the longest prompt of the tests.
SHARING = {
    "Llama": {},
    "Mistral": {"sliding_window": 7},
    "Qwen2": {},
    "Qwen3": {"use_sliding_window": True, "sliding_window": 5, "max_window_layers": 1},
    "Gemma3": {"sliding_window": 6, "layer_types": ["sliding_attention", "full_attention", "sliding_attention"]},
    "GPT2": {},
    "Phi3": {"sliding_window": 9},
    "GPTNeoX": {"hidden_dropout": 0.0, "attention_dropout": 0.0},
    "Olmo2": {},
    "OPT": {"ffn_dim": 48, "word_embed_proj_dim": 32, "dropout": 0.0},
    "SmolLM3": {},
    "Cohere2": {"sliding_window": 4, "layer_types": ["sliding_attention", "sliding_attention", "full_attention"]},
}
NOT_SHARING = {
    "Bloom": ({"n_layer": 2, "n_head": 4}, "does not take an attention function"),
    "Mpt": ({"d_model": 32, "n_heads": 4, "n_layers": 2}, "does not take an attention function"),
    "Falcon": ({"head_dim": None}, "does not take an attention function"),
    "Gemma2": ({}, "attn_implementation='eager'"),
    "GptOss": ({"num_local_experts": 2, "num_experts_per_tok": 1}, "attn_implementation='eager'"),
    "Llama4": ({}, "chunked_attention"),
    "Qwen2Moe": ({"use_sliding_window": True, "sliding_window": 4}, "by a mask alone"),
}


def tiny(name: str, seed: int = 0, **changes: object) -> PreTrainedModel:
    special = {"Gemma3": "Gemma3TextConfig", "Llama4": "Llama4TextConfig"}
    config_class = getattr(transformers, special.get(name, f"{name}Config"))
    model_class = getattr(transformers, {"GPT2": "GPT2LMHeadModel"}.get(name, f"{name}ForCausalLM"))
    specific = SHARING.get(name) if name in SHARING else NOT_SHARING[name][0]
    sizes = {**(_GPT2 if name == "GPT2" else _SIZES), **specific, **changes}
    config = config_class(**{key: value for key, value in sizes.items() if value is not None})
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = model_class(config).eval()
        for parameter in model.parameters():
            if parameter.ndim > 1:
                torch.nn.init.normal_(parameter, std=0.3)
    return model


def token_rows(
    lengths: tuple = ((12, 4, 3, 5), (5, 1, 2, 3), (1, 3, 3, 1), (23, 2, 6, 2)), seed: int = 1, highest: int = 97
) -> list[dict]:
    """Rows of (prompt, chosen, criterion, rejected) of these lengths, of the tokens 3 to `highest` - 1."""
    generator = torch.Generator().manual_seed(seed)
    names = ("prompt_ids", "chosen_ids", "criterion_ids", "rejected_ids")
    return [
        {
            name: torch.randint(3, highest, (length,), generator=generator).tolist()
            for name, length in zip(names, row, strict=True)
        }
        for row in lengths
    ]
