"""The adapters that conditions ask for, each trained once for all experiments."""

import functools
import gc
import hashlib
import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from trl import ModelConfig

from idl_hf.dpoc.config import DPOCConfig
from idl_hf.evaluation.conditions import Condition
from idl_hf.evaluation.experiment import Scale
from idl_hf.evaluation.records import code_version
from idl_hf.models.loading import RECIPE_FILE
from idl_hf.persona.extractor import model_identity
from idl_hf.training.stages import DataArguments, MSLConfig, train_dpoc, train_msl

_ANY_ARCHITECTURE = {"lora_target_modules": ["all-linear"]}  # the scale names modules of its own model


@dataclass(frozen=True)
class Adapters:
    """Trains what is missing in `folder`, from the rows of one corpus."""

    folder: Path
    scale: Scale
    corpus: DataArguments  # dataset_name, data_dir and the options of all rows

    def of(self, condition: Condition) -> str:
        """The folder of the condition's adapter, or its model where nothing is trained."""
        model = condition.model or self.scale.model_name_or_path
        config = self.scale.model if condition.model is None else {**self.scale.model, **_ANY_ARCHITECTURE}
        if condition.msl is not None:
            model = self._stage("msl", model, config, condition.msl, {})
        if condition.dpoc is not None:
            options = {name: value for name, value in (condition.msl or {}).items() if name == "conditioning"}
            model = self._stage("dpoc", model, config, options, condition.dpoc)
        return model

    def _stage(
        self, stage: str, model: str, config: dict[str, Any], options: dict[str, Any], settings: dict[str, Any]
    ) -> str:
        """The folder is named by all that the adapter depends on, so that one that is there is the one asked for."""
        scale = self.scale
        own = scale.msl_options if stage == "msl" else scale.dpoc_options
        given = {"encoder": scale.encoder, **(self.corpus.dataset_options or {}), **own, **options}  # type: ignore[dict-item]
        rows = scale.msl_rows if stage == "msl" else scale.dpoc_rows
        data = replace(self.corpus, dataset_options=given, max_rows=rows, max_prompt_tokens=scale.max_prompt_tokens)
        arguments = {**scale.training, **(scale.msl if stage == "msl" else scale.dpoc), **settings}
        made_of = [stage, model_identity(model), given, rows, scale.max_prompt_tokens, arguments, config]
        made_of += [data.load(stage, data.train_split)._fingerprint, _training_code()]
        digest = hashlib.sha256(json.dumps(made_of, sort_keys=True, default=str).encode()).hexdigest()[:12]
        target = self.folder / f"{stage}-{digest}"
        if not (target / RECIPE_FILE).is_file():  # the last thing that a training saves
            _refuse_several_gpus()
            print(f"Training {target.name}: {given}, {arguments}", flush=True)
            arguments |= {"output_dir": str(target), "resume_from_checkpoint": "last"}
            if stage == "msl":
                train_msl(data, MSLConfig(**arguments), ModelConfig(model_name_or_path=model, **config))
            else:
                train_dpoc(data, DPOCConfig(**arguments), ModelConfig(model_name_or_path=model, **config))
            gc.collect()  # a trainer and its model refer to each other, and the next one needs their memory
        return str(target)


@functools.cache
def _training_code() -> str:
    """Another version of it may train another adapter. What shapes rows is in their fingerprint."""
    package = Path(__file__).parents[1]
    files = [package / "training" / "stages.py", package / "models" / "loading.py", *sorted(package.glob("dpoc/*.py"))]
    return code_version(files, ("torch", "transformers", "trl", "peft"))


def _refuse_several_gpus() -> None:
    """The Trainer would spread each batch over them, which changes its size, and packed rows cannot be spread."""
    if torch.cuda.device_count() > 1:
        raise ValueError(
            f"{torch.cuda.device_count()} GPUs are visible, and an experiment trains on one. Set CUDA_VISIBLE_DEVICES=0, "
            "or train the adapters with `idl-hf msl` and `idl-hf dpoc` and evaluate them with --models."
        )
