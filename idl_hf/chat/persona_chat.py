"""Chat with a person known from past dialogues alone."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from idl_hf import prompting
from idl_hf.corpora.jsonl import parse_turns
from idl_hf.encoding import SentenceEncoder
from idl_hf.models.identity import RECIPE_FILE, load_recipe
from idl_hf.models.limits import position_count
from idl_hf.models.loading import load_model
from idl_hf.models.responder import LocalModel, Sampling
from idl_hf.rows.options import RowOptions, option_names
from idl_hf.rows.people import People
from idl_hf.rows.references import choose_for_context
from idl_hf.schema import Dialogue, Message, Person, Turn

DEFAULT_BUDGET = 2048  # tokens of a prompt


class PersonaChat:
    """A conversation with one person.

    References are chosen (SPI) and ordered (DPI) at the first message, as in training; their keys and values are
    computed once, so a turn costs the new tokens only.

    >>> chat = PersonaChat.from_pretrained("<user>/<adapter>")  # doctest: +SKIP
    >>> chat.add_dialogue([("partner", "any plans?"), ("self", "i am feeding my goats , as ever")])  # doctest: +SKIP
    >>> chat.reply("do you have pets?")  # doctest: +SKIP
    """

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        encoder: SentenceEncoder,
        options: RowOptions | None = None,
        max_prompt_tokens: int = DEFAULT_BUDGET,
    ) -> None:
        self._model = LocalModel(model, tokenizer)
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
        """Load an adapter or a model: on the Hub, in a folder, or "offline".

        What is not given is as in the training of the adapter, if that was saved with it (`idl_config.json`), else the
        default of `RowOptions` and 2,048 tokens. Raises OSError where the model cannot be had, ValueError where what
        was saved with it holds anything but options of the rows.
        """
        model, tokenizer = load_model(name)
        recipe = load_recipe(name)
        trained = _trained_options(name, recipe.get("options", {}))
        named = {"encoder": encoder, "references": references}
        given: dict[str, Any] = {option: value for option, value in named.items() if value is not None}
        options = replace(options or RowOptions(**trained), **given)
        options.check("msl")
        budget = max_prompt_tokens or recipe.get("max_prompt_tokens") or DEFAULT_BUDGET
        return cls(model, tokenizer, SentenceEncoder(options.encoder), options, budget)

    def add_dialogue(self, turns: Sequence[Turn | tuple[str, str] | dict[str, str]]) -> None:
        """Add one past dialogue of the person, in order, and start the conversation anew.

        turns: Turns, (role, text) pairs with the roles self and partner, or chat messages in which the assistant is
        the person.
        """
        pairs = [(turn.role, turn.text) if isinstance(turn, Turn) else turn for turn in turns]
        entries = [{"role": turn[0], "text": turn[1]} if isinstance(turn, tuple) else turn for turn in pairs]
        name = f"dialogue-{len(self._dialogues) + 1}"
        self._dialogues.append(Dialogue("person", name, parse_turns({"turns": entries})))
        self.reset()

    def reset(self) -> None:
        """Forget the conversation, not the person."""
        self._turns: list[Turn] = []
        self._references: list[Dialogue] = []
        self._model.forget()
        self.dropped_references = 0  # of the last turn, to keep within max_prompt_tokens

    @property
    def prompt_tokens(self) -> int:
        """The tokens of the last turn's prompt."""
        return self._model.prompt_tokens

    @property
    def new_tokens(self) -> int:
        """Of the tokens of the last turn's prompt those that had to be computed."""
        return self._model.new_tokens

    @property
    def references(self) -> list[Dialogue]:
        """The references in prompt order; empty before the first message."""
        return list(self._references)

    def reply(self, text: str, **generation: Any) -> str:
        """Return the person's reply. generation: options of `generate`, such as max_new_tokens or do_sample."""
        return "".join(self.stream(text, **generation)).strip()

    def stream(self, text: str, **generation: Any) -> Iterator[str]:
        """Yield the reply piece by piece; the turn counts once the last was taken, so not one that is broken off."""
        config = generation.get("generation_config")
        length = generation.pop("max_new_tokens", None) or (config and config.max_new_tokens) or 60
        prompt, sampling = self._prompt(text, length), Sampling(length, generation)
        said = ""
        for piece in self._model.stream(prompt, sampling):
            said += piece
            yield piece
        self._turns += [Turn("partner", text.strip()), Turn("self", said.strip())]

    def _prompt(self, text: str, max_new_tokens: int) -> list[Message]:
        if not text.strip():
            raise ValueError("The message is empty; pass what the partner says.")
        context = [*self._turns, Turn("partner", text.strip())]
        if not self._turns:
            person = Person("person", tuple(self._dialogues))
            people = People([person], self._encoder, self._options.extractor)
            self._references = choose_for_context(person, context, people, self._options)
        prompt = prompting.render([reference.turns for reference in self._references], context)
        count = prompting.token_counter(self._model.tokenizer)
        positions = position_count(self._model.model.config) or math.inf
        budget = min(self._max_prompt_tokens, positions - max_new_tokens)
        fitted = prompting.fit_to_budget(prompt.messages, prompt.starts, budget, count)
        if (length := count(fitted.messages)) + max_new_tokens > positions:
            raise ValueError(
                f"The conversation takes {length} tokens and a reply up to {max_new_tokens}, but the model has "
                f"{positions} positions. Begin a new one with reset(), or lower max_new_tokens."
            )
        self.dropped_references = fitted.dropped
        return fitted.messages


def _trained_options(name: str, options: dict[str, Any]) -> dict[str, Any]:
    """Return the options of an adapter's training that shape prompts. Raises ValueError unless all are valid ones."""
    unknown = sorted(set(options) - set(option_names()))
    if unknown:
        raise ValueError(
            f"{RECIPE_FILE} of '{name}' has unknown options: {', '.join(unknown)}. Expected some of: "
            f"{', '.join(option_names())}."
        )
    RowOptions(**options).check("dpoc" if options.get("reply") == "each" else "msl")
    of_replies = {"reply", "rejected", "criterion_type"}
    return {option: value for option, value in options.items() if option not in of_replies}
