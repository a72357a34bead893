"""The two stages: MSL (supervised, paper 3.2) and DPOC (paper 3.3), from a dataset name to a saved adapter.

examples/train_msl.py and examples/train_dpoc.py parse their arguments and call these.
"""

import hashlib
import json
import os
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset, load_dataset
from peft import PeftModel
from transformers.trainer import TRAINER_STATE_NAME
from transformers.utils.logging import get_logger
from trl import ModelConfig, SFTConfig, SFTTrainer, get_peft_config, get_quantization_config

from idl_hf import prompting
from idl_hf.dpoc.card import append_section
from idl_hf.dpoc.config import DPOCConfig
from idl_hf.dpoc.trainer import DPOCTrainer
from idl_hf.encoding import default_encoder
from idl_hf.machine import settle_precision
from idl_hf.models.loading import load_model, save_recipe
from idl_hf.models.offline import OFFLINE, offline_folder
from idl_hf.rows.options import option_names

logger = get_logger(__name__)


@dataclass
class DataArguments:
    """Which rows to train on."""

    dataset_name: str = field(
        default="idl_hf/convai2_idl",
        metadata={
            "help": "idl_hf/ with convai2_idl, movie_idl, light_idl, msc_idl or dialogues_idl, or a Hub dataset."
        },
    )
    data_dir: str | None = field(default=None, metadata={"help": "Folder with the raw files of the corpus."})
    dataset_options: dict | str | None = field(
        default=None,
        metadata={"help": 'Builder options as JSON, such as {"targets": "all", "encoder": "offline"}.'},
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
        self.dataset_options = parse_options(self.dataset_options)

    def load(self, config: str, split: str | None, **kwargs: Any) -> Any:
        """The rows of a split, or a dict of all."""
        options: dict[str, Any] = {**parse_options(self.dataset_options), **kwargs}
        if self.data_dir is not None:
            options["data_dir"] = self.data_dir
        rows = load_dataset(self.dataset_name, config, split=split, **options)
        if split is None or self.max_rows is None or len(rows) <= self.max_rows:
            return rows
        return rows.shuffle(seed=0).select(range(self.max_rows))


def parse_options(options: dict | str | None, name: str = "--dataset_options") -> dict[str, Any]:
    """Options from a YAML file (a mapping) or the command line (JSON). name: of the argument that holds them."""
    if isinstance(options, str):
        try:
            options = json.loads(options)
        except json.JSONDecodeError as error:
            raise ValueError(f"{name} must be a JSON object, found {options!r}: {error}.") from error
    if options is not None and not isinstance(options, dict):
        raise ValueError(f"{name} must be a JSON object, found {options!r}.")
    return dict(options or {})


@dataclass
class MSLConfig(SFTConfig):
    """SFTConfig with bfloat16 only where the machine computes fast in it."""

    def __post_init__(self) -> None:
        settle_precision(self)
        super().__post_init__()


def train_msl(data: DataArguments, args: SFTConfig, model_args: ModelConfig) -> SFTTrainer:
    """Supervised fine-tuning on the msl rows, the loss on the person's replies only. Saves to `args.output_dir`."""
    model, tokenizer = model_to_train(args, model_args)
    if args.max_length not in (None, SFTConfig.max_length) or args.completion_only_loss is False or args.packing:
        raise ValueError(
            "MSL learns the replies only, of prompts that max_prompt_tokens fits by whole dialogues: max_length, packing "
            "and completion_only_loss=False cannot be combined with it."
        )
    args.max_length = None  # TRL's cut would take the end, which is the reply
    args.completion_only_loss = True
    splits = _splits(data, "msl", args.eval_strategy)
    with args.main_process_first(desc="fitting prompts"):
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
        peft_config=peft_config(model, model_args),
    )
    return run(trainer, data, model_args, _row_options(data))


