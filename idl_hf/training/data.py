"""Which rows a stage trains on: named, loaded, and fitted to a budget of tokens. Imports no torch."""

import logging
import math
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from idl_hf import prompting, token_ids
from idl_hf.arguments import option
from idl_hf.encoding import default_encoder
from idl_hf.rows.arguments import DATA_DIR_HELP, DATASET_HELP, OPTIONS_HELP, DatasetArguments, parse_options
from idl_hf.rows.options import option_names

if TYPE_CHECKING:
    from datasets import Dataset
    from transformers import PreTrainedTokenizerBase

__all__ = ["DATASET_HELP", "DATA_DIR_HELP", "OPTIONS_HELP", "DataArguments", "fit_rows", "parse_options"]
logger = logging.getLogger(__name__)
COMPLETIONS = ("completion", "chosen", "criterion", "rejected")
_REPLY_ROOM = 1024  # tokens that the replies of a dialogue keep within: no need to count them where there is this room


@dataclass
class DataArguments(DatasetArguments):
    """Which rows to train on."""

    train_split: str = option("train", "Split to train on; slices such as train[:100] work.")
    eval_split: str | None = option(None, "Split for eval_strategy.")
    max_prompt_tokens: int | None = option(2048, "Longer prompts lose whole reference dialogues, the first ones.")
    max_rows: int | None = option(None, "Trains on this many rows, drawn at random.")

    def load(self, config: str, split: str) -> "Dataset":
        """Return the rows of a split, `max_rows` of them at most."""
        rows = super().load(config, split)
        if self.max_rows is None or len(rows) <= self.max_rows:
            return rows
        return rows.shuffle(seed=0).select(range(self.max_rows))

    def row_options(self) -> dict[str, Any]:
        """Return the options that shape prompts, for chats to follow; the encoder too, which differs by machine."""
        given = parse_options(self.dataset_options)
        shaping = {name: value for name, value in given.items() if name in option_names()}
        return {"encoder": default_encoder(), **shaping}


def fit_rows(
    rows: "Dataset",
    tokenizer: "PreTrainedTokenizerBase",
    max_prompt_tokens: int | None,
    positions: int | None = None,
) -> "Dataset":
    """Return rows whose prompts keep within the budget, with a column `dropped_references`; log what was dropped.

    positions: those of the model, which prompt and replies together keep within. Raises ValueError where a dialogue
    does not without any reference.
    """
    if "dialogue_starts" not in rows.column_names or (max_prompt_tokens is None and positions is None):
        return rows
    limit = math.inf if max_prompt_tokens is None else max_prompt_tokens
    if positions is not None and limit + _REPLY_ROOM <= positions:
        positions = None
    fit = partial(_fit_row, tokenizer=tokenizer, max_prompt_tokens=limit, positions=positions)
    fitted = rows.map(fit, desc="Fitting prompts")
    dropped = [count for count in fitted["dropped_references"] if count]
    if dropped:
        budget = limit if positions is None else f"{limit} tokens, or with the replies the model's {positions}"
        logger.warning(
            f"{len(dropped)} of {len(fitted)} prompts exceeded {budget} tokens and lost {sum(dropped)} reference "
            "dialogues in all."
        )
    return fitted


def _fit_row(
    row: dict[str, Any], tokenizer: "PreTrainedTokenizerBase", max_prompt_tokens: float, positions: int | None
) -> dict[str, object]:
    count = prompting.token_counter(tokenizer)
    replies = 0
    if positions is not None:
        completions = [row[name] for name in COMPLETIONS if name in row]
        replies = max(
            len(tokens.ids) for tokens in token_ids.continue_prompt(tokenizer, row["prompt"], completions).after
        )
        max_prompt_tokens = min(max_prompt_tokens, positions - replies)
    prompt, dropped = prompting.fit_to_budget(row["prompt"], row["dialogue_starts"], max_prompt_tokens, count)
    if positions is not None and (length := count(prompt) + replies) > positions:
        raise ValueError(
            f"Dialogue '{row['dialogue_id']}' of '{row['person_id']}' takes {length} tokens without any reference, "
            f"and the model has {positions} positions. Take a model with more, or leave the dialogue out."
        )
    return {"prompt": prompt, "dropped_references": dropped}
