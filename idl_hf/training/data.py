"""Which rows a stage trains on: named, loaded, and fitted to a budget of tokens. Imports no torch."""

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from idl_hf import prompting, token_ids
from idl_hf.arguments import option, refuse_less_than_one
from idl_hf.models.identity import RECIPE_FILE
from idl_hf.rows.arguments import DATA_DIR_HELP, DATASET_HELP, OPTIONS_HELP, DatasetArguments, parse_options
from idl_hf.rows.made import is_folder_of_rows

if TYPE_CHECKING:
    from datasets import Dataset
    from transformers import PreTrainedTokenizerBase

__all__ = ["DATASET_HELP", "DATA_DIR_HELP", "OPTIONS_HELP", "DataArguments", "fit_rows", "parse_options"]
logger = logging.getLogger(__name__)
COMPLETIONS = ("completion", "chosen", "criterion", "rejected")
_AROUND = 64  # tokens that a template may put around a message
_REPLY_ROOM = 1024  # tokens that the replies of a dialogue keep within: no need to count them where there is this room


@dataclass
class DataArguments(DatasetArguments):
    """Which rows to train on."""

    train_split: str = option("train", "Split to train on; slices such as train[:100] work.")
    eval_split: str | None = option(None, "Split for eval_strategy.")
    max_prompt_tokens: int | None = option(2048, "Longer prompts lose whole reference dialogues, the first ones.")
    budget_per: str = option(
        "auto",
        "Whether a prompt that is too long loses references for itself ('row'), or all prompts of a dialogue lose "
        "those that the longest of them has no room for ('dialogue'), so that they begin alike. 'auto': 'dialogue' "
        "for DPOC with prefix_sharing dialogue, else 'row'.",
        ["auto", "row", "dialogue"],
    )
    max_rows: int | None = option(None, "Trains on at most this many rows, of whole dialogues drawn at random.")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.budget_per not in (known := ("auto", "row", "dialogue")):
            raise ValueError(f"budget_per='{self.budget_per}' is unknown. The valid values are: {', '.join(known)}.")
        refuse_less_than_one(max_prompt_tokens=self.max_prompt_tokens, max_rows=self.max_rows)

    def load(self, config: str, split: str) -> "Dataset":
        """Return the rows of a split, `max_rows` of them at most. Raises ValueError for rows in a folder that does not
        tell what they were made with, since chats have to make their prompts likewise."""
        if self.made_with(config) is None:
            nothing = (
                f"'{self.dataset_name}' has no {config}/{RECIPE_FILE}, which tells what its rows were made with. "
            )
            if is_folder_of_rows(self.dataset_name, config):
                advice = "Run `idl-hf build` again, with the same options and another --output_dir."
                raise ValueError(f"{nothing}{advice}")
            logger.warning(
                f"{nothing}Chats with what is trained on them will make prompts by the defaults: put the options into "
                f"its {RECIPE_FILE} if these were others."
            )
        rows = super().load(config, split)
        if self.max_rows is None or len(rows) <= self.max_rows:
            return rows
        dialogues = dialogues_of(rows)
        drawn: list[int] = []
        for place in np.random.default_rng(0).permutation(len(dialogues)):
            if not drawn or len(drawn) + len(dialogues[place]) <= self.max_rows:
                drawn += dialogues[place]
        return rows.select(drawn[: self.max_rows])


