"""What is measured of a model: likelihoods, replies, attention. What was measured before is not measured again."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from datasets import Dataset, concatenate_datasets
from tqdm.auto import tqdm
from transformers import PreTrainedTokenizerBase

from idl_hf import prompting
from idl_hf.cache import Cache, code_identity, digest
from idl_hf.evaluation.attention import PersonaAttention, persona_attention
from idl_hf.evaluation.data import DialogueKey, EvaluationData, keys_of, spread
from idl_hf.evaluation.memory import give_back_memory
from idl_hf.evaluation.reply_file import GivenReply
from idl_hf.evaluation.targets import targets_of
from idl_hf.machine import default_device, fast_precision
from idl_hf.models.identity import model_identity
from idl_hf.models.likelihood import SummedNLL, per_token
from idl_hf.models.limits import position_count
from idl_hf.models.loading import load_config, load_tokenizer
from idl_hf.models.responder import LocalModel, Sampling
from idl_hf.schema import Message
from idl_hf.training.data import fit_rows

Judge = Callable[[Sequence[str], Sequence[Sequence[str]]], list[list[str]]]  # replies, facts of each -> NLI labels
_ROWS_BETWEEN = 64  # that are scored until memory is given back
_EXAMPLES = 6  # replies shown in a report


@dataclass(frozen=True)
class Reply:
    """One reply of a person, as the model gave it and as the person did."""

    dialogue: DialogueKey
    turn: int  # of the dialogue, at which it begins
    said: str  # by the partner, just before
    gold: str
    text: str

    @property
    def given(self) -> GivenReply:
        """The model's reply as a file holds it."""
        return GivenReply(self.dialogue.dialogue_id, self.turn, self.text, self.dialogue.person_id)


class MeasuredModel:
    """A model or adapter, loaded when something has to be measured that the cache does not hold.

    What was measured is kept by weights, code, precision, kind of device and tokens, so that it serves all
    experiments.
    """

    def __init__(self, name: str, cache: Cache, batch_size: int = 8, chat_template: str | None = None) -> None:
        """name, chat_template: as `load_model` takes them."""
        code = code_identity("idl_hf.models", "torch", "transformers", "peft")
        self._name, self._cache, self._batch_size = name, cache, batch_size
        self._chat_template = chat_template
        self._identity = (model_identity(name), str(fast_precision(default_device())), default_device(), code)

    @cached_property
    def tokenizer(self) -> PreTrainedTokenizerBase:
        """The tokenizer, which is loaded without the model."""
        return load_tokenizer(self._name, chat_template=self._chat_template)

    @cached_property
    def positions(self) -> int | None:
        """How many tokens the model has positions for."""
        return position_count(load_config(self._name))

    @cached_property
    def _model(self) -> LocalModel:
        return LocalModel.from_pretrained(self._name, self._batch_size, self._chat_template)

    def nll(self, rows: Dataset, label: str) -> dict[str, float]:
        """Return each person's nats per token of all replies in the rows' completions."""
        return per_token(rows["person_id"], self.scores(rows, label))

    def scores(self, rows: Dataset, label: str) -> list[SummedNLL]:
        """Return the summed negative log-likelihood of the replies in each row's completion."""

        def measure(places: list[int]) -> Iterator[dict[int, bytes]]:
            for done, place in enumerate(tqdm(places, desc=f"Scoring {label}")):
                if done % _ROWS_BETWEEN == 0:
                    give_back_memory()
                logprobs = self._model.logprobs(rows[place]["prompt"], rows[place]["completion"])
                yield {place: json.dumps(SummedNLL(-float(logprobs.sum(dtype=np.float64)), len(logprobs))).encode()}

        encoded = (prompting.encode(self.tokenizer, row["prompt"], row["completion"]) for row in rows)
        keys = [digest("nll", self._identity, tokens) for tokens in encoded]
        return [SummedNLL(*json.loads(value)) for value in self._cache.values(keys, measure)]

    def replies(self, prompts: Sequence[Sequence[Message]], max_new_tokens: int, label: str) -> list[str]:
        """Return the greedy reply to each prompt."""

        def measure(places: list[int]) -> Iterator[dict[int, bytes]]:
            asked = [prompts[place] for place in places]
            for i, text in self._model.replies(asked, Sampling(max_new_tokens), label):
                yield {places[i]: text.encode()}

        tokens = [prompting.prompt_ids(self.tokenizer, prompt) for prompt in prompts]
        keys = [digest("reply", self._identity, ids, max_new_tokens) for ids in tokens]
        return [value.decode() for value in self._cache.values(keys, measure)]

    def attention(
        self, rows: Sequence[Mapping[str, Any]], profiles: Sequence[Sequence[str]], label: str
    ) -> list[PersonaAttention]:
        """Return the attention of each row. It is not kept: a row takes no longer than its likelihood, and what it
        gives is as long as its prompt."""
        pairs = list(zip(rows, profiles, strict=True))
        return [
            persona_attention(self._model.model, self.tokenizer, row, profile)
            for row, profile in tqdm(pairs, desc=f"Attention {label}")
        ]


@dataclass
class Notes:
    """What a report says beside its tables: each note once, in order."""

    texts: dict[str, list[str]] = field(default_factory=dict)  # with the labels of the lines that it is about

    def add(self, text: str, label: str | None = None) -> None:
        """Add a note, or a line's label to a note that is there."""
        labels = self.texts.setdefault(text, [])
        if label is not None and label not in labels:
            labels.append(label)

    def lines(self) -> list[str]:
        """Return the notes, those about lines with their labels."""
        return [f"{text}: {'; '.join(labels)}." if labels else text for text, labels in self.texts.items()]