def train_dpoc(data: DataArguments, args: DPOCConfig, model_args: ModelConfig) -> DPOCTrainer:
    """DPOC on the dpoc rows, from an MSL adapter (which becomes the reference) or a plain model."""
    model, tokenizer = model_to_train(args, model_args)
    splits = _splits(data, "dpoc", args.eval_strategy)
    with args.main_process_first(desc="fitting prompts"):
        fitted = {name: fit_rows(rows, tokenizer, data.max_prompt_tokens) for name, rows in splits.items()}
    trainer = DPOCTrainer(
        model=model,
        args=args,
        train_dataset=fitted["train"],
        eval_dataset=fitted.get("eval"),
        processing_class=tokenizer,
        peft_config=peft_config(model, model_args),
    )
    return run(trainer, data, model_args, _row_options(data))


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


def model_to_train(args: Any, model_args: ModelConfig) -> tuple[Any, Any]:
    if model_args.model_name_or_path is None:
        raise ValueError("Pass --model_name_or_path: a Hub id, a folder with a model or an adapter, or 'offline'.")
    if get_quantization_config(model_args) is not None:
        raise ValueError("Quantized training is not wired up in these scripts; pass a quantized model to the trainer.")
    dtype = None if model_args.dtype in (None, "auto") else getattr(torch, model_args.dtype)
    options = {"attn_implementation": model_args.attn_implementation, "trust_remote_code": args.trust_remote_code}
    if model_args.model_revision != "main":
        options["revision"] = model_args.model_revision
    return load_model(model_args.model_name_or_path, trainable=True, dtype=dtype, **options)


def peft_config(model: Any, model_args: ModelConfig) -> Any:
    """None for a PeftModel: its own adapter goes on training."""
    return None if isinstance(model, PeftModel) else get_peft_config(model_args)


def _splits(data: DataArguments, config: str, eval_strategy: Any) -> dict[str, Dataset]:
    splits = {"train": data.load(config, data.train_split)}
    if data.eval_split is not None and str(getattr(eval_strategy, "value", eval_strategy)) != "no":
        splits["eval"] = data.load(config, data.eval_split)
    return splits


def _refuse_processes_that_train_alone(accelerator: Any) -> None:
    """Neither transformers nor accelerate mind, and each process would save its own model into one folder."""
    processes = int(os.environ.get("WORLD_SIZE", 1))
    if processes > 1 and not accelerator.use_distributed:
        raise ValueError(
            f"{processes} processes were launched, but each would train a model of its own: without a GPU they need "
            "--use_cpu true (and accelerate launch --multi_gpu, not --cpu)."
        )


def _row_options(data: DataArguments) -> dict[str, Any]:
    given = parse_options(data.dataset_options)
    return {"encoder": default_encoder(), **{name: value for name, value in given.items() if name in option_names()}}


def run(trainer: Any, data: Any, model_args: ModelConfig, row_options: dict[str, Any] | None = None) -> Any:
    """Trains, or continues an interrupted run, and saves with a card.

    data: a dataclass that says which rows, with `dataset_name`. row_options: how prompts were made, and its
    `max_prompt_tokens`, are saved beside an adapter that a chat loads.
    """
    _refuse_processes_that_train_alone(trainer.accelerator)
    _name_offline_base(trainer.model)
    resume = trainer.args.resume_from_checkpoint
    if resume == "never":
        resume = None
    elif resume == "last":  # continue an interrupted run, start where there is none
        resume = _last_checkpoint_of_this_run(trainer, model_args)
    trainer.train(resume_from_checkpoint=resume)
    trainer.save_model(trainer.args.output_dir)
    trainer.create_model_card(dataset_name=data.dataset_name)
    if trainer.is_world_process_zero():
        append_section(Path(trainer.args.output_dir, "README.md"), "Rows", _rows_recipe(data, model_args))
        if row_options is not None:
            save_recipe(trainer.args.output_dir, row_options, data.max_prompt_tokens)
    if trainer.args.push_to_hub:
        trainer.push_to_hub(dataset_name=data.dataset_name)
    return trainer