def fit_rows(
    rows: "Dataset",
    tokenizer: "PreTrainedTokenizerBase",
    max_prompt_tokens: int | None,
    positions: int | None = None,
    per_dialogue: bool = False,
) -> "Dataset":
    """Return rows whose prompts keep within the budget, with a column `dropped_references`; log what was dropped.

    positions: those of the model, which prompt and replies together keep within. per_dialogue: all rows of a dialogue
    lose the same references. Raises ValueError where a dialogue does not keep within without any reference.
    """
    if max_prompt_tokens is None and positions is None:
        return rows
    if "dialogue_starts" not in rows.column_names:
        logger.warning(
            "The rows do not tell where the dialogues of a prompt begin (a column dialogue_starts), so that prompts "
            f"stay as long as they are, be they longer than max_prompt_tokens={max_prompt_tokens}."
        )
        return rows
    limit = math.inf if max_prompt_tokens is None else max_prompt_tokens
    fit = partial(_fit_row, tokenizer=tokenizer, max_prompt_tokens=limit, positions=positions)
    fitted = rows.map(fit, desc="Fitting prompts")
    if per_dialogue:
        counts = fitted["dropped_references"][:]
        alone = sum(counts)
        for dialogue in dialogues_of(rows):
            most = max(counts[i] for i in dialogue)
            for i in dialogue:
                counts[i] = most
        dropping = partial(_drop, counts=counts)
        fitted = rows.map(dropping, with_indices=True, desc="Fitting dialogues")
    dropped = [count for count in fitted["dropped_references"] if count]
    if dropped:
        budget = limit if positions is None else f"{limit} tokens, or with the replies the model's {positions}"
        of_dialogue = ", or the longest of their dialogue did," if per_dialogue else ""
        without = f" ({alone} if each were fitted for itself)" if per_dialogue else ""
        logger.warning(
            f"{len(dropped)} of {len(fitted)} prompts exceeded {budget} tokens{of_dialogue} and lost {sum(dropped)} "
            f"reference dialogues in all{without}."
        )
    return fitted


def dialogues_of(rows: "Dataset") -> list[list[int]]:
    """Return the rows of each dialogue of a person, in the order in which the dialogues begin."""
    if not {"person_id", "dialogue_id"} <= set(rows.column_names):
        return [[i] for i in range(len(rows))]
    dialogues: dict[tuple[str, str], list[int]] = {}
    for i, ids in enumerate(zip(rows["person_id"], rows["dialogue_id"], strict=True)):
        dialogues.setdefault(ids, []).append(i)
    return list(dialogues.values())


def _drop(row: dict[str, Any], i: int, counts: Sequence[int]) -> dict[str, object]:
    count = min(counts[i], len(row["dialogue_starts"]) - 1)  # the current dialogue is never dropped
    prompt = prompting.drop_references(row["prompt"], row["dialogue_starts"], count)
    return {"prompt": prompt, "dropped_references": count}


def _fit_row(
    row: dict[str, Any], tokenizer: "PreTrainedTokenizerBase", max_prompt_tokens: float, positions: int | None
) -> dict[str, object]:
    count = prompting.token_counter(tokenizer)
    replies = 0
    if positions is not None and (max_prompt_tokens + _REPLY_ROOM > positions or not _has_short_replies(row)):
        replies = _longest_reply(row, tokenizer)
        max_prompt_tokens = min(max_prompt_tokens, positions - replies)
    prompt, dropped = prompting.fit_to_budget(row["prompt"], row["dialogue_starts"], max_prompt_tokens, count)
    if positions is None or dropped < len(row["dialogue_starts"]) - 1:  # within the budget
        return {"prompt": prompt, "dropped_references": dropped}
    if (length := count(prompt) + (replies or _longest_reply(row, tokenizer))) > positions:
        raise ValueError(
            f"Dialogue '{row['dialogue_id']}' of '{row['person_id']}' takes {length} tokens without any reference, "
            f"and the model has {positions} positions. Take a model with more, or leave the dialogue out."
        )
    return {"prompt": prompt, "dropped_references": dropped}


def _has_short_replies(row: dict[str, Any]) -> bool:
    """Tell whether each completion surely keeps within _REPLY_ROOM: a token is a byte at least."""
    completions = [row[name] for name in COMPLETIONS if name in row]
    lengths = (sum(len(said["content"].encode()) + _AROUND for said in completion) for completion in completions)
    return max(lengths, default=0) <= _REPLY_ROOM


def _longest_reply(row: dict[str, Any], tokenizer: "PreTrainedTokenizerBase") -> int:
    completions = [row[name] for name in COMPLETIONS if name in row]
    return max(len(tokens.ids) for tokens in token_ids.continue_prompt(tokenizer, row["prompt"], completions).after)
