"""The adapters that conditions ask for, each trained once for all experiments."""

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, NamedTuple

import torch
from trl import ModelConfig

from idl_hf.baselines.systems import SYSTEMS
from idl_hf.baselines.train import BaselineArguments, train_baseline
from idl_hf.cache import code_identity
from idl_hf.contrast.config import ContrastConfig
from idl_hf.dpoc.config import DPOCConfig
from idl_hf.evaluation.conditions import Condition
from idl_hf.evaluation.experiment import Scale
from idl_hf.evaluation.memory import give_back_memory
from idl_hf.models.identity import RECIPE_FILE, model_identity
from idl_hf.shown import visible
from idl_hf.training.data import DataArguments
from idl_hf.training.stages import MSLConfig, train_contrast, train_dpoc, train_msl

_BASELINES = "idl_hf.baselines.train"
_ANY_ARCHITECTURE = {"lora_target_modules": ["all-linear"]}  # the scale names modules of its own model


class _Stage(NamedTuple):
    """What makes the settings of a training, what trains, and which rows it trains on."""

    settings: type[Any]
    train: Callable[[DataArguments, Any, ModelConfig], object]
    rows: str
    code: str = "idl_hf.training.stages"


_STAGES = {
    "msl": _Stage(MSLConfig, train_msl, "msl"),
    "contrast": _Stage(ContrastConfig, train_contrast, "msl"),
    "dpoc": _Stage(DPOCConfig, train_dpoc, "dpoc"),
    **{
        name: _Stage(BaselineArguments, lambda data, args, _: train_baseline(data, args), "msl", _BASELINES)
        for name in SYSTEMS
    },
}


class Training(NamedTuple):
    """One stage of a condition under one seed: what trains on which rows with which settings."""

    stage: str
    data: DataArguments
    arguments: dict[str, Any]  # of the stage's settings
    model: dict[str, Any]  # fields of ModelConfig

    def made_of(self, *more: object) -> str:
        """Return all that its adapter depends on but the base model and what the data holds, and what is added."""
        args = _STAGES[self.stage].settings(**self.arguments, output_dir="nowhere")
        precision = ["bfloat16"] * bool(args.bf16) + ["float16"] * bool(args.fp16)  # the machine's, if not the scale's
        code = code_identity(_STAGES[self.stage].code, "torch", "transformers", "trl", "peft")
        rows = [self.data.dataset_options, self.data.max_rows, self.data.max_prompt_tokens]
        return json.dumps(
            [self.stage, rows, self.arguments, precision, self.model, code, more], sort_keys=True, default=str
        )


@dataclass(frozen=True)
class Adapters:
    """The adapters in a folder, trained from the rows of one corpus where they are missing."""

    folder: Path
    scale: Scale
    corpus: DataArguments  # dataset_name, data_dir and the options of all rows

    def adapter(self, condition: Condition, seed: int) -> str:
        """Return the folder of the condition's adapter, trained if it is not there, or its model where nothing is
        trained. seed: as of `trainings`."""
        model = condition.model or self.scale.model_name_or_path
        for training in self.trainings(condition, seed):
            model = self._trained(training, model)
        return model

    def trainings(self, condition: Condition, seed: int) -> list[Training]:
        """Return the stages of a condition, in their order.

        seed: how far both stages' seeds are from what the scale says: that of the trainer (first weights, order of
        the rows, dropout) and that of the rows' options (clusters, targets, references at random, rejected and
        criterion replies). What `max_rows` draws does not depend on it: which dialogues there are to learn from is no
        chance of training. Raises ValueError for a setting that no training has.
        """
        if condition.baseline:
            tokens = self.scale.model_name_or_path  # so that likelihoods per token compare
            settings = {"system": condition.baseline, "tokenizer": tokens, **condition.training}
            return [self._training(condition.baseline, {}, condition.msl or {}, settings, seed, condition.dialogues)]
        config = self.scale.model if condition.model is None else {**self.scale.model, **_ANY_ARCHITECTURE}
        made = []
        if condition.msl is not None:
            stage = "msl" if condition.contrast is None else "contrast"
            settings = {**condition.training, **(condition.contrast or {})}
            made.append(self._training(stage, config, condition.msl, settings, seed, condition.dialogues))
        if condition.dpoc is not None:
            # The paper's Table 3 leaves SPI and DPI out of the first stage alone; a dpoc row predicts each reply
            options = {
                key: value for key, value in (condition.msl or {}).items() if key not in ("spi", "dpi", "reply")
            }
            options |= condition.dpoc_options
            made.append(self._training("dpoc", config, options, condition.dpoc, seed))
        return made

    def _training(
        self,
        stage: str,
        config: dict[str, Any],
        options: Mapping[str, Any],
        settings: Mapping[str, Any],
        seed: int,
        dialogues: int | None = None,
    ) -> Training:
        scale, made = self.scale, _STAGES[stage]
        own = scale.dpoc_options if made.rows == "dpoc" else scale.msl_options
        given = {"encoder": scale.encoder, **(self.corpus.dataset_options or {}), **own, **options}  # type: ignore[dict-item]
        if seed:  # without one all stays as it was, the names of adapters too
            given["seed"] = int(given.get("seed", 0)) + seed
        rows = scale.dpoc_rows if made.rows == "dpoc" else dialogues or scale.msl_rows
        data = replace(self.corpus, dataset_options=given, max_rows=rows, max_prompt_tokens=scale.max_prompt_tokens)
        of_stage = scale.baseline if stage in SYSTEMS else getattr(scale, stage)
        arguments = {**scale.training, **of_stage, **settings}
        if unknown := arguments.keys() - {setting.name for setting in fields(made.settings)}:
            raise ValueError(
                f"{made.settings.__name__} has no {', '.join(sorted(unknown))}, which the scale or a condition sets "
                f"for {stage}."
            )
        if seed:
            arguments["seed"] = made.settings(**arguments, output_dir=str(self.folder)).seed + seed
        return Training(stage, data, arguments, config)

    def _trained(self, training: Training, model: str) -> str:
        """Return the adapter's folder, which is named by all that it depends on, so that one that is there is the one
        asked for."""
        stage, data, arguments, config = training
        made = _STAGES[stage]
        content = data.load(made.rows, data.train_split)._fingerprint
        digest = hashlib.sha256(training.made_of(model_identity(model), content).encode()).hexdigest()[:12]
        target = self.folder / f"{stage}-{digest}"
        if not (target / RECIPE_FILE).is_file():  # the last thing that a training saves
            if (gpus := torch.cuda.device_count()) > 1:  # the Trainer would spread each batch, which changes its size
                raise ValueError(
                    f"{gpus} GPUs are visible, and an experiment trains on one. Set CUDA_VISIBLE_DEVICES=0, or train "
                    "the adapters with `idl-hf msl` and `idl-hf dpoc` and evaluate them with --models."
                )
            give_back_memory()
            print(visible(f"Training {target.name}: {data.dataset_options}, {arguments}"), flush=True)
            arguments = arguments | {"output_dir": str(target), "resume_from_checkpoint": "last"}
            made.train(data, made.settings(**arguments), ModelConfig(model_name_or_path=model, **config))
            give_back_memory()
        return str(target)
