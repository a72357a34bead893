"""Chat with a person known from past dialogues alone."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from threading import Event, Thread
from typing import Any

import torch

from idl_hf import prompting
from idl_hf.corpora.jsonl import parse_turns
from idl_hf.encoding import SentenceEncoder
from idl_hf.models.loading import load_model, load_recipe
from idl_hf.rows.options import RowOptions, option_names
from idl_hf.rows.people import Corpus
from idl_hf.rows.references import choose_for_context
from idl_hf.schema import Dialogue, Person, Turn

DEFAULT_BUDGET = 2048  # tokens of a prompt


class PersonaChat:
    """A conversation with one person. References are chosen (SPI) and ordered (DPI) at the first message, as in training;
    their keys and values are computed once, so a turn costs the new tokens only.

    >>> chat = PersonaChat.from_pretrained("<user>/<adapter>")  # doctest: +SKIP
    >>> chat.add_dialogue([("partner", "any plans?"), ("self", "i am feeding my goats , as ever")])  # doctest: +SKIP
    >>> chat.reply("do you have pets?")  # doctest: +SKIP
    """

    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        encoder: SentenceEncoder,
        options: RowOptions | None = None,
        max_prompt_tokens: int = DEFAULT_BUDGET,
    ) -> None:
        self._model = model
        self._tokenizer = tokenizer
        self._encoder = encoder
        self._options = options or RowOptions()
        self._max_prompt_tokens = max_prompt_tokens
        self._dialogues: list[Dialogue] = []
        self.reset()

    @classmethod
    def from_pretrained(
        cls,
        name: str,
        *,
        encoder: str | None = None,
        references: int | None = None,
        options: RowOptions | None = None,
        max_prompt_tokens: int | None = None,
    ) -> "PersonaChat":
        """name: an adapter or a model, on the Hub, in a folder, or "offline". What is not given is as in the training of
        the adapter, if that was saved with it (`idl_config.json`), else the default of `RowOptions` and 2,048 tokens."""
        model, tokenizer = load_model(name)
        recipe = load_recipe(name)
        of_prompts = set(option_names()) - {"reply", "rejected", "criterion_type"}
        options = options or RowOptions(**{k: v for k, v in recipe.get("options", {}).items() if k in of_prompts})
        if encoder is not None:
            options = replace(options, encoder=encoder)
        if references is not None:
            options = replace(options, references=references)
        options.check("msl")
        budget = max_prompt_tokens or recipe.get("max_prompt_tokens") or DEFAULT_BUDGET
        return cls(model, tokenizer, SentenceEncoder(options.encoder), options, budget)

    def add_dialogue(self, turns: Sequence[Turn | tuple[str, str] | dict[str, str]]) -> None:
        """One past dialogue of the person, in order: Turns, (role, text) pairs with the roles self and partner, or chat
        messages in which the assistant is the person. Starts the conversation anew."""
        entries = [
            {"role": turn.role, "text": turn.text}
            if isinstance(turn, Turn)
            else {"role": turn[0], "text": turn[1]}
            if isinstance(turn, tuple)
            else turn
            for turn in turns
        ]
        self._dialogues.append(
            Dialogue("person", f"dialogue-{len(self._dialogues) + 1}", parse_turns({"turns": entries}))
        )
        self.reset()

    def reset(self) -> None:
        """Forgets the conversation, not the person."""
        self._turns: list[Turn] = []
        self._references: list[Dialogue] = []
        self._cache: Any = None
        self._cached_ids: list[int] = []
        self.prompt_tokens = 0  # of the last turn
        self.new_tokens = 0  # of these, how many had to be computed
        self.dropped_references = 0  # to keep within max_prompt_tokens

    @property
    def references(self) -> list[Dialogue]:
        """The references in prompt order; empty before the first message."""
        return list(self._references)

    def reply(self, text: str, **generation: Any) -> str:
        """The person's reply to `text`. generation: options of `generate`, such as max_new_tokens or do_sample."""
        return "".join(self.stream(text, **generation)).strip()

    def stream(self, text: str, **generation: Any) -> Iterator[str]:
        """The reply piece by piece. The turn counts once the last piece was taken; one that is broken off does not count."""
        from transformers import TextIteratorStreamer

        ids = self._prompt(text)
        streamer = TextIteratorStreamer(self._tokenizer, skip_prompt=True, skip_special_tokens=True)
        errors: list[BaseException] = []
        stop = Event()
        worker = Thread(target=self._generate, args=(ids, streamer, stop, generation, errors), daemon=True)
        worker.start()
        pieces = []
        try:
            for piece in streamer:
                pieces.append(piece)
                yield piece
        finally:  # also where the caller takes no more pieces: two generations must not share the cache
            stop.set()
            worker.join()
        if errors:
            raise errors[0]
        self._turns += [Turn("partner", text.strip()), Turn("self", "".join(pieces).strip())]

    def _prompt(self, text: str) -> list[int]:
        if not text.strip():
            raise ValueError("The message is empty; pass what the partner says.")
        context = [*self._turns, Turn("partner", text.strip())]
        if not self._turns:
            person = Person("person", tuple(self._dialogues))
            self._references = choose_for_context(
                person, context, Corpus([person], self._encoder, self._options.extractor), self._options
            )
        prompt = prompting.render([reference.turns for reference in self._references], context)
        count = prompting.token_counter(self._tokenizer)
        messages, self.dropped_references = prompting.fit_to_budget(
            prompt.messages, prompt.starts, self._max_prompt_tokens, count
        )
        return prompting.prompt_ids(self._tokenizer, messages)

    def _generate(
        self, ids: list[int], streamer: Any, stop: Event, generation: dict[str, Any], errors: list[BaseException]
    ) -> None:
        """Runs in a thread, as the streamer wants; what goes wrong is handed to the caller."""
        try:
            shared = self._keep_shared_prefix(ids)
            self.prompt_tokens, self.new_tokens = len(ids), len(ids) - shared
            inputs = torch.tensor([ids], device=self._model.device)
            settings = {"max_new_tokens": 60, "do_sample": False, "pad_token_id": self._tokenizer.pad_token_id}
            output = self._model.generate(
                input_ids=inputs,
                attention_mask=torch.ones_like(inputs),
                past_key_values=self._cache,
                streamer=streamer,
                return_dict_in_generate=True,
                stopping_criteria=[lambda *_: torch.full((1,), stop.is_set(), device=self._model.device)],
                **{**settings, **generation},
            )
            self._cache = output.past_key_values
            self._cached_ids = output.sequences[0].tolist()[: self._cache.get_seq_length()]
        except BaseException as error:
            errors.append(error)
            self._cache, self._cached_ids = None, []
            streamer.end()

    def _keep_shared_prefix(self, ids: list[int]) -> int:
        """Cuts the cache to the longest common prefix with the new prompt; at least one token must be computed."""
        shared = 0
        for ours, theirs in zip(self._cached_ids, ids[:-1], strict=False):
            if ours != theirs:
                break
            shared += 1
        if self._cache is None or shared == 0:
            self._cache = None
            return 0
        surplus = self._cache.get_seq_length() - shared
        try:
            if surplus:
                self._cache.crop(-surplus)  # negative: how many to remove
        except RuntimeError:  # sliding windows and recurrent layers keep no past to go back to
            self._cache = None
            return 0
        return shared
