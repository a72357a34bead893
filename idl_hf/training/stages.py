"""The stages, from the name of a dataset to a saved adapter: MSL (supervised, paper 3.2), without and with a contrast,
and DPOC (paper 3.3)."""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

import torch
from datasets import Dataset
from peft import PeftModel
from transformers import BitsAndBytesConfig, PreTrainedTokenizerBase
from transformers.utils import is_bitsandbytes_available
from trl import DPOConfig, ModelConfig, SFTConfig, SFTTrainer, get_peft_config, get_quantization_config

from idl_hf import prompting
from idl_hf.contrast.config import ContrastConfig
from idl_hf.contrast.trainer import ContrastTrainer
from idl_hf.dpoc.config import DPOCConfig
from idl_hf.dpoc.lora import keep_trainable, restore_weights, trained_weights
from idl_hf.dpoc.trainer import DPOCTrainer
from idl_hf.machine import settle_precision
from idl_hf.models.identity import is_adapter
from idl_hf.models.limits import position_count
from idl_hf.models.loading import LoadedModel, load_model
from idl_hf.models.offline import resolve_model
from idl_hf.registration import is_public_corpus
from idl_hf.training.data import DataArguments, fit_rows
from idl_hf.training.run import run
from idl_hf.training.strangers import gather_strangers, load_beside_strangers

logger = logging.getLogger(__name__)
_Trainer = TypeVar("_Trainer", SFTTrainer, ContrastTrainer, DPOCTrainer)


@dataclass
class MSLConfig(SFTConfig):
    """SFTConfig with bfloat16 only where the machine computes fast in it."""

    def __post_init__(self) -> None:
        settle_precision(self)
        super().__post_init__()


def train_msl(data: DataArguments, args: SFTConfig, model_args: ModelConfig) -> SFTTrainer:
    """Train on the msl rows, the loss on the person's replies only, and save to `args.output_dir`."""
    learnt = "MSL learns the replies only, of prompts that max_prompt_tokens fits by whole dialogues"
    learn_completions_only(args, learnt)
    loaded = model_to_train(args, model_args)
    fitted = _fitted_rows(partial(data.load, "msl"), data, args, loaded, per_dialogue=data.budget_per == "dialogue")
    with args.main_process_first(desc="tokenizing"):
        encoded = {name: _encode(rows, loaded.tokenizer) for name, rows in fitted.items()}
    return train_on(SFTTrainer, loaded, encoded, data, args, model_args)


def train_contrast(data: DataArguments, args: ContrastConfig, model_args: ModelConfig) -> ContrastTrainer:
    """Train on the msl rows as MSL does, from an MSL adapter or a plain model, with the contrast between the person's
    references and those of strangers, and save to `args.output_dir`."""
    learn_completions_only(args, "The contrast learns the replies only, of prompts that max_prompt_tokens fits")
    if data.budget_per == "row":
        raise ValueError(
            "budget_per='row' cuts each prompt of a dialogue for itself, so their lengths would tell whose they are. "
            "Leave it out: here all of them lose as many references."
        )
    loaded = model_to_train(args, model_args)
    fitted = _fitted_rows(partial(load_beside_strangers, data), data, args, loaded, per_dialogue=True)
    with args.main_process_first(desc="gathering strangers"):
        gathered = {name: gather_strangers(rows) for name, rows in fitted.items()}
    return train_on(ContrastTrainer, loaded, gathered, data, args, model_args)


def train_dpoc(data: DataArguments, args: DPOCConfig, model_args: ModelConfig) -> DPOCTrainer:
    """Train on the dpoc rows, from an MSL adapter (which becomes the reference) or a plain model, and save."""
    loaded = model_to_train(args, model_args)
    together = args.prefix_sharing == "dialogue" if data.budget_per == "auto" else data.budget_per == "dialogue"
    fitted = _fitted_rows(partial(data.load, "dpoc"), data, args, loaded, per_dialogue=together)
    reference = {}
    if model_args.model_revision != "main" and not (model_args.use_peft or isinstance(loaded.model, PeftModel)):
        reference = {"ref_model": model_to_train(args, model_args).model}  # TRL would load it from main
    return train_on(DPOCTrainer, loaded, fitted, data, args, model_args, **reference)


def learn_completions_only(args: SFTConfig, what_is_learnt: str) -> None:
    """Set `args` to learn whole completions and nothing else. Raises ValueError where they say otherwise."""
    if args.max_length not in (None, SFTConfig.max_length) or args.completion_only_loss is False or args.packing:
        raise ValueError(
            f"{what_is_learnt}: max_length, packing and completion_only_loss=False cannot be combined with it."
        )
    args.max_length = None  # TRL's cut would take the end, which is what is learnt
    args.completion_only_loss = True


