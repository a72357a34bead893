"""The reference's log-probs of a whole dataset, computed once and kept across restarts."""

import hashlib
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from accelerate.utils import broadcast_object_list, is_peft_model, tqdm
from datasets import Dataset, IterableDataset
from datasets.fingerprint import Hasher
from torch.utils.data import DataLoader
from transformers.integrations import is_deepspeed_zero3_enabled
from transformers.utils.logging import get_logger
from trl.models import prepare_deepspeed

from idl_hf.cache import cache_folder, code_identity, write_whole
from idl_hf.dpoc.collator import COMPLETIONS
from idl_hf.dpoc.trees import TREE_COLUMNS

if TYPE_CHECKING:
    from idl_hf.dpoc.trainer import DPOCTrainer

logger = get_logger(__name__)


def precompute_reference(trainer: "DPOCTrainer", dataset: Dataset, name: str, batch_size: int) -> Dataset:
    """Return the dataset with columns ref_{chosen,criterion,rejected}_logps, float32; of trees, lists of them.

    The cache is keyed by the tokens, the reference's weights with their dtypes, its configs, the layout and size of a
    batch, the precision and the code, and not shared with TRL's, whose files hold two completions.
    Raises ValueError for a stream, whose rows cannot be gone through first.
    """
    if isinstance(dataset, IterableDataset):
        raise ValueError("precompute_ref_log_probs=True needs a map-style dataset, found an IterableDataset.")
    if all(f"ref_{part}_logps" in dataset.column_names for part in COMPLETIONS):
        return dataset
    columns = TREE_COLUMNS if trainer.shares_prefix else [f"{part}_ids" for part in ("prompt", *COMPLETIONS)]
    layout = (trainer.shares_prefix, trainer.accelerator.mixed_precision, trainer.args.max_length, batch_size)
    weights = _weights_hash(trainer)  # under ZeRO-3 every process takes part
    is_main = trainer.accelerator.is_main_process
    key = [None]
    if is_main:
        code = code_identity("idl_hf.dpoc", "torch", "transformers", "trl", "peft")
        key = [Hasher.hash([code, weights, layout, _configs(trainer), _tokens_hash(dataset.select_columns(columns))])]
    half = trainer.accelerator.mixed_precision in ("fp16", "bf16")
    if batch_size > 1 and (half or trainer.model.dtype in (torch.float16, torch.bfloat16)):
        logger.warning_once(
            "In half precision a row's log-probs depend on the rows it is padded with, by up to tenths of a nat: "
            "enough to set off the penalty at random. per_device_train_batch_size=1 with gradient_accumulation_steps "
            "(and precompute_ref_batch_size=1) has no such noise, nor padding."
        )
    broadcast_object_list(key, from_process=0)
    file = cache_folder() / "reference_logps" / f"{key[0]}.npy"
    # The main process reads and writes: other machines may not share its folder
    kept = [np.load(file, allow_pickle=False) if is_main and file.exists() else None]
    broadcast_object_list(kept, from_process=0)
    logps = kept[0]
    if logps is None:
        logps = _compute(trainer, dataset, name, batch_size)
        if is_main:
            with write_whole(file) as partial, open(partial, "wb") as stream:
                np.save(stream, logps, allow_pickle=False)
    ends = np.cumsum(dataset["rows"][:])[:-1] if trainer.shares_prefix else None
    for part, values in zip(COMPLETIONS, logps, strict=True):
        column = values if ends is None else np.split(values, ends)
        dataset = dataset.add_column(f"ref_{part}_logps", column)
    return dataset


def _tokens_hash(dataset: Dataset) -> str:
    """Return a hash of all rows in their order, which also tells which of them are one tree."""
    content = hashlib.sha256()
    for batch in dataset.with_format("arrow").iter(1000):
        for column in batch.columns:
            content.update(repr(column.to_pylist()).encode())
    return content.hexdigest()


def _compute(trainer: "DPOCTrainer", dataset: Dataset, name: str, batch_size: int) -> np.ndarray:
    """Return shape (3, rows), in the training layout and precision, so that noise of another one fires no penalty."""
    loader = trainer.accelerator.prepare(DataLoader(dataset, batch_size=batch_size, collate_fn=trainer.data_collator))
    rows = torch.tensor(dataset["rows"][:] if trainer.shares_prefix else [1] * len(dataset))
    examples = []
    for batch in tqdm(iterable=loader, desc=f"Computing reference log probs for {name} dataset"):
        with torch.no_grad():
            logps = torch.stack(trainer.compute_ref_log_probs(_reference_model(trainer), batch), dim=1)
        counts = batch["rows"].tolist() if trainer.shares_prefix else [1] * len(logps)
        # Trees differ in their rows, and processes gather one size
        padded = logps.new_zeros(len(counts), int(rows.max()), 3)
        for example, values in zip(padded, logps.split(counts), strict=True):
            example[: len(values)] = values
        examples.append(trainer.accelerator.gather_for_metrics(padded).float().cpu())
    own = torch.arange(int(rows.max())) < rows[:, None]
    return torch.cat(examples)[own].T.numpy()


def _reference_model(trainer: "DPOCTrainer") -> Any:
    if trainer.ref_model is None and trainer.is_deepspeed_enabled:
        # Parameters are still sharded or on the CPU: one inference engine places them, reused across passes
        if trainer._precompute_engine is None:
            trainer._precompute_engine = prepare_deepspeed(trainer.model, trainer.accelerator)
        return trainer._precompute_engine
    return trainer.ref_model or trainer.model


def _configs(trainer: "DPOCTrainer") -> list[dict[str, Any]]:
    """Return what the weights do not tell, such as the alpha of an adapter; no paths, which differ by machine."""
    model = trainer.accelerator.unwrap_model(trainer.ref_model or trainer.model)
    configs = [model.config, *(model.peft_config.values() if is_peft_model(model) else ())]
    attention = {"attention": model.config._attn_implementation}
    return [
        attention | {name: value for name, value in config.to_dict().items() if not name.endswith("_name_or_path")}
        for config in configs
    ]


def _weights_hash(trainer: "DPOCTrainer") -> str | None:
    """Return TRL's hash, except under ZeRO-3: there a process holds a part of each weight, or none, when TRL looks."""
    if not is_deepspeed_zero3_enabled():
        return trainer._precompute_model_hash
    import deepspeed

    digest = hashlib.sha256()
    for name, parameter in sorted(_reference_model(trainer).named_parameters()):
        with deepspeed.zero.GatheredParameters([parameter]):
            digest.update(f"{name} {parameter.dtype}".encode())
            digest.update(parameter.detach().float().cpu().numpy().tobytes())
    return digest.hexdigest()
