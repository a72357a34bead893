"""What is measured of one model on the rows of one test: likelihoods, replies, attention. What is known is not repeated."""

import hashlib
import json
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from datasets import Dataset
from tqdm.auto import tqdm

from idl_hf.evaluation.attention import PersonaAttention, persona_attention
from idl_hf.evaluation.generation import generate_replies
from idl_hf.evaluation.nll import reply_logprobs
from idl_hf.evaluation.records import Records
from idl_hf.schema import Message


@dataclass(frozen=True)
class Reply:
    """One reply of a person, as the model gave it and as the person did."""

    person: str
    dialogue: str
    said: str  # by the partner, just before
    gold: str
    text: str


class Model:
    """A model or adapter, loaded when something has to be measured that `folder` does not hold.

    What was measured is kept there by model and prompt, so that it serves all experiments.
    """

    def __init__(self, load: Callable[[], tuple[Any, Any]], identity: str, folder: Path) -> None:
        """load: makes (model, tokenizer). identity: tells its weights from any others."""
        self._load = load
        self._identity = identity
        self._loaded: tuple[Any, Any] | None = None
        self._folder = folder / hashlib.sha256(identity.encode()).hexdigest()[:12]

    @property
    def loaded(self) -> tuple[Any, Any]:
        if self._loaded is None:
            self._loaded = self._load()
        return self._loaded

    def nll(self, rows: Dataset, label: str) -> dict[str, float]:
        """Per person, nats per token of all replies of the rows' completions."""
        records = Records(self._folder / "nll.jsonl")
        keys = [_key(row["prompt"], row["completion"]) for row in rows]
        for i in tqdm(records.missing(keys), desc=f"Scoring {label}"):
            logps = reply_logprobs(*self.loaded, rows[i]["prompt"], rows[i]["completion"])
            records.add(keys[i], {"nll": -float(logps.sum()), "tokens": len(logps)})
        total: dict[str, float] = defaultdict(float)
        tokens: dict[str, int] = defaultdict(int)
        for row, key in zip(rows, keys, strict=True):
            total[row["person_id"]] += records[key]["nll"]
            tokens[row["person_id"]] += records[key]["tokens"]
        return {person: total[person] / tokens[person] for person in total}

    def replies(self, rows: Dataset, max_new_tokens: int, batch_size: int, label: str) -> list[Reply]:
        """One for each reply of the rows' completions, with the dialogue before it as it really went."""
        asked = [(row, *turn) for row in rows for turn in _turns(row["prompt"], row["completion"])]
        keys = [_key(prompt, max_new_tokens) for _, prompt, _ in asked]
        records = Records(self._folder / "replies.jsonl")
        missing = records.missing(keys)
        if missing:
            prompts = [asked[i][1] for i in missing]
            for i, text in generate_replies(*self.loaded, prompts, max_new_tokens, label, batch_size):
                records.add(keys[missing[i]], text)
        return [
            Reply(row["person_id"], row["dialogue_id"], prompt[-1]["content"], gold, records[key])
            for (row, prompt, gold), key in zip(asked, keys, strict=True)
        ]

    def attention(
        self, rows: Sequence[dict[str, Any]], profiles: Sequence[Sequence[str]], label: str
    ) -> list[PersonaAttention]:
        """Not kept: a row takes no longer than its likelihood, and what it gives is as long as its prompt."""
        pairs = list(zip(rows, profiles, strict=True))
        return [
            persona_attention(*self.loaded, row, profile) for row, profile in tqdm(pairs, desc=f"Attention {label}")
        ]


def _turns(prompt: Sequence[Message], completion: Sequence[Message]) -> list[tuple[list[Message], str]]:
    """(prompt, gold reply) of each reply in a completion that goes on with the partner's turns."""
    return [
        ([*prompt, *completion[:i]], message["content"])
        for i, message in enumerate(completion)
        if message["role"] == "assistant"
    ]


def _key(*parts: Any) -> str:
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:24]
