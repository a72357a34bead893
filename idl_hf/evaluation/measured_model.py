"""What is measured of one model on the rows of one test: likelihoods, replies, attention. What is known is not repeated."""

import functools
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from datasets import Dataset
from tqdm.auto import tqdm

from idl_hf import prompting
from idl_hf.evaluation.attention import PersonaAttention, persona_attention
from idl_hf.evaluation.records import Records, code_version
from idl_hf.machine import default_device, fast_precision
from idl_hf.models.likelihood import per_token, reply_logprobs
from idl_hf.models.loading import first_turn, load_model, load_tokenizer
from idl_hf.models.replies import generate_replies
from idl_hf.persona.extractor import model_identity
from idl_hf.schema import Message


@dataclass(frozen=True)
class Reply:
    """One reply of a person, as the model gave it and as the person did."""

    person: str
    dialogue: str
    said: str  # by the partner, just before
    gold: str
    text: str


class MeasuredModel:
    """A model or adapter, loaded when something has to be measured that `folder` does not hold.

    What was measured is kept there by weights, precision, kind of device and tokens, so that it serves all experiments.
    """

    def __init__(self, name: str, folder: Path) -> None:
        """name: as `load_model` takes it."""
        self._name = name
        identity = f"{model_identity(name)} {fast_precision(default_device())} {default_device()} {_code()}"
        self._folder = folder / hashlib.sha256(identity.encode()).hexdigest()[:12]

    @cached_property
    def tokenizer(self) -> Any:
        return load_tokenizer(self._name)

    @cached_property
    def _model(self) -> Any:
        return load_model(self._name)[0]

    def nll(self, rows: Dataset, label: str) -> dict[str, float]:
        """Per person, nats per token of all replies of the rows' completions."""
        records = Records(self._folder / "nll.jsonl")
        keys = [_key(prompting.encode(self.tokenizer, row["prompt"], row["completion"])) for row in rows]
        for i in tqdm(records.missing(keys), desc=f"Scoring {label}"):
            logps = reply_logprobs(self._model, self.tokenizer, rows[i]["prompt"], rows[i]["completion"])
            records.add(keys[i], [-float(logps.sum()), len(logps)])
        return per_token(rows["person_id"], (records[key] for key in keys))

    def replies(self, rows: Dataset, max_new_tokens: int, batch_size: int, label: str) -> list[Reply]:
        """One for each reply of the rows' completions, with the dialogue before it as it really went."""
        asked = [(row, *turn) for row in rows for turn in _turns(row["prompt"], row["completion"])]
        keys = [_key(prompting.prompt_ids(self.tokenizer, prompt), max_new_tokens) for _, prompt, _ in asked]
        records = Records(self._folder / "replies.jsonl")
        missing = records.missing(keys)
        if missing:
            prompts = [asked[i][1] for i in missing]
            for i, text in generate_replies(self._model, self.tokenizer, prompts, max_new_tokens, label, batch_size):
                records.add(keys[missing[i]], text)
        return [
            Reply(
                row["person_id"],
                row["dialogue_id"],
                prompt[-1]["content"],
                gold,
                first_turn(self.tokenizer, records[key]),
            )
            for (row, prompt, gold), key in zip(asked, keys, strict=True)
        ]

    def attention(
        self, rows: Sequence[dict[str, Any]], profiles: Sequence[Sequence[str]], label: str
    ) -> list[PersonaAttention]:
        """Not kept: a row takes no longer than its likelihood, and what it gives is as long as its prompt."""
        pairs = list(zip(rows, profiles, strict=True))
        return [
            persona_attention(self._model, self.tokenizer, row, profile)
            for row, profile in tqdm(pairs, desc=f"Attention {label}")
        ]


@functools.cache
def _code() -> str:
    """Of what measures, since another version of it may measure something else."""
    folder = Path(__file__).parents[1] / "models"
    files = [folder / f"{name}.py" for name in ("likelihood", "replies", "tree_decoding", "loading")]
    return code_version(files, ("torch", "transformers", "peft"))


def _turns(prompt: Sequence[Message], completion: Sequence[Message]) -> list[tuple[list[Message], str]]:
    """(prompt, gold reply) of each reply in a completion that goes on with the partner's turns."""
    return [
        ([*prompt, *completion[:i]], message["content"])
        for i, message in enumerate(completion)
        if message["role"] == "assistant"
    ]


def _key(*parts: Any) -> str:
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:24]
