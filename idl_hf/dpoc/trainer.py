"""DPOCTrainer: TRL's DPOTrainer with a third completion, the criterion, and the penalty that orders the three."""

import functools
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
import torch.nn.functional as F
from accelerate.logging import get_logger
from accelerate.utils import is_peft_model
from datasets import Dataset, IterableDataset
from torch import Tensor
from transformers import AutoTokenizer, PreTrainedTokenizerBase
from trl import DPOTrainer
from trl.trainer.dpo_trainer import DataCollatorForPreference

from idl_hf.dpoc import scores as scoring
from idl_hf.dpoc.card import PAPER, append_section, recipe
from idl_hf.dpoc.collator import COMPLETIONS, DataCollatorForCriterion, DataCollatorForTrees
from idl_hf.dpoc.config import DPOCConfig
from idl_hf.dpoc.lora import fused_lora, keep_trainable, restore_weights, trained_weights
from idl_hf.dpoc.loss import dpoc_penalty, released_penalty
from idl_hf.dpoc.metrics import criterion_metrics, gathering_means, sums_by_example, weighted_mean
from idl_hf.dpoc.reference import precompute_reference
from idl_hf.dpoc.tokenization import pad_token, tokenize_dataset
from idl_hf.dpoc.trees import TREE_COLUMNS, plant_dataset
from idl_hf.packing.attention import ATTENTION, obstacle

logger = get_logger(__name__)


