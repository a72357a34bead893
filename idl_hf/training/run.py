"""One training from its first step, or its last checkpoint, to a saved model with its card."""

import hashlib
import json
import logging
import math
import os
from copy import deepcopy
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from accelerate import Accelerator
from accelerate.utils import broadcast_object_list
from datasets import Dataset
from peft import PeftModel
from transformers import GenerationConfig, TrainerState
from transformers.trainer import TRAINER_STATE_NAME
from trl import DPOTrainer, ModelConfig, SFTTrainer

from idl_hf.dpoc.card import append_section
from idl_hf.models.generation import with_ends
from idl_hf.models.identity import model_identity, save_recipe
from idl_hf.models.offline import OFFLINE, offline_folder
from idl_hf.registration import is_public_corpus
from idl_hf.rows.negatives import name_of
from idl_hf.shown import is_path
from idl_hf.token_ids import end_ids
from idl_hf.training.card import HERE, put_chat_first
from idl_hf.training.data import DataArguments
from idl_hf.training.deadline import current_deadline
from idl_hf.training.record import LastCheckpoint, RunRecord, last_checkpoint, settings_of_a_run

if TYPE_CHECKING:
    from idl_hf.training.extractor import ExtractorDataArguments

logger = logging.getLogger(__name__)


def run(
    trainer: SFTTrainer | DPOTrainer, data: "DataArguments | ExtractorDataArguments", model_args: ModelConfig
) -> None:
    """Train, or continue an interrupted run, and save with a card.

    With an adapter that a chat loads goes how its prompts were made. Raises ValueError where the folder holds
    checkpoints of another run, or where each of several processes would train a model of its own.
    """
    _refuse_processes_that_train_alone(trainer.accelerator)
    _name_offline_base(trainer.model)
    folder = Path(str(trainer.args.output_dir))
    resume = trainer.args.resume_from_checkpoint
    record = _record(trainer, model_args)
    rows = "dpoc" if isinstance(trainer, DPOTrainer) else "msl"
    options = data.row_options(rows) if isinstance(data, DataArguments) else {}  # before hours, should it be refused
    for callback in (record, *current_deadline()):
        trainer.add_callback(callback)
    if resume == "last":  # continue an interrupted run, start where there is none
        resume = _last_checkpoint_of_this_run(folder, trainer, record)
    _train(trainer, None if resume == "never" else resume)
    if trainer.is_world_process_zero() and isinstance(data, DataArguments):
        folder.mkdir(parents=True, exist_ok=True)
        save_recipe(folder, options, data.max_prompt_tokens, is_public_corpus(data.dataset_name))
    trainer.save_model(str(folder))
    _save_ends(trainer, folder)
    dataset = None if is_path(data.dataset_name) else data.dataset_name  # which the card would link to
    _write_card_as_we_do(trainer, data, model_args, folder)
    trainer.create_model_card(dataset_name=dataset)
    if trainer.args.push_to_hub:
        trainer.push_to_hub(dataset_name=dataset)


def _train(trainer: SFTTrainer | DPOTrainer, checkpoint: str | bool | None) -> None:
    """Train from the first step or a checkpoint. One that is at the end of the run is its result: transformers would
    take a step more there. Raises ValueError for one beyond the end."""
    state = Path(str(checkpoint), TRAINER_STATE_NAME)
    if isinstance(checkpoint, str) and state.is_file():
        reached, end = TrainerState.load_from_json(str(state)), _steps_of(trainer)
        if reached.global_step > end:
            raise ValueError(
                f"'{checkpoint}' is of a longer run: it has taken {reached.global_step} steps, and {end} are asked "
                "for. Pass as many as before, another --output_dir, or --resume_from_checkpoint never to start over "
                "in it."
            )
        is_sharded = trainer.is_deepspeed_enabled or trainer.is_fsdp_enabled  # loaded by `train` alone
        if reached.global_step == end and not is_sharded:
            logger.info(f"'{checkpoint}' is the end of this run: nothing is left to train.")
            best = trainer.args.load_best_model_at_end and reached.best_model_checkpoint
            trainer._load_from_checkpoint(best or checkpoint)
            trainer.state = reached
            return
    trainer.train(resume_from_checkpoint=checkpoint)


def _steps_of(trainer: SFTTrainer | DPOTrainer) -> int:
    """Return how many steps a run takes, as transformers counts them."""
    args = trainer.args
    if args.max_steps > 0:
        return args.max_steps
    batches = len(trainer.get_train_dataloader())
    return math.ceil(args.num_train_epochs * max(1, math.ceil(batches / args.gradient_accumulation_steps)))


