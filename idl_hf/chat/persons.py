"""The people that a server answers for: whose prompt a conversation has, whatever was asked before."""

import threading
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from itertools import takewhile
from pathlib import Path

from transformers import PretrainedConfig, PreTrainedTokenizerBase

from idl_hf.cache import digest
from idl_hf.chat.person_prompt import person_prompt
from idl_hf.corpora.files import find_splits
from idl_hf.corpora.jsonl import read_dialogues
from idl_hf.encoding import SentenceEncoder
from idl_hf.rows.options import RowOptions
from idl_hf.rows.people import People
from idl_hf.rows.references import choose_for_context
from idl_hf.schema import Dialogue, Message, Person, Turn, group_by_person

_CONVERSATIONS = 4096  # of which the references are known


def read_all_people(data_dir: str | Path) -> dict[str, Person]:
    """Return the people of all splits of a folder, by person_id. Raises CorpusError."""
    files = find_splits(data_dir, lambda split: [f"{split}.jsonl"], "train.jsonl, validation.jsonl or test.jsonl")
    dialogues = [dialogue for paths in files.values() for path in paths for dialogue in read_dialogues(path)]
    return {person.person_id: person for person in group_by_person(dialogues)}


class Persons:
    """Makes prompts. References are chosen by the beginning of a conversation, up to the partner's first message, so
    that all requests of one conversation have the same, and share what is computed of them."""

    def __init__(
        self,
        people: Mapping[str, Person],
        encoder: SentenceEncoder,
        options: RowOptions,
        tokenizer: PreTrainedTokenizerBase,
        config: PretrainedConfig,
        max_prompt_tokens: int,
    ) -> None:
        self.people = people
        self._encoder = encoder
        self._options = options
        self._tokenizer = tokenizer
        self._config = config
        self._max_prompt_tokens = max_prompt_tokens
        self._lock = threading.Lock()  # encoder and tokenizer are for one thread at a time
        self._chosen: OrderedDict[bytes, list[Dialogue]] = OrderedDict()  # the conversation used last comes last

    def prompt(self, person_id: str, context: Sequence[Turn], system: str, max_new_tokens: int) -> list[Message]:
        """Return the prompt of a person's conversation. Raises ValueError for one that is too long for the model."""
        before = list(takewhile(lambda turn: turn.role == "self", context))
        with self._lock:
            return person_prompt(
                lambda: self._references(person_id, context[: len(before) + 1]),
                context,
                self._tokenizer,
                self._config,
                self._max_prompt_tokens,
                max_new_tokens,
                system,
                self._options.own_turns,
            ).messages

    def _references(self, person_id: str, beginning: Sequence[Turn]) -> list[Dialogue]:
        key = digest(person_id, list(beginning))  # not the texts: thousands of long ones would fill the memory
        if key not in self._chosen:
            person = self.people[person_id]
            people = People([person], self._encoder, self._options.extractor)
            self._chosen[key] = choose_for_context(person, beginning, people, self._options)
            if len(self._chosen) > _CONVERSATIONS:
                self._chosen.popitem(last=False)
        self._chosen.move_to_end(key)
        return self._chosen[key]
