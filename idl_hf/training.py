"""The two stages: MSL (supervised, paper 3.2) and DPOC (paper 3.3), from a dataset name to a saved adapter.

examples/train_msl.py and examples/train_dpoc.py parse their arguments and call these.
"""

import json
import os
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from datasets import Dataset, load_dataset
from transformers.trainer_utils import get_last_checkpoint
from transformers.utils.logging import get_logger
from trl import ModelConfig, SFTConfig, SFTTrainer, get_peft_config, get_quantization_config

from idl_hf import prompting
from idl_hf.dpoc.config import DPOCConfig
from idl_hf.dpoc.trainer import DPOCTrainer
from idl_hf.hub import load_model

logger = get_logger(__name__)


@dataclass
class DataArguments:
    """Which rows to train on."""

    dataset_name: str = field(
        default="idl_hf/convai2_idl", metadata={"help": "idl_hf/convai2_idl, idl_hf/dialogues_idl, or a Hub dataset."}
    )
    data_dir: str | None = field(default=None, metadata={"help": "Folder with the raw files of the corpus."})
    dataset_options: dict | str | None = field(
        default=None,
        metadata={"help": 'Builder options as JSON or YAML, such as {"targets": "all", "encoder": "offline"}.'},
    )
    train_split: str = field(default="train", metadata={"help": "Split to train on; slices such as train[:100] work."})
    eval_split: str | None = field(default=None, metadata={"help": "Split for eval_strategy."})
    max_prompt_tokens: int | None = field(
        default=2048,
        metadata={
            "help": "Drops whole reference dialogues from the front of longer prompts; never cuts the current one."
        },
    )

    max_rows: int | None = field(default=None, metadata={"help": "Trains on this many rows, drawn at random."})

    def __post_init__(self) -> None:
        if isinstance(self.dataset_options, str):
            self.dataset_options = json.loads(self.dataset_options)
        self.dataset_options = {} if self.dataset_options is None else self.dataset_options

    def load(self, config: str, split: str | None, **kwargs: Any) -> Any:
        """The rows of a split, or a dict of all."""
        options: dict[str, Any] = {**self.dataset_options, **kwargs}  # type: ignore[dict-item]
        if self.data_dir is not None:
            options["data_dir"] = self.data_dir
        rows = load_dataset(self.dataset_name, config, split=split, **options)
        if split is None or self.max_rows is None or len(rows) <= self.max_rows:
            return rows
        return rows.shuffle(seed=0).select(range(self.max_rows))


def train_msl(data: DataArguments, args: SFTConfig, model_args: ModelConfig) -> SFTTrainer:
    """Supervised fine-tuning on the msl rows, the loss on the person's replies only. Saves to `args.output_dir`."""
    model, tokenizer = _model(model_args)
    args.max_length = None  # prompts were fitted by whole dialogues; TRL's cut would take the end, which is the reply
    args.completion_only_loss = True
    splits = _splits(data, "msl", args.eval_strategy)
    encoded = {
        name: _encode_msl(fit_rows(rows, tokenizer, data.max_prompt_tokens), tokenizer)
        for name, rows in splits.items()
    }
    trainer = SFTTrainer(
        model=model,
        args=args,
        train_dataset=encoded["train"],
        eval_dataset=encoded.get("eval"),
        processing_class=tokenizer,
        peft_config=_peft_config(model, model_args),
    )
    return _run(trainer, data)


def train_dpoc(data: DataArguments, args: DPOCConfig, model_args: ModelConfig) -> DPOCTrainer:
    """DPOC on the dpoc rows, from an MSL adapter (which becomes the reference) or a plain model."""
    model, tokenizer = _model(model_args)
    fitted = {
        name: fit_rows(rows, tokenizer, data.max_prompt_tokens)
        for name, rows in _splits(data, "dpoc", args.eval_strategy).items()
    }
    trainer = DPOCTrainer(
        model=model,
        args=args,
        train_dataset=fitted["train"],
        eval_dataset=fitted.get("eval"),
        processing_class=tokenizer,
        peft_config=_peft_config(model, model_args),
    )
    return _run(trainer, data)


def fit_rows(rows: Dataset, tokenizer: Any, max_prompt_tokens: int | None) -> Dataset:
    """Rows whose prompts keep within the budget, with a column `dropped_references`; what was dropped is logged."""
    if max_prompt_tokens is None or "dialogue_starts" not in rows.column_names:
        return rows
    fitted = rows.map(
        partial(_fit_row, tokenizer=tokenizer, max_prompt_tokens=max_prompt_tokens), desc="Fitting prompts"
    )
    dropped = [count for count in fitted["dropped_references"] if count]
    if dropped:
        logger.warning(
            f"{len(dropped)} of {len(fitted)} prompts exceeded {max_prompt_tokens} tokens and lost {sum(dropped)} "
            "reference dialogues in all."
        )
    return fitted


def _fit_row(row: dict[str, Any], tokenizer: Any, max_prompt_tokens: int) -> dict[str, Any]:
    count = prompting.token_counter(tokenizer)
    prompt, dropped = prompting.fit_to_budget(row["prompt"], row["dialogue_starts"], max_prompt_tokens, count)
    return {"prompt": prompt, "dropped_references": dropped}


def _encode_msl(rows: Dataset, tokenizer: Any) -> Dataset:
    def encode(row: dict[str, Any]) -> dict[str, list[int]]:
        return prompting.encode(tokenizer, row["prompt"], row["completion"])

    return rows.map(encode, remove_columns=rows.column_names, desc="Tokenizing")


def _model(model_args: ModelConfig) -> tuple[Any, Any]:
    import torch

    if model_args.model_name_or_path is None:
        raise ValueError("Pass --model_name_or_path: a Hub id, a folder with a model or an adapter, or 'offline'.")
    if get_quantization_config(model_args) is not None:
        raise ValueError("Quantized training is not wired up in these scripts; pass a quantized model to the trainer.")
    dtype = None if model_args.dtype in (None, "auto") else getattr(torch, model_args.dtype)
    return load_model(model_args.model_name_or_path, trainable=True, dtype=dtype)


def _peft_config(model: Any, model_args: ModelConfig) -> Any:
    """None for a PeftModel: its own adapter goes on training."""
    from peft import PeftModel

    return None if isinstance(model, PeftModel) else get_peft_config(model_args)


def _splits(data: DataArguments, config: str, eval_strategy: Any) -> dict[str, Dataset]:
    splits = {"train": data.load(config, data.train_split)}
    if data.eval_split is not None and str(getattr(eval_strategy, "value", eval_strategy)) != "no":
        splits["eval"] = data.load(config, data.eval_split)
    return splits


def _run(trainer: Any, data: DataArguments) -> Any:
    resume = trainer.args.resume_from_checkpoint
    if resume == "last":  # continue an interrupted run, start where there is none
        folder = trainer.args.output_dir
        resume = get_last_checkpoint(folder) if os.path.isdir(folder) else None
    trainer.train(resume_from_checkpoint=resume)
    trainer.save_model(trainer.args.output_dir)
    trainer.create_model_card(dataset_name=data.dataset_name)
    if trainer.args.push_to_hub:
        trainer.push_to_hub(dataset_name=data.dataset_name)
    return trainer