class DPOCTrainer(DPOTrainer):
    """DPOTrainer with the loss L_DPO(chosen, rejected) + P(chosen, criterion) + P(criterion, rejected) (paper Eq. 6).

    Arguments are DPOTrainer's, with `args` a DPOCConfig and datasets with the columns prompt, chosen, criterion,
    rejected, as text or as messages. L_DPO is TRL's own code, so all its loss types, divergences and metrics apply.
    For the second stage pass the PeftModel of the first (is_trainable=True) and no peft_config: its adapter is copied
    as the frozen reference, and only the trained one is ever saved.

    Where the model allows it, a prompt runs through it once for its three completions, or each distinct token of a
    dialogue once for all its replies (`prefix_sharing`).

    Raises ValueError where a column is missing, for vision models, and for context or sequence parallelism.
    """

    args: DPOCConfig
    shares_prefix: bool | None = None
    model: Any  # the parent's type leaves out PeftModel
    data_collator: Any
    _signature_columns: Any

    _tag_names = ["trl", "dpoc", "idl"]  # noqa: RUF012 (as in TRL)
    _name = "DPOC"
    _paper = PAPER

    def __init__(
        self,
        model: Any,
        ref_model: Any = None,
        args: DPOCConfig | None = None,
        data_collator: Any = None,
        train_dataset: Dataset | IterableDataset | None = None,
        eval_dataset: Any = None,
        processing_class: PreTrainedTokenizerBase | None = None,
        **kwargs: Any,
    ) -> None:
        name = model if isinstance(model, str) else model.config._name_or_path
        if args is None:
            args = DPOCConfig(f"{name.split('/')[-1]}-DPOC")
        if processing_class is None:
            options: Any = (isinstance(model, str) and args.model_init_kwargs) or {}
            revision = options.get("revision", "main")
            processing_class = AutoTokenizer.from_pretrained(
                name, revision=revision, trust_remote_code=args.trust_remote_code
            )
        if not isinstance(processing_class, PreTrainedTokenizerBase):
            raise ValueError(
                f"DPOCTrainer trains text models with a tokenizer, found a {type(processing_class).__name__}. Vision "
                "models are not supported: three completions would each need the images."
            )
        _refuse_biases(model, kwargs.get("peft_config"))
        if train_dataset is not None and next(iter(train_dataset), None) is None:
            raise ValueError("The train dataset is empty.")
        if isinstance(data_collator, DataCollatorForPreference):
            raise ValueError("TRL's DataCollatorForPreference holds two completions; DPOCTrainer needs three.")
        evaluated = eval_dataset.values() if isinstance(eval_dataset, dict) else [eval_dataset]
        if any(isinstance(part, IterableDataset) for part in evaluated):
            accelerator_config: Any = args.accelerator_config
            accelerator_config.dispatch_batches = False  # TRL's reason: batches of processes differ in width
        self._has_own_collator = data_collator is not None
        self._step_seconds, self._logged_tokens = 0.0, 0
        self._rows_logged: dict[str, list[float]] = {"train": [], "eval": []}
        if data_collator is None:
            processing_class.pad_token = pad_token(args, processing_class)
            data_collator = DataCollatorForCriterion(
                processing_class.pad_token_id, args.max_length, args.pad_to_multiple_of
            )
        loaded_with: Any = args.model_init_kwargs
        if isinstance(model, str) or isinstance(ref_model, str):
            args.model_init_kwargs = {"use_safetensors": True, **(loaded_with or {})}  # pickles may run code
        adapter = {}
        if not isinstance(model, str):
            adapter = trained_weights(model)
            keep_trainable(model)
        super().__init__(
            model=model,
            ref_model=ref_model,
            args=args,
            data_collator=data_collator,
            train_dataset=train_dataset,
            eval_dataset=eval_dataset,
            processing_class=processing_class,
            **kwargs,
        )
        restore_weights(self.model, adapter)
        args.model_init_kwargs = loaded_with
        self._refuse_what_cannot_work()
        self._choose_layout()
        self.train_dataset = self._planted(self.train_dataset, "train")
        if isinstance(self.eval_dataset, dict):
            self.eval_dataset = {key: self._planted(part, key) for key, part in self.eval_dataset.items()}
        else:
            self.eval_dataset = self._planted(self.eval_dataset, "eval")
        if is_peft_model(self.model) and "ref" in self.model.peft_config:
            # TRL's frozen copy of the adapter would be saved beside the trained one, in every checkpoint
            self.model.save_pretrained = functools.partial(self.model.save_pretrained, selected_adapters=["default"])

    def _refuse_what_cannot_work(self) -> None:
        if "vision_config" in _base_model(self.model).config.sub_configs:
            raise ValueError(
                f"{type(_base_model(self.model)).__name__} is a vision model; DPOCTrainer trains text models."
            )
        parallel = self.accelerator.parallelism_config
        if parallel is not None and (parallel.cp_enabled or parallel.sp_enabled):
            raise ValueError(
                "Context and sequence parallelism split a row over devices, which DPO in TRL does not support. Prefix "
                "sharing needs a third of the tokens; ZeRO-3 or FSDP2 split the weights."
            )

    def _prepare_dataset(self, dataset: Any, processing_class: Any, args: Any, dataset_name: str) -> Any:
        if _is_planted(dataset):
            return dataset
        dataset = tokenize_dataset(dataset, processing_class, args, dataset_name)
        return dataset if self.shares_prefix is None else self._planted(dataset, dataset_name)

    def _planted(self, dataset: Any, name: str) -> Any:
        """Return tokenized rows as trees where batches are made of these."""
        if dataset is None or not self.shares_prefix or _is_planted(dataset):
            return dataset
        return plant_dataset(dataset, self.args.prefix_sharing == "dialogue", self.args, name)

    def _set_signature_columns_if_needed(self) -> None:
        if self._signature_columns is None:
            references = [f"ref_{name}_logps" for name in COMPLETIONS]
            tokens = TREE_COLUMNS if self.shares_prefix else ["prompt_ids", *(f"{name}_ids" for name in COMPLETIONS)]
            self._signature_columns = [*tokens, *references]

    def _choose_layout(self) -> None:
        """Set `shares_prefix`, whether batches hold packed rows, and what they need; once, when the model is built."""
        if self.shares_prefix is not None:
            return
        reason = self._obstacle()
        asked = self.args.prefix_sharing
        if asked in (True, "dialogue") and reason is not None:
            raise ValueError(
                f"prefix_sharing={asked!r} is not possible: {reason}. Pass prefix_sharing='auto' or False."
            )
        self.shares_prefix = self.args.prefix_sharing is not False and reason is None
        if self.args.prefix_sharing == "auto" and self.shares_prefix:
            logger.info("Prefix sharing: each prompt runs through the model once for its three completions.")
        elif self.args.prefix_sharing == "auto":
            logger.warning(f"No prefix sharing, each prompt runs through the model three times: {reason}.")
        if self.shares_prefix:
            self.data_collator = DataCollatorForTrees(**vars(self.data_collator))
            for model in filter(None, (self.model, self.ref_model)):
                _base_model(self.accelerator.unwrap_model(model)).set_attn_implementation(ATTENTION)

    def _obstacle(self) -> str | None:
        if self._has_own_collator:
            return "a data_collator was passed, whose layout is kept"
        if self.compute_metrics is not None:
            return "compute_metrics wants the logits of whole rows"
        routed = getattr(_base_model(self.model).config.get_text_config(), "output_router_logits", False)
        if self.aux_loss_enabled or routed:
            return "the load-balancing loss of a mixture of experts counts each prompt once per completion"
        if is_peft_model(self.model) and any(config.is_prompt_learning for config in self.model.peft_config.values()):
            return "prompt-learning adapters put tokens of their own before the prompt"
        for model in filter(None, (self.model, self.ref_model)):
            if (reason := obstacle(_base_model(self.accelerator.unwrap_model(model)))) is not None:
                return reason
        return None

    def _precompute_ref_logps(self, dataset: Dataset, name: str, batch_size: int) -> Dataset:
        self._choose_layout()  # the reference is computed in that of the training
        with fused_lora(self.model):  # as in training: rounding must not tell policy and reference apart
            return precompute_reference(self, self._planted(dataset, name), name, batch_size)

    def compute_ref_log_probs(self, model: Any, inputs: dict[str, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        """Return the reference's summed log-probs of (chosen, criterion, rejected), each of shape (B,)."""
        labels = scoring.completion_labels(inputs)
        rows = {"input_ids": F.pad(labels, (1, 0)), "completion_mask": _with_first(labels != -100)}
        # TRL picks adapter and precision, and halves one column of all three
        halves = super().compute_ref_log_probs(lambda **_: _log_probs(model, inputs), rows)
        chosen, criterion, rejected = torch.cat(halves).chunk(3)
        return chosen, criterion, rejected

    def _prepare_inputs(self, inputs: dict[str, Any]) -> dict[str, Any]:
        """Return the batch on its device, the reference's log-probs as they are: DeepSpeed would round them to half
        precision, which sets off the penalty at random."""
        references = {name: value.to(self.args.device) for name, value in inputs.items() if name.startswith("ref_")}
        return {**super()._prepare_inputs(inputs), **references}

    def _get_num_items_in_batch(self, batch_samples: list, device: torch.device) -> Any:
        """Return how many rows the trees of a step hold, over its accumulation and all processes."""
        if self.args.prefix_sharing != "dialogue" or not batch_samples:
            return super()._get_num_items_in_batch(batch_samples, device)
        rows = torch.stack([batch["rows"].sum() for batch in batch_samples]).sum().to(device)
        return self.accelerator.gather(rows).sum()

    def compute_loss(
        self, model: Any, inputs: dict[str, Tensor], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """Return TRL's loss; of trees of several rows, weighted so that each row of a step counts the same."""
        outcome = super().compute_loss(model, inputs, return_outputs)
        if self.args.prefix_sharing != "dialogue" or num_items_in_batch is None:
            return outcome
        # The Trainer divides by the batches of a process, and the processes' gradients are averaged
        batches = self.current_gradient_accumulation_steps * self.accelerator.num_processes
        return outcome * inputs["rows"].sum() * batches / num_items_in_batch

    def _compute_loss(self, model: Any, inputs: dict[str, Tensor], return_outputs: bool) -> Any:
        """Run one forward for all three completions; TRL computes L_DPO from a stand-in that returns two of them."""
        options = {"output_router_logits": True} if self.aux_loss_enabled else {}
        scores = scoring.token_scores(scoring.predict(model, inputs, **options), self.use_weighting)
        if self.precompute_ref_logps:
            reference = tuple(inputs[f"ref_{name}_logps"] for name in COMPLETIONS)
        else:
            reference = self.compute_ref_log_probs(self.ref_model or self.model, inputs)
        policy = scores.log_probs.sum(dim=1).chunk(3)
        ratios = (policy[0] - reference[0], policy[1] - reference[1], policy[2] - reference[2])
        penalty = self._penalty(*ratios)
        loss = self._dpo_loss(scores, inputs, reference) + penalty.mean()
        padding = 1 - scoring.real_tokens(inputs).float().mean()
        values = criterion_metrics(penalty, self.args.penalty, self.beta, policy[1], ratios)
        values["padding"] = padding.expand_as(penalty)
        if not self.model.training and self.args.prefix_sharing == "dialogue":
            values["loss"] = loss.expand_as(penalty)  # the Trainer's own counts each tree the same
        self._log_means(values, inputs["rows"] if "rows" in inputs else torch.ones_like(penalty, dtype=torch.long))
        if return_outputs:
            with torch.no_grad():
                return loss, model(**scoring.model_inputs(inputs))
        return loss

    def _dpo_loss(self, scores: scoring.Scores, inputs: dict[str, Tensor], reference: tuple[Tensor, ...]) -> Tensor:
        stand_in = SimpleNamespace(**{name: _without_criterion(getattr(scores, name)) for name in scoring.PER_TOKEN})
        stand_in.aux_loss = scores.aux_loss
        mask = _with_first(_without_criterion(scores.mask))
        pair = {
            "input_ids": torch.zeros_like(mask),  # the stand-in does not look at them
            "attention_mask": scoring.real_tokens(inputs),  # TRL counts tokens with it: those of all three
            "completion_mask": mask,
            "ref_chosen_logps": reference[0],
            "ref_rejected_logps": reference[2],
        }
        precomputed, self.precompute_ref_logps = self.precompute_ref_logps, True  # they are in `pair` either way
        try:
            with gathering_means(self.accelerator):
                return super()._compute_loss(lambda **_: stand_in, pair, return_outputs=False)
        finally:
            self.precompute_ref_logps = precomputed

    def _penalty(self, chosen: Tensor, criterion: Tensor, rejected: Tensor) -> Tensor:
        if self.args.penalty_form == "released":
            return released_penalty(chosen, criterion, rejected, self.args.penalty, self.beta)
        return dpoc_penalty(chosen, criterion, rejected, self.args.penalty)

    def _log_means(self, values: dict[str, Tensor], rows: Tensor) -> None:
        """Log the means of values of shape (K,), of examples with so many `rows`. One gather for all: it waits for
        every process."""
        mode = "train" if self.model.training else "eval"
        # In an evaluation, examples that fill up the last batch of all processes are left out
        gather = self.accelerator.gather if self.model.training else self.accelerator.gather_for_metrics
        *totals, count = gather(sums_by_example(values, rows)).sum(dim=0).tolist()
        for name, total in zip(values, totals, strict=True):
            self._metrics[mode][name].append(total / count)
        self._rows_logged[mode].append(count)

    def evaluation_loop(self, *args: Any, **kwargs: Any) -> Any:
        """Evaluate or predict as TRL does; what an earlier prediction, which logs nothing, left is not counted."""
        self._metrics["eval"].clear()
        self._rows_logged["eval"].clear()
        with fused_lora(self.model):
            return super().evaluation_loop(*args, **kwargs)

    def _weigh_metrics(self, mode: str) -> None:
        """Have the metrics of trees of several rows be means over rows, not over trees."""
        rows = self._rows_logged[mode]
        for values in self._metrics[mode].values() if self.args.prefix_sharing == "dialogue" else ():
            if len(values) == len(rows):  # one for each batch
                values[:] = [weighted_mean(values, rows)]
        rows.clear()

    def create_model_card(self, *args: Any, **kwargs: Any) -> None:
        """Write TRL's card with the paper, and the recipe: every setting that differs from its default, as YAML."""
        super().create_model_card(*args, **kwargs)
        if self.is_world_process_zero():
            append_section(Path(str(self.args.output_dir), "README.md"), "Recipe", recipe(self.model, self.args))

    def training_step(self, *args: Any, **kwargs: Any) -> Tensor:
        """Take TRL's step with LoRA layers in one operation each, and count its seconds."""
        start = time.perf_counter()
        with fused_lora(self.model):
            loss = super().training_step(*args, **kwargs)
        loss.item()  # waits for the backward pass on a GPU, as the Trainer's check for NaN does next
        self._step_seconds += time.perf_counter() - start
        return loss

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Log as TRL does, with the steps' tokens per second, and the metrics of each evaluation set by its name."""
        self._weigh_metrics("train" if self.model.training else "eval")
        if self.model.training and self._step_seconds > 0:
            # Of the steps alone, not of evaluating and saving between them
            tokens = self._total_train_tokens - self._logged_tokens
            self._metrics["train"]["tokens_per_second"] = [tokens / self._step_seconds]
            self._logged_tokens, self._step_seconds = self._total_train_tokens, 0.0
        if not self.model.training and (timed := next((key for key in logs if key.endswith("_runtime")), None)):
            # TRL names them eval_... whichever of several evaluation sets they are of
            prefix = timed.removesuffix("runtime")
            logs.update({prefix + key: sum(values) / len(values) for key, values in self._metrics["eval"].items()})
            self._metrics["eval"].clear()
        super().log(logs, start_time)


def _log_probs(model: Any, inputs: dict[str, Tensor]) -> SimpleNamespace:
    return SimpleNamespace(log_probs=scoring.token_log_probs(scoring.predict(model, inputs)))


def _is_planted(dataset: Any) -> bool:
    return set(TREE_COLUMNS) <= set(dataset.column_names or next(iter(dataset)))


def _refuse_biases(model: Any, peft_config: Any) -> None:
    """Raise ValueError for a trained adapter with biases, beside which PEFT holds no frozen copy as the reference."""
    trained = peft_config is None and not isinstance(model, str) and is_peft_model(model)
    configs = model.peft_config.values() if trained else ()
    if kinds := {config.bias for config in configs if getattr(config, "bias", "none") != "none"}:
        raise ValueError(
            f"The adapter trains biases (bias={sorted(kinds)[0]!r}), so its frozen copy, the reference of DPOC, "
            "cannot stand beside it. Train the first stage with bias='none', or merge the adapter into the model "
            "(merge_and_unload) and pass a new peft_config."
        )


def _base_model(model: Any) -> Any:
    return model.get_base_model() if is_peft_model(model) else model


def _without_criterion(rows: Tensor) -> Tensor:
    chosen, _, rejected = rows.chunk(3)
    return torch.cat((chosen, rejected))


def _with_first(mask: Tensor) -> Tensor:
    """Return the mask as TRL's: those start with the first token, which nothing predicts."""
    return F.pad(mask.int(), (1, 0))
