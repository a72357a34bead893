"""ContrastTrainer: TRL's SFTTrainer whose loss also asks whose prompt the replies go with."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from datasets import Dataset, IterableDataset
from torch import Tensor
from transformers import PreTrainedTokenizerBase
from trl import SFTTrainer

from idl_hf.contrast.collator import DataCollatorForContrast
from idl_hf.contrast.config import ContrastConfig
from idl_hf.contrast.draw import drawn_strangers
from idl_hf.contrast.loss import contrast_loss
from idl_hf.contrast.rows import TOKENS, tokenize_dataset
from idl_hf.dpoc import scores as scoring
from idl_hf.dpoc.card import append_section, changed_settings


class ContrastTrainer(SFTTrainer):
    """SFTTrainer with the loss NLL(own) + contrast_weight * contrast (idl_hf.contrast.loss), both per reply token.

    Arguments are SFTTrainer's, with `args` a ContrastConfig, a model or its name, a tokenizer, and datasets with the
    columns prompt, completion and strangers as messages. A step runs the person's own prompt and those of the drawn
    strangers through the model, each with the same completion. Raises ValueError where a column is missing.
    """

    args: ContrastConfig
    model: Any  # the parent's type leaves out PeftModel
    data_collator: Any
    _signature_columns: Any
    _tag_names = ["trl", "contrast", "idl"]  # noqa: RUF012 (as in TRL)
    _name = "Contrast"

    def __init__(
        self,
        model: Any,
        args: ContrastConfig,
        *,
        processing_class: PreTrainedTokenizerBase,
        train_dataset: Dataset | IterableDataset,
        **kwargs: Any,
    ) -> None:
        if kwargs.get("compute_metrics") is not None:
            raise ValueError("compute_metrics wants whole logits, which ContrastTrainer does not keep. Leave it out.")
        processing_class.pad_token = args.pad_token or processing_class.pad_token or processing_class.eos_token
        collator = DataCollatorForContrast(processing_class.pad_token_id, args.pad_to_multiple_of)
        super().__init__(
            model=model,
            args=args,
            data_collator=collator,
            train_dataset=train_dataset,
            processing_class=processing_class,
            **kwargs,
        )

    def _prepare_dataset(self, dataset: Any, processing_class: Any, args: Any, *others: Any) -> Any:
        if not set(TOKENS) <= set(dataset.column_names or next(iter(dataset))):
            with args.main_process_first(desc="tokenizing"):
                dataset = tokenize_dataset(dataset, processing_class)
        return super()._prepare_dataset(dataset, processing_class, args, *others)

    def _set_signature_columns_if_needed(self) -> None:
        self._signature_columns = list(TOKENS)

    def _get_num_items_in_batch(self, batch_samples: list, device: torch.device) -> Any:
        """Return how many tokens the replies of a step have, each dialogue's counted once, over all processes."""
        own = [{"labels": batch["labels"][:, 0]} for batch in batch_samples]
        return super()._get_num_items_in_batch(own, device)

    def compute_loss(
        self, model: Any, inputs: dict[str, Tensor], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Tensor:
        """Return TRL's loss of the own prompts, each of whose tokens also carries its share of the contrast."""
        dialogues, prompts = self._drawn(inputs["attention_mask"])
        width = int(inputs["attention_mask"][dialogues, prompts].sum(dim=1).max())  # those not drawn may be longer
        width += -width % (self.data_collator.pad_to_multiple_of or 1)
        batch = {name: values[dialogues, prompts, :width] for name, values in inputs.items()}
        own = prompts == 0
        options = {"output_router_logits": True} if self.aux_loss_enabled else {}
        labels = batch.pop("labels")
        rows = {**batch, "completion_mask": labels != -100}
        scores = scoring.token_scores(scoring.predict(model, rows, **options), weighting=False)
        totals = scores.log_probs.new_full(inputs["attention_mask"].shape[:2], -torch.inf)
        totals = totals.index_put((dialogues, prompts), scores.log_probs.sum(dim=1))
        mask = scores.mask[own]
        tokens = mask.sum(dim=1)
        contrast = contrast_loss(totals, tokens, self.args.contrast_temperature)
        share = self.args.contrast_weight * contrast / tokens
        stand_in = SimpleNamespace(
            log_probs=scores.log_probs[own] - share[:, None] * mask,  # as if each token were so much less likely
            entropy=scores.entropy[own],
            is_top1=scores.is_top1[own],
            label_mask=mask,
            aux_loss=scores.aux_loss,
        )
        self._log_contrast(totals.detach(), tokens, contrast.detach())
        return super().compute_loss(lambda **_: stand_in, batch, False, num_items_in_batch)

    def _drawn(self, attention_mask: Tensor) -> tuple[Tensor, Tensor]:
        """Return which rows of a batch run through the model: their dialogues and, of these, their prompts."""
        args, step = self.args, self.state.global_step if self.model.training else None
        places = []
        for dialogue, count in enumerate((attention_mask.any(dim=2).sum(dim=1) - 1).tolist()):
            drawn = drawn_strangers(count, args.random_strangers, args.nearest_strangers, args.seed, step)
            places += [(dialogue, 0), *((dialogue, 1 + place) for place in drawn)]
        dialogues, prompts = torch.tensor(places, device=attention_mask.device).T
        return dialogues, prompts

    def _log_contrast(self, totals: Tensor, tokens: Tensor, contrast: Tensor) -> None:
        """Log what own and strangers' prompts make of the replies. One gather for all: it waits for every process."""
        strangers = totals[:, 1:]
        there = strangers > -torch.inf
        found = (totals[:, :1] > strangers).all(dim=1)
        mean = strangers.masked_fill(~there, 0).sum(dim=1) / there.sum(dim=1)
        sums = torch.stack([-totals[:, 0], -mean, contrast, tokens, found, torch.ones_like(contrast)], dim=1)
        mode = "train" if self.model.training else "eval"
        gather = self.accelerator.gather if self.model.training else self.accelerator.gather_for_metrics
        own, other, nats, count, hits, dialogues = gather(sums).sum(dim=0).tolist()
        values = {"nll": own / count, "nll_strangers": other / count, "contrast": nats / count}
        for name, value in {**values, "identified": hits / dialogues}.items():
            self._metrics[mode][name].append(value)

    def create_model_card(self, *args: Any, **kwargs: Any) -> None:
        """Write TRL's card and every setting that differs from its default."""
        super().create_model_card(*args, **kwargs)
        if self.is_world_process_zero():
            append_section(Path(str(self.args.output_dir), "README.md"), "Recipe", changed_settings(self.args))
