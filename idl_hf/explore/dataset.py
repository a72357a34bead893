"""A dataset as `idl-hf show` and `idl-hf stats` read it: its options, its dialogues, and how long its prompts are."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from idl_hf.arguments import option
from idl_hf.prompting import token_counter
from idl_hf.rows.arguments import DatasetArguments
from idl_hf.rows.options import option_names
from idl_hf.schema import Dialogue, Message, Turn


@dataclass
class ExploreArguments(DatasetArguments):
    """What to look at."""

    encoder: str | None = option(None, "Sentence encoder, or 'offline'; goes before the one of dataset_options.")
    model_name_or_path: str | None = option(None, "Whose tokens prompts are counted in, or 'offline'; else words.")

    def builder_options(self, config: str) -> dict[str, Any]:
        """Return what `load_dataset` takes; for sessions no options of the rows, which would build them anew."""
        options = super().builder_options(config) | ({"encoder": self.encoder} if self.encoder else {})
        rows_only = option_names() if config == "sessions" else []
        return {name: value for name, value in options.items() if name not in rows_only}


@dataclass(frozen=True)
class PromptCounter:
    """Counts the length of prompts in a unit: tokens by a model's chat template, or words."""

    count: Callable[[Sequence[Message]], int]
    unit: str

    @classmethod
    def from_pretrained(cls, model_name_or_path: str | None) -> "PromptCounter":
        """Return one that counts the model's tokens, or words where no model is named."""
        if model_name_or_path is None:
            return cls(_words, "words (no --model_name_or_path was given)")
        from idl_hf.models.loading import load_tokenizer

        tokenizer = load_tokenizer(model_name_or_path, plain=True)  # as it would be trained
        return cls(token_counter(tokenizer), f"tokens ({model_name_or_path})")


def _words(messages: Sequence[Message]) -> int:
    return sum(len(message["content"].split()) for message in messages)


def dialogue_of(session: Mapping[str, Any]) -> Dialogue:
    """Return the dialogue that a row of the sessions config was made of."""
    turns = tuple(Turn(**{**turn, "candidates": tuple(turn["candidates"])}) for turn in session["turns"])
    return Dialogue(**{**session, "turns": turns, "profile": tuple(session["profile"])})
