"""DPOCTrainer: TRL's DPOTrainer with a third completion, the criterion, and the penalty that orders the three."""

import functools
import textwrap
from types import SimpleNamespace
from typing import Any

import torch
from accelerate.logging import get_logger
from accelerate.utils import is_peft_model
from datasets import Dataset, IterableDataset
from torch import Tensor
from transformers import AutoTokenizer, PreTrainedTokenizerBase
from trl import DPOTrainer
from trl.data_utils import is_conversational

from idl_hf.dpoc.collator import COMPLETIONS, DataCollatorForCriterion
from idl_hf.dpoc.config import DPOCConfig
from idl_hf.dpoc.loss import dpoc_penalty, released_penalty
from idl_hf.dpoc.reference import precompute_reference
from idl_hf.dpoc.tokenization import tokenize_row

logger = get_logger(__name__)
_COLUMNS = ("prompt", *COMPLETIONS)


class DPOCTrainer(DPOTrainer):
    """Trains with L_DPO(chosen, rejected) + P(chosen, criterion) + P(criterion, rejected) (paper Eq. 6).

    Arguments are DPOTrainer's, with `args` a DPOCConfig and datasets with the columns prompt, chosen, criterion,
    rejected, as text or as messages. L_DPO is TRL's own code, so all its loss types, divergences and metrics apply.
    For the second stage pass the PeftModel of the first (is_trainable=True) and no peft_config: its adapter is copied
    as the frozen reference, and only the trained one is ever saved.

    Raises ValueError where a column is missing, and for vision models.
    """

    args: DPOCConfig
    model: Any  # the parent's type leaves out PeftModel
    _signature_columns: Any

    _tag_names = ["trl", "dpoc", "idl"]  # noqa: RUF012 (as in TRL)
    _name = "DPOC"
    _paper = {  # noqa: RUF012
        "title": '"In Dialogues We Learn": Towards Personalized Dialogue Without Pre-defined Profiles through '
        "In-Dialogue Learning",
        "id": "2403.03102",
        "citation": textwrap.dedent("""\
            @inproceedings{cheng2024in,
                title        = {{"In Dialogues We Learn": Towards Personalized Dialogue Without Pre-defined Profiles through In-Dialogue Learning}},
                author       = {Chuanqi Cheng and Quan Tu and Shuo Shang and Cunli Mao and Zhengtao Yu and Wei Wu and Rui Yan},
                year         = 2024,
                booktitle    = {Proceedings of the 2024 Conference on Empirical Methods in Natural Language Processing},
                eprint       = {2403.03102},
            }"""),
    }

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
            processing_class = AutoTokenizer.from_pretrained(name, trust_remote_code=args.trust_remote_code)
        if not isinstance(processing_class, PreTrainedTokenizerBase):
            raise ValueError(
                f"DPOCTrainer trains text models with a tokenizer, found a {type(processing_class).__name__}. Vision "
                "models are not supported: three completions would each need the images."
            )
        if data_collator is None:
            if processing_class.pad_token is None:
                processing_class.pad_token = processing_class.eos_token
            data_collator = DataCollatorForCriterion(
                pad_token_id=processing_class.pad_token_id,
                max_length=args.max_length,
                pad_to_multiple_of=args.pad_to_multiple_of,
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
        if is_peft_model(self.model) and "ref" in self.model.peft_config:
            # TRL's frozen copy of the adapter would be saved beside the trained one, in every checkpoint
            self.model.save_pretrained = functools.partial(self.model.save_pretrained, selected_adapters=["default"])

    def _prepare_dataset(self, dataset: Any, processing_class: Any, args: Any, dataset_name: str) -> Any:
        first = next(iter(dataset), None)
        if first is None:
            raise ValueError(f"The {dataset_name} dataset is empty.")
        if "criterion_ids" in first:  # tokenized already
            return dataset
        missing = [column for column in _COLUMNS if column not in first]
        if missing:
            raise ValueError(
                f"The {dataset_name} dataset lacks the columns {', '.join(missing)}. DPOC needs "
                f"{', '.join(_COLUMNS)}; found: {', '.join(first)}."
            )
        options: dict[str, Any] = {}
        if isinstance(dataset, Dataset):
            options = {"num_proc": args.dataset_num_proc, "desc": f"Tokenizing {dataset_name} dataset"}
        with args.main_process_first(desc=f"tokenizing {dataset_name}"):
            dataset = dataset.map(
                functools.partial(
                    tokenize_row,
                    tokenizer=processing_class,
                    conversational=is_conversational(first),
                    max_prompt_length=args.max_prompt_length,
                ),
                **options,
            )
        if args.max_length is not None:  # else nothing of the completion would be left to learn from
            count = len(dataset) if isinstance(dataset, Dataset) else 0
            dataset = dataset.filter(lambda row: len(row["prompt_ids"]) < args.max_length)
            if isinstance(dataset, Dataset) and len(dataset) < count:
                logger.warning(
                    f"{count - len(dataset)} of {count} {dataset_name} prompts fill max_length and were left out."
                )
        if isinstance(dataset, Dataset) and (cut := sum(dataset["prompt_cut"])):
            logger.warning(f"{cut} of {len(dataset)} {dataset_name} prompts exceeded max_prompt_length and were cut.")
        return dataset

    def _set_signature_columns_if_needed(self) -> None:
        if self._signature_columns is None:
            references = [f"ref_{name}_logps" for name in COMPLETIONS]
            self._signature_columns = ["prompt_ids", *(f"{name}_ids" for name in COMPLETIONS), *references]

    def _precompute_ref_logps(self, dataset: Dataset, name: str, batch_size: int) -> Dataset:
        return precompute_reference(self, dataset, name, batch_size)

    def compute_ref_log_probs(self, model: Any, inputs: dict[str, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        """Summed log-probs of the reference for (chosen, criterion, rejected), each of shape (B,)."""
        halves = super().compute_ref_log_probs(model, inputs)  # of one column of all three
        chosen, criterion, rejected = torch.cat(halves).chunk(3)
        return chosen, criterion, rejected

    def _compute_loss(self, model: Any, inputs: dict[str, Tensor], return_outputs: bool) -> Any:
        """One forward for the three completions; TRL computes L_DPO from a stand-in that returns two of them."""
        keys = ("input_ids", "attention_mask", "completion_mask")
        batch = {key: inputs[key] for key in keys}
        labels = batch["input_ids"].masked_fill(batch["completion_mask"] == 0, -100)
        forward = {"input_ids": batch["input_ids"], "attention_mask": batch["attention_mask"], "use_cache": False}
        if self.aux_loss_enabled:
            forward["output_router_logits"] = True
        outputs = model(**forward, labels=labels, fused_lm_head=True)
        logps = outputs.log_probs.sum(dim=1).chunk(3)
        if self.precompute_ref_logps:
            reference = tuple(inputs[f"ref_{name}_logps"] for name in COMPLETIONS)
        else:
            reference = self.compute_ref_log_probs(self.ref_model or self.model, batch)
        pair = {
            "input_ids": _without_criterion(batch["input_ids"]),
            "attention_mask": batch["attention_mask"],  # TRL counts tokens with it: those of all three
            "completion_mask": _without_criterion(batch["completion_mask"]),
            "ref_chosen_logps": reference[0],
            "ref_rejected_logps": reference[2],
        }
        loss = self._dpo_loss(outputs, pair)
        ratios = [policy - ref for policy, ref in zip(logps, reference, strict=True)]
        penalty = self._penalty(*ratios)
        loss = loss + penalty.mean()
        self._log_criterion(penalty, logps[1], *ratios)
        if return_outputs:
            with torch.no_grad():
                return loss, model(**forward)
        return loss

    def _dpo_loss(self, outputs: Any, pair: dict[str, Tensor]) -> Tensor:
        per_token = ("log_probs", "entropy", "mean_logits", "is_top1", *(["log_sum_sq_probs"] * self.use_weighting))
        stand_in = SimpleNamespace(**{name: _without_criterion(getattr(outputs, name)) for name in per_token})
        if self.aux_loss_enabled:
            stand_in.aux_loss = outputs.aux_loss
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
        metrics = self._metrics["train" if self.model.training else "eval"]
        for name, value in values.items():
            metrics[name].append(self.accelerator.gather(value.detach()).mean().item())


def _without_criterion(rows: Tensor) -> Tensor:
    chosen, _, rejected = rows.chunk(3)
    return torch.cat((chosen, rejected))