@dataclass
class MeasuredLine:
    """One line of a table: a model, with what its prompts know of the person, on the dialogues of one test."""

    label: str
    model: MeasuredModel
    data: EvaluationData
    options: Mapping[str, Any]  # of the rows: what the prompts know of the person
    notes: Notes
    max_new_tokens: int
    generated: int | None  # how many replies, spread over the dialogues; None: all
    attention_rows: int
    comparable_tokens: bool  # whether the tokenizer is that of the other lines
    judge: Judge | None
    _fitted: dict[str, Dataset] = field(default_factory=dict)

    @property
    def shows_dialogues(self) -> bool:
        """Whether the prompts show past dialogues, which could be another person's."""
        return self.options["conditioning"] not in ("none", "profile") and self.options.get("references") != 0

    def nll(self, **options: Any) -> dict[str, float]:
        """Return each person's NLL, under other row options if any are given."""
        suffix = "".join(f", {value}" for value in options.values()).replace("_", " ")
        return self.model.nll(self.rows(**options), f"{self.label}{suffix}")

    def rows(self, **options: Any) -> Dataset:
        """Return the rows within the token budget, and note how many past dialogues they show: lines differ in it,
        too."""
        asked = {**self.options, **options}
        if repr(asked) in self._fitted:
            return self._fitted[repr(asked)]
        positions = self.model.positions and self.model.positions - self.max_new_tokens
        rows = fit_rows(self.data.rows(**asked), self.model.tokenizer, self.data.max_prompt_tokens, positions)
        self._fitted[repr(asked)] = rows
        if asked["conditioning"] not in ("none", "profile") and asked.get("references") != 0:
            self._note_shown(rows, self.label)
        return rows

    def _note_shown(self, rows: Dataset, label: str) -> None:
        chosen, lost = [len(ids) for ids in rows["reference_ids"]], rows["dropped_references"]
        shown = [count - dropped for count, dropped in zip(chosen, lost, strict=True)]
        most = self.data.max_prompt_tokens
        about = (
            f"{self.test}, {np.mean(shown):.2f} past dialogues a prompt, of {np.mean(chosen):.2f} chosen; "
            f"{sum(map(bool, lost))} of {len(rows)} prompts lost some to keep within {most} tokens, "
            f"{shown.count(0)} hold none"
        )
        self.notes.add(about, label)

    def lineup(self, strangers: int | None = None) -> dict[DialogueKey, list[SummedNLL]]:
        """Return the scores of each dialogue's replies given the person's own past dialogues, then given those of
        strangers, the first so many of them (None: all): four at random, then the most alike.

        All prompts of a dialogue lose as many past dialogues to keep within the budget, so that length tells nobody.
        """
        rows = [self.data.rows(**{**self.options, **other}) for other in ({}, {"conditioning": "strangers"})]
        places: dict[DialogueKey, list[int]] = {key: [place] for place, key in enumerate(keys_of(rows[0]))}
        for place, key in enumerate(keys_of(rows[1]), len(rows[0])):
            if strangers is None or len(places[key]) <= strangers:
                places[key].append(place)
        asked = concatenate_datasets(rows).select([place for of_dialogue in places.values() for place in of_dialogue])
        positions = self.model.positions and self.model.positions - self.max_new_tokens
        fitted = fit_rows(asked, self.model.tokenizer, self.data.max_prompt_tokens, positions, per_dialogue=True)
        self._note_shown(fitted, f"{self.label}, among strangers")
        scores = iter(self.model.scores(fitted, f"{self.label}, strangers"))
        return {key: [next(scores) for _ in of_dialogue] for key, of_dialogue in places.items()}

    @property
    def test(self) -> str:
        """The name of the data, without what all names begin with."""
        return self.data.dataset_name.removeprefix("idl_hf/")

    @cached_property
    def replies(self) -> list[Reply]:
        """The model's reply where the person gave one, with the dialogue before it as it really went."""
        rows = self.rows()
        said = [
            ([*row["prompt"], *row["completion"][:place]], message["content"])
            for row in rows
            for place, message in enumerate(row["completion"])
            if message["role"] == "assistant"
        ]
        asked = list(zip(targets_of(rows, self.data), said, strict=True))
        asked = [asked[place] for place in spread(len(asked), self.generated)]
        texts = self.model.replies([prompt for _, (prompt, _) in asked], self.max_new_tokens, self.label)
        return [
            Reply(target.dialogue, target.turn, prompt[-1]["content"], gold, text)
            for (target, (prompt, gold)), text in zip(asked, texts, strict=True)
        ]

    @cached_property
    def profiles(self) -> list[list[str]]:
        """The profile of each reply's dialogue."""
        profiles = self.data.profiles()
        return [profiles[reply.dialogue] for reply in self.replies]

    @cached_property
    def attention(self) -> dict[DialogueKey, PersonaAttention]:
        """The attention on words of the profile, of dialogues whose prompts show past ones, spread over all of
        them."""
        rows = self.rows()
        shown = [row for row in rows if len(row["reference_ids"]) > row["dropped_references"]]
        read = [shown[place] for place in spread(len(shown), self.attention_rows)]
        keys = [DialogueKey(row["person_id"], row["dialogue_id"]) for row in read]
        profiles = self.data.profiles()
        return dict(zip(keys, self.model.attention(read, [profiles[key] for key in keys], self.label), strict=True))


def examples_of(lines: Mapping[str, Sequence[Reply]]) -> list[dict[str, str]]:
    """Return the same replies of all lines, spread over people."""
    some: Sequence[Reply] = next(iter(lines.values()), [])
    return [
        {"partner": some[i].said, "the person": some[i].gold}
        | {name: replies[i].text for name, replies in lines.items()}
        for i in spread(len(some), _EXAMPLES)
    ]
