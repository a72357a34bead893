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
from idl_hf.dpoc.collator import COMPLETIONS, DataCollatorForCriterion, DataCollatorForPrefixSharing
from idl_hf.dpoc.config import DPOCConfig
from idl_hf.dpoc.loss import dpoc_penalty, released_penalty
from idl_hf.dpoc.reference import precompute_reference
from idl_hf.dpoc.tokenization import pad_token, tokenize_dataset
from idl_hf.packing.attention import ATTENTION, obstacle

logger = get_logger(__name__)


class DPOCTrainer(DPOTrainer):
    """DPOTrainer with the loss L_DPO(chosen, rejected) + P(chosen, criterion) + P(criterion, rejected) (paper Eq. 6).

    Arguments are DPOTrainer's, with `args` a DPOCConfig and datasets with the columns prompt, chosen, criterion,
    rejected, as text or as messages. L_DPO is TRL's own code, so all its loss types, divergences and metrics apply.
    For the second stage pass the PeftModel of the first (is_trainable=True) and no peft_config: its adapter is copied
    as the frozen reference, and only the trained one is ever saved.

    A prompt runs through the model once for its three completions where the model allows it (`prefix_sharing`).

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
            loaded_with: Any = args.model_init_kwargs if isinstance(model, str) else None
            revision = (loaded_with or {}).get("revision", "main")
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
        if data_collator is None:
            processing_class.pad_token = pad_token(args, processing_class)
            data_collator = DataCollatorForCriterion(
                processing_class.pad_token_id, args.max_length, args.pad_to_multiple_of
            )
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
        self._refuse_what_cannot_work()
        self._choose_layout()
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
        return tokenize_dataset(dataset, processing_class, args, dataset_name)

    def _set_signature_columns_if_needed(self) -> None:
        if self._signature_columns is None:
            references = [f"ref_{name}_logps" for name in COMPLETIONS]
            self._signature_columns = ["prompt_ids", *(f"{name}_ids" for name in COMPLETIONS), *references]

    def _choose_layout(self) -> None:
        """Set `shares_prefix`, whether batches hold packed rows, and what they need; once, when the model is built."""
        if self.shares_prefix is not None:
            return
        reason = self._obstacle()
        if self.args.prefix_sharing is True and reason is not None:
            raise ValueError(f"prefix_sharing=True is not possible: {reason}. Pass prefix_sharing='auto' or False.")
        self.shares_prefix = self.args.prefix_sharing is not False and reason is None
        if self.args.prefix_sharing == "auto" and self.shares_prefix:
            logger.info("Prefix sharing: each prompt runs through the model once for its three completions.")
        elif self.args.prefix_sharing == "auto":
            logger.warning(f"No prefix sharing, each prompt runs through the model three times: {reason}.")
        if self.shares_prefix:
            self.data_collator = DataCollatorForPrefixSharing(**vars(self.data_collator))
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
        return precompute_reference(self, dataset, name, batch_size)

    def compute_ref_log_probs(self, model: Any, inputs: dict[str, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        """Return the reference's summed log-probs of (chosen, criterion, rejected), each of shape (B,)."""
        labels = scoring.completion_labels(inputs)
        rows = {"input_ids": F.pad(labels, (1, 0)), "completion_mask": _with_first(labels != -100)}
        # TRL picks adapter and precision, and halves one column of all three
        halves = super().compute_ref_log_probs(lambda **_: _log_probs(model, inputs, labels), rows)
        chosen, criterion, rejected = torch.cat(halves).chunk(3)
        return chosen, criterion, rejected

    def _compute_loss(self, model: Any, inputs: dict[str, Tensor], return_outputs: bool) -> Any:
        """Run one forward for all three completions; TRL computes L_DPO from a stand-in that returns two of them."""
        labels = scoring.completion_labels(inputs)
        options = {"output_router_logits": True} if self.aux_loss_enabled else {}
        logits, aux_loss = scoring.completion_logits(model, inputs, labels, **options)
        scores = scoring.token_scores(logits, labels, aux_loss)
        if self.precompute_ref_logps:
            reference = tuple(inputs[f"ref_{name}_logps"] for name in COMPLETIONS)
        else:
            reference = self.compute_ref_log_probs(self.ref_model or self.model, inputs)
        policy = scores.log_probs.sum(dim=1).chunk(3)
        ratios = [logps - reference_logps for logps, reference_logps in zip(policy, reference, strict=True)]
        penalty = self._penalty(*ratios)
        loss = self._dpo_loss(scores, inputs, reference) + penalty.mean()
        self._log_criterion(penalty, policy[1], *ratios)
        real = scoring.real_tokens(inputs).float().mean(dim=1)
        self._log_means({"padding": 1 - real.view(-1, len(penalty)).mean(dim=0)})
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
            return super()._compute_loss(lambda **_: stand_in, pair, return_outputs=False)
        finally:
            self.precompute_ref_logps = precomputed

    def _penalty(self, chosen: Tensor, criterion: Tensor, rejected: Tensor) -> Tensor:
        if self.args.penalty_form == "released":
            return released_penalty(chosen, criterion, rejected, self.args.penalty, self.beta)
        return dpoc_penalty(chosen, criterion, rejected, self.args.penalty)

    def _log_criterion(
        self, added: Tensor, logps: Tensor, chosen: Tensor, criterion: Tensor, rejected: Tensor
    ) -> None:
        values = {
            "logps/criterion": logps,
            "rewards/criterion": self.beta * criterion,
            "penalty/added_to_loss": added,
            "penalty/chosen_criterion": self.args.penalty * torch.relu(criterion - chosen),
            "penalty/criterion_rejected": self.args.penalty * torch.relu(rejected - criterion),
            "penalty/chosen_criterion_active": (criterion > chosen).float(),
            "penalty/criterion_rejected_active": (rejected > criterion).float(),
        }
        self._log_means(values)

    def _log_means(self, values: dict[str, Tensor]) -> None:
        """Log the means of values of shape (B,). One gather for all: it waits for every process."""
        metrics = self._metrics["train" if self.model.training else "eval"]
        gathered = self.accelerator.gather(torch.stack([value.detach() for value in values.values()], dim=1))
        for name, value in zip(values, gathered.mean(dim=0).tolist(), strict=True):
            metrics[name].append(value)

    def create_model_card(self, *args: Any, **kwargs: Any) -> None:
        """Write TRL's card with the paper, and the recipe: every setting that differs from its default, as YAML."""
        super().create_model_card(*args, **kwargs)
        if self.is_world_process_zero():
            append_section(Path(str(self.args.output_dir), "README.md"), "Recipe", recipe(self.model, self.args))

    def training_step(self, *args: Any, **kwargs: Any) -> Tensor:
        """Take TRL's step, and count its seconds."""
        start = time.perf_counter()
        loss = super().training_step(*args, **kwargs)
        loss.item()  # waits for the backward pass on a GPU, as the Trainer's check for NaN does next
        self._step_seconds += time.perf_counter() - start
        return loss

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Log as TRL does, with the steps' tokens per second, and the metrics of each evaluation set by its name."""
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


def _log_probs(model: Any, inputs: dict[str, Tensor], labels: Tensor) -> SimpleNamespace:
    logits = scoring.completion_logits(model, inputs, labels).logits
    return SimpleNamespace(log_probs=scoring.token_log_probs(logits, labels))


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