def model_to_train(args: SFTConfig | DPOConfig, model_args: ModelConfig) -> LoadedModel:
    """Load the model or adapter that is named, with its tokenizer. Raises ValueError where none is."""
    if model_args.model_name_or_path is None:
        raise ValueError("Pass --model_name_or_path: a Hub id, a folder with a model or an adapter, or 'offline'.")
    dtype = None if model_args.dtype in (None, "auto") else getattr(torch, model_args.dtype)
    options: dict[str, Any] = {
        "attn_implementation": model_args.attn_implementation,
        "trust_remote_code": args.trust_remote_code,
    }
    if model_args.model_revision != "main":
        options["revision"] = model_args.model_revision
    if (quantization := _quantization(args, model_args)) is not None:
        options["quantization_config"] = quantization
    loaded = load_model(model_args.model_name_or_path, trainable=True, dtype=dtype, **options)
    keep_trainable(loaded.model)
    return loaded


def _quantization(args: SFTConfig | DPOConfig, model_args: ModelConfig) -> BitsAndBytesConfig | None:
    """Return how the base model's weights are kept in 4 bits (QLoRA), None where they are not. Raises ValueError for
    what does not train so, ModuleNotFoundError where bitsandbytes is missing."""
    if model_args.load_in_8bit:
        raise ValueError("--load_in_8bit is not supported; pass --load_in_4bit (QLoRA), which takes less memory.")
    if not model_args.load_in_4bit:
        return None
    if not (model_args.use_peft or is_adapter(resolve_model(str(model_args.model_name_or_path)))):
        raise ValueError("--load_in_4bit keeps the weights of the model fixed, so an adapter is trained: --use_peft.")
    if not is_bitsandbytes_available():
        raise ModuleNotFoundError(
            "--load_in_4bit needs bitsandbytes, 0.46.1 or newer, which computes in 4 bits on NVIDIA GPUs and on most "
            "CPUs. Install it with `pip install bitsandbytes`, or leave --load_in_4bit out."
        )
    config = get_quantization_config(model_args)
    assert config is not None
    config.bnb_4bit_compute_dtype = torch.bfloat16 if args.bf16 else torch.float32  # as the rest of the model
    return config


def train_on(
    kind: type[_Trainer],
    loaded: LoadedModel,
    rows: Mapping[str, Dataset],
    data: Any,
    args: Any,
    model_args: ModelConfig,
    **more: Any,
) -> _Trainer:
    """Train a model on the rows of "train", evaluate it on those of "eval" if any, save it and return the trainer.
    more: what the trainer takes besides."""
    if isinstance(data, DataArguments) and not is_public_corpus(data.dataset_name) and args.hub_private_repo is None:
        args.hub_private_repo = True  # what may be somebody's own logs, should it be pushed
    if isinstance(loaded.model, PeftModel):
        _warn_of_other_sizes(loaded.model, model_args)
    adapter = trained_weights(loaded.model)
    trainer = kind(
        model=loaded.model,
        args=args,
        train_dataset=rows["train"],
        eval_dataset=rows.get("eval"),
        processing_class=loaded.tokenizer,
        # The adapter of a PeftModel goes on training
        peft_config=None if isinstance(loaded.model, PeftModel) else get_peft_config(model_args),
        **more,
    )
    restore_weights(trainer.model, adapter)
    run(trainer, data, model_args)
    return trainer


def _warn_of_other_sizes(model: PeftModel, model_args: ModelConfig) -> None:
    """Log where sizes are given that an adapter does not have, which goes on training as it is."""
    given, has = get_peft_config(model_args), model.peft_config["default"]
    names = [name for name in ("r", "lora_alpha") if getattr(given, name, None) != getattr(has, name, None)]
    if given is not None and names:
        differing = ", ".join(f"{name} {getattr(has, name, None)} and not {getattr(given, name)}" for name in names)
        logger.warning(f"'{model_args.model_name_or_path}' goes on training as it is, with {differing}.")


def _fitted_rows(
    load: Callable[[str], Dataset],
    data: DataArguments,
    args: SFTConfig | DPOConfig,
    loaded: LoadedModel,
    per_dialogue: bool,
) -> dict[str, Dataset]:
    """Return the rows to train on ("train") and, where there is evaluation, those for it ("eval"); load: a split's."""
    splits = {"train": load(data.train_split)}
    if data.eval_split is not None and args.eval_strategy != "no":
        splits["eval"] = load(data.eval_split)
    with args.main_process_first(desc="fitting prompts"):
        positions = position_count(loaded.model.config)
        return {
            name: fit_rows(rows, loaded.tokenizer, data.max_prompt_tokens, positions, per_dialogue)
            for name, rows in splits.items()
        }


def _encode(rows: Dataset, tokenizer: PreTrainedTokenizerBase) -> Dataset:
    def encode(row: dict) -> dict[str, list[int]]:
        return prompting.encode(tokenizer, row["prompt"], row["completion"])

    return rows.map(encode, remove_columns=rows.column_names, desc="Tokenizing")