def _write_card_as_we_do(
    trainer: SFTTrainer | DPOTrainer,
    data: "DataArguments | ExtractorDataArguments",
    model_args: ModelConfig,
    folder: Path,
) -> None:
    """Have the trainer's card begin with how to chat and end with its rows, whoever asks for it: a push does again."""
    write, card = trainer.create_model_card, folder / "README.md"

    def create_model_card(*args: Any, **options: Any) -> None:
        write(*args, **{**options, "model_name": options.get("model_name") or folder.name})
        if not trainer.is_world_process_zero():
            return
        given = {name: value for name, value in asdict(data).items() if value is not None and name != "data_dir"}
        model = Path(str(model_args.model_name_or_path)).name  # of a folder on this machine the name alone
        append_section(card, "Rows", {**_without_folders(given), "model": model})
        if isinstance(data, DataArguments):
            named = trainer.hub_model_id if trainer.args.push_to_hub else None
            base = OFFLINE if _is_offline(trainer.model) else ""
            text = put_chat_first(card.read_text(encoding="utf-8"), folder.name, named or HERE, base)
            card.write_text(text, encoding="utf-8")

    trainer.create_model_card = create_model_card  # type: ignore[method-assign]


def _without_folders(given: dict[str, Any]) -> dict[str, Any]:
    """Return what a run was given without the folder of a corpus that the rows take other people's words from."""
    options = given.get("dataset_options")
    if not options or "negatives" not in options:
        return given
    return {**given, "dataset_options": {**options, "negatives": name_of(options["negatives"])}}


def _is_offline(model: object) -> bool:
    if isinstance(model, PeftModel):
        return model.peft_config["default"].base_model_name_or_path in (str(offline_folder()), OFFLINE)
    return False


def _save_ends(trainer: SFTTrainer | DPOTrainer, folder: Path) -> None:
    """Write a generation config that stops at what ends a reply, for whatever else generates with the model."""
    tokenizer: Any = trainer.processing_class
    config = deepcopy(getattr(trainer.model, "generation_config", None)) or GenerationConfig()
    if trainer.is_world_process_zero():
        with_ends(config, end_ids(tokenizer, config), tokenizer.pad_token_id).save_pretrained(folder)


def _refuse_processes_that_train_alone(accelerator: Accelerator) -> None:
    """Raise ValueError where each process would save a model of its own; neither transformers nor accelerate mind."""
    processes = int(os.environ.get("WORLD_SIZE", 1))
    if processes > 1 and not accelerator.use_distributed:
        raise ValueError(
            f"{processes} processes were launched, but each would train a model of its own: without a GPU they need "
            "--use_cpu true (and accelerate launch --multi_gpu, not --cpu)."
        )


def _last_checkpoint_of_this_run(folder: Path, trainer: SFTTrainer | DPOTrainer, record: RunRecord) -> str | None:
    """Return the last checkpoint, None where there is none; ValueError where all are of other runs."""
    found = [last_checkpoint(folder, record.settings) if trainer.accelerator.is_main_process else None]
    broadcast_object_list(found)  # other machines may not see the same files
    path, obstacle = cast(LastCheckpoint, found[0])
    if obstacle:
        raise ValueError(
            f"'{folder}' has checkpoints of another run: {obstacle}. Pass another --output_dir, delete the folder, "
            "or pass --resume_from_checkpoint never to start over in it, or a checkpoint there to continue it anyway."
        )
    return path


def _record(trainer: SFTTrainer | DPOTrainer, model_args: ModelConfig) -> RunRecord:
    """Return what tells this run from others."""
    model: Any = trainer.model
    name, revision = str(model_args.model_name_or_path), model_args.model_revision
    others = {
        "weights": hashlib.sha256(model_identity(name, revision).encode()).hexdigest()[:16],
        "processes": trainer.accelerator.num_processes,
        "devices_per_process": max(1, trainer.args.n_gpu),
        "mixed_precision": trainer.args.mixed_precision,  # a launch may set it
        "distributed_type": str(trainer.accelerator.distributed_type),
    }
    adapter = model.peft_config["default"] if isinstance(model, PeftModel) else None
    return RunRecord(
        settings_of_a_run(trainer.args, model_args, adapter, cast(Dataset, trainer.train_dataset), others)
    )


def _name_offline_base(model: object) -> None:
    """Have an adapter of the offline model name its base "offline"; a path into the cache is found on no other."""
    base = str(offline_folder())
    if not isinstance(model, PeftModel) or not _is_offline(model):
        return
    # Until it is written the folder's own name: PEFT looks at the base model's config as it saves
    model.peft_config["default"].base_model_name_or_path = base
    save = model.save_pretrained

    def save_pretrained(folder: str, **options: Any) -> None:
        save(folder, **options)
        file = Path(folder, "adapter_config.json")
        if options.get("is_main_process", True):
            config = json.loads(file.read_text())
            file.write_text(json.dumps({**config, "base_model_name_or_path": OFFLINE}, indent=2, sort_keys=True))

    model.save_pretrained = save_pretrained  # type: ignore[assignment, method-assign]