def _rows_recipe(data: Any, model_args: ModelConfig) -> dict[str, Any]:
    """What the rows are and what they trained; of folders on this machine only the name."""
    found = {name: value for name, value in asdict(data).items() if value is not None and name != "data_dir"}
    return {**found, "model": Path(str(model_args.model_name_or_path)).name}


def _last_checkpoint_of_this_run(trainer: Any, model_args: ModelConfig) -> str | None:
    """None where there is no checkpoint. Raises ValueError where there is one of a run on other rows, another model or
    with other settings, which would be continued as if it were this one."""
    folder = Path(trainer.args.output_dir)
    record = folder / "_run.json"  # the Trainer does not push what begins with _
    checkpoint = _last_whole_checkpoint(folder)
    current = json.dumps(_what_a_run_depends_on(trainer, model_args), indent=2, sort_keys=True)
    if checkpoint is not None and (not record.is_file() or record.read_text() != current):
        raise ValueError(
            f"'{folder}' has checkpoints of another run (other rows, model or settings; see _run.json there). Pass another "
            "--output_dir, delete the folder, or pass --resume_from_checkpoint never to start over in it."
        )
    if checkpoint is None and trainer.accelerator.is_main_process:  # where there is one, the record is `current`
        folder.mkdir(parents=True, exist_ok=True)
        record.write_text(current)
    return checkpoint


def _last_whole_checkpoint(folder: Path) -> str | None:
    """The Trainer writes its state last, so that a checkpoint without it was being written when the run broke off."""
    whole = [file.parent for file in folder.glob(f"checkpoint-*/{TRAINER_STATE_NAME}")]
    steps = {int(path.name.partition("-")[2]): str(path) for path in whole if path.name.partition("-")[2].isdigit()}
    return steps[max(steps)] if steps else None


def _what_a_run_depends_on(trainer: Any, model_args: ModelConfig) -> dict[str, Any]:
    """Not its length: a longer run may continue a shorter one."""
    columns = [name for name in trainer.train_dataset.column_names if name.endswith("_ids")]
    tokens = hashlib.sha256()
    for name in columns:
        tokens.update(repr(trainer.train_dataset[name][:]).encode())
    weights = Path(str(model_args.model_name_or_path), "adapter_model.safetensors")
    names = (
        "learning_rate", "per_device_train_batch_size", "gradient_accumulation_steps", "seed", "beta", "penalty",
        "penalty_form", "loss_type", "loss_weights", "f_divergence_type", "label_smoothing", "use_weighting",
    )  # fmt: skip
    return {
        "model": _whole_path(str(model_args.model_name_or_path)),
        "adapter": hashlib.sha256(weights.read_bytes()).hexdigest() if weights.is_file() else None,
        "lora": [model_args.use_peft, model_args.lora_r, model_args.lora_alpha, model_args.lora_target_modules],
        "rows": tokens.hexdigest(),
        "training": {name: value for name, value in trainer.args.to_dict().items() if name in names},
    }


def _whole_path(name: str) -> str:
    return str(Path(name).resolve()) if Path(name).is_dir() else name


def _name_offline_base(model: Any) -> None:
    """An adapter names its base model. "offline" is found on any machine (idl_hf.models.loading.load_model), a path into this
    machine's cache on none, and it need not be published."""
    if not isinstance(model, PeftModel) or model.peft_config["default"].base_model_name_or_path != str(
        offline_folder()
    ):
        return
    save = model.save_pretrained

    def save_pretrained(folder: str, **options: Any) -> None:
        save(folder, **options)
        file = Path(folder, "adapter_config.json")
        if options.get("is_main_process", True):
            config = json.loads(file.read_text())
            file.write_text(json.dumps({**config, "base_model_name_or_path": OFFLINE}, indent=2, sort_keys=True))

    model.save_pretrained = save_pretrained  # type: ignore[assignment, method-assign]
