"""What a run is: all that it was given and trains on, kept in its checkpoints so that no other run continues them."""

import hashlib
import json
import logging
from collections.abc import Mapping
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any, NamedTuple

from datasets import Dataset
from peft import PeftConfig
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.trainer import TRAINER_STATE_NAME
from trl import ModelConfig

logger = logging.getLogger(__name__)

# Whatever is not named here tells one run from another. Precision is not: each rounds in its own way, over all steps
HARMLESS = frozenset({
    # How long: a longer run may continue a shorter one
    "num_train_epochs", "max_steps", "resume_from_checkpoint",
    # Where it is kept and how it is called; the weights and rows behind a path are compared instead
    "output_dir", "run_name", "project", "model_name_or_path", "adapter.base_model_name_or_path",
    # What is said of it
    "logging_strategy", "logging_steps", "logging_first_step", "log_on_each_node", "logging_nan_inf_filter",
    "log_level", "log_level_replica", "disable_tqdm", "report_to", "include_num_input_tokens_seen",
    "skip_memory_metrics", "debug", "trackio_space_id", "trackio_bucket_id", "trackio_static_space_id",
    # When it is saved, and what is pushed
    "save_strategy", "save_steps", "save_on_each_node", "save_total_limit", "enable_jit_checkpoint",
    "push_to_hub", "hub_token", "hub_private_repo", "hub_model_id", "hub_strategy", "hub_always_push", "hub_revision",
    # How it is evaluated, which takes no part in the training; which checkpoint is best does
    "eval_strategy", "eval_steps", "eval_delay", "per_device_eval_batch_size", "prediction_loss_only",
    "eval_on_start", "eval_do_concat_batches", "eval_use_gather_object", "eval_accumulation_steps", "eval_packing",
    "include_for_metrics", "batch_eval_metrics", "bf16_full_eval", "fp16_full_eval",
    # What a trainer ignores, whose model is loaded before
    "do_train", "do_eval", "do_predict", "model_init_kwargs",
    # The same numbers on another device, by other workers, or with less memory
    "use_cpu", "local_rank", "dataloader_num_workers", "dataloader_pin_memory", "dataloader_persistent_workers",
    "dataloader_prefetch_factor", "dataloader_multiprocessing_context", "dataset_num_proc", "ddp_backend",
    "ddp_bucket_cap_mb", "ddp_timeout", "gradient_checkpointing", "gradient_checkpointing_kwargs",
    "activation_checkpointing", "activation_checkpointing_kwargs", "activation_offloading", "torch_empty_cache_steps",
    # Of an adapter in memory: which version wrote it, and how it is held
    "adapter.peft_version", "adapter.inference_mode", "adapter.runtime_config",
})  # fmt: skip


class RunRecord(TrainerCallback):
    """Keeps the settings of a run in the state of each of its checkpoints, so that they are written with it."""

    def __init__(self, settings: dict[str, Any]) -> None:
        self.settings = settings

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Add the settings to the state, which may be that of a checkpoint of another run that was named."""
        callbacks: Any = state.stateful_callbacks
        callbacks[type(self).__name__] = {"args": {"settings": self.settings}, "attributes": {}}


def settings_of_a_run(
    args: TrainingArguments,
    model_args: ModelConfig,
    adapter: PeftConfig | None,
    rows: Dataset,
    others: Mapping[str, Any],
) -> dict[str, Any]:
    """Return by name, as JSON has them, all settings of a run but the harmless ones.

    others: what none of the arguments tells, such as the weights that the model starts from.
    """
    own = {field.name: getattr(args, field.name) for field in fields(args) if field.init}  # to_dict hides tokens
    given = {**own, **asdict(model_args), **others}
    given |= {f"adapter.{name}": value for name, value in (asdict(adapter) if adapter else {}).items()}
    given |= {f"rows.{name}": _content(rows, name) for name in rows.column_names if not _follows(name)}
    plain = json.dumps({name: value for name, value in given.items() if name not in HARMLESS}, default=_plain)
    return json.loads(plain)


def _follows(column: str) -> bool:
    return column.startswith("ref_") and column.endswith("_logps")  # of the reference: from the weights and the rows


def _content(rows: Dataset, column: str) -> str:
    """Return the hash of a column in its order."""
    content = hashlib.sha256()
    for batch in rows.select_columns([column]).iter(1000):
        content.update(repr(batch[column]).encode())
    return content.hexdigest()[:16]


def _plain(value: object) -> object:
    return sorted(value) if isinstance(value, set) else str(value)


class LastCheckpoint(NamedTuple):
    """The checkpoint to continue, None for a start from the first step, and why none of those there is, or ""."""

    path: str | None
    obstacle: str


def last_checkpoint(folder: Path, settings: Mapping[str, Any]) -> LastCheckpoint:
    """Return the last checkpoint of the run with these settings; those of other runs beside it are left out."""
    records = _records(folder)
    own = [step for step, record in records.items() if record == settings]
    if not records or not own:
        return LastCheckpoint(None, _difference(records[max(records)], settings) if records else "")
    if len(own) < len(records):
        others = ", ".join(str(step) for step in sorted(records.keys() - own))
        logger.warning(f"'{folder}' also has checkpoints of another run, which are not continued: {others}.")
    if settings.get("save_only_model"):
        return LastCheckpoint(None, "save_only_model: they hold no state of the optimizer to go on with")
    return LastCheckpoint(str(folder / f"checkpoint-{max(own)}"), "")


def _records(folder: Path) -> dict[int, dict[str, Any] | None]:
    """Return what run the whole checkpoints are of by their step, None where it was not kept."""
    records = {}
    for file in folder.glob(f"checkpoint-*/{TRAINER_STATE_NAME}"):
        step = file.parent.name.partition("-")[2]
        try:
            state = json.loads(file.read_text(encoding="utf-8"))
        except json.JSONDecodeError:  # the state is written last: the run broke off while it was
            continue
        if step.isdigit():
            kept = state.get("stateful_callbacks") or {}
            records[int(step)] = kept.get(RunRecord.__name__, {}).get("args", {}).get("settings")
    return records


def _difference(before: Mapping[str, Any] | None, now: Mapping[str, Any]) -> str:
    """Return which settings differ, with both values."""
    if before is None:
        return "they do not tell with which settings they were made"
    names = sorted(name for name in before.keys() | now.keys() if before.get(name) != now.get(name))
    return ", ".join(f"{name} was {before.get(name)!r} and is {now.get(name)!r}" for name in names)
