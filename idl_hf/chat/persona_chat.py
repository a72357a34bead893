"""Chat with a person known from past dialogues alone."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from itertools import count
from pathlib import Path
from typing import Any

import torch
from accelerate.utils import is_peft_model
from transformers import LogitsProcessorList, PreTrainedModel, PreTrainedTokenizerBase

from idl_hf import prompting
from idl_hf.chat.forgetting import Forgotten, remove_from_caches, says_the_same, what_is_left
from idl_hf.chat.opening import Opening, opening_of
from idl_hf.chat.person_prompt import PersonPrompt, person_prompt
from idl_hf.chat.reasons import Reason, reasons
from idl_hf.chat.recipe import DEFAULT_BUDGET, recipe_of, trained_options
from idl_hf.chat.saved import PERSONA_FILE, Exchange, SavedPersona, forget_saved, read_persona, write_persona
from idl_hf.corpora.jsonl import is_text, parse_turns
from idl_hf.encoding import SentenceEncoder
from idl_hf.models.generation import GenerationSettings
from idl_hf.models.limits import position_count
from idl_hf.models.loading import LoadedModel, load_model
from idl_hf.models.offline import OFFLINE
from idl_hf.models.replies import ReplyPenalty
from idl_hf.models.responder import LocalModel, Sampling
from idl_hf.rows.options import RowOptions
from idl_hf.rows.people import People
from idl_hf.rows.references import choose_for_context, persona_text
from idl_hf.schema import Dialogue, Message, Person, Turn, clean
from idl_hf.token_ids import continue_text


class PersonaChat:
    """A conversation with one person.

    References are chosen (SPI) and ordered (DPI) at the first message, as in training; their keys and values are
    computed once, so a turn costs the new tokens only. Replies are greedy unless `generation` or the options of a
    reply say otherwise.

    >>> chat = PersonaChat.from_pretrained("<user>/<adapter>")  # doctest: +SKIP
    >>> chat.add_dialogue([("partner", "any plans?"), ("self", "i am feeding my goats , as ever")])  # doctest: +SKIP
    'dialogue-1'
    >>> chat.reply("do you have pets?")  # doctest: +SKIP
    >>> chat.why()[0].text  # doctest: +SKIP
    'i am feeding my goats , as ever'
    """

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        encoder: SentenceEncoder,
        options: RowOptions | None = None,
        max_prompt_tokens: int = DEFAULT_BUDGET,
        *,
        name: str | None = None,
        person_id: str = "person",
        partner_id: str = "",
        choose_every: int | None = None,
        generation: GenerationSettings | None = None,
    ) -> None:
        """Take what answers and how its prompts are made.

        name: what the model is called when the chat is saved; None: as it calls itself, which an adapter does not.
        partner_id: who talks to the person now: references prefer dialogues with the same. choose_every: after how
        many messages references are chosen again; None: never.
        """
        if choose_every is not None and choose_every < 1:
            raise ValueError(f"choose_every must be 1 or more messages, or None, found {choose_every}.")
        self._model = LocalModel(model, tokenizer)
        self._encoder = encoder
        self._options = options or RowOptions()
        self._max_prompt_tokens = max_prompt_tokens
        self._name = _full_name(name or (None if is_peft_model(model) else model.name_or_path))
        self._choose_every = choose_every
        self._dialogues: list[Dialogue] = []
        self._folders: set[Path] = set()  # where the persona was saved, or comes from
        self._encoded: set[str] = set()  # texts of conversations that the caches know
        self.person_id = clean(person_id) or "person"
        self.partner_id = partner_id
        self.generation = generation or GenerationSettings()
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
        person_id: str = "person",
        partner_id: str = "",
        choose_every: int | None = None,
        chat_template: str | None = None,
    ) -> "PersonaChat":
        """Load an adapter or a model: on the Hub, in a folder, or "offline".

        What is not given is as in the training of the adapter, if that was saved with it (`idl_config.json`), else the
        default of `RowOptions` and 2,048 tokens. Replies are written as the adapter's generation_config.json says, if
        it has one, else greedily. chat_template: a file in Jinja or "plain", for a model that has none and is unknown
        by name. Raises OSError where the model cannot be had, ValueError where its chat template is unknown, or what
        was saved with it holds anything but options of the rows, or settings of other types.
        """
        model, tokenizer = load_model(name, chat_template=chat_template)
        recipe = recipe_of(
            name, encoder=encoder, references=references, options=options, max_prompt_tokens=max_prompt_tokens
        )
        return cls(
            model,
            tokenizer,
            SentenceEncoder(recipe.options.encoder),
            recipe.options,
            recipe.max_prompt_tokens,
            name=name,
            person_id=person_id,
            partner_id=partner_id,
            choose_every=choose_every,
            generation=recipe.generation,
        )

    @classmethod
    def load(
        cls,
        folder: str | Path,
        *,
        model: str | None = None,
        like: "PersonaChat | None" = None,
        chat_template: str | None = None,
    ) -> "PersonaChat":
        """Return the chat that was saved in a folder, with its conversation.

        model: a name to take instead of the one that was saved. like: a chat whose model and encoder are taken where
        they are those that are wanted, so that nothing is loaded twice. chat_template: as `from_pretrained` takes it.
        Raises ValueError, with what is wrong, for a file that is no saved persona, OSError where there is none or the
        model cannot be had.
        """
        saved = read_persona(folder)
        options = RowOptions(**trained_options(f"'{Path(folder, PERSONA_FILE)}'", saved.options))
        name = _full_name(model or saved.model)
        if like is not None and name in (None, like._name):
            loaded = LoadedModel(like._model.model, like._model.tokenizer)
        elif name is not None:
            loaded = load_model(name, chat_template=chat_template)
        else:
            raise ValueError(f"The persona in '{folder}' names no model. Pass model=, a name or a folder.")
        known = like is not None and like._encoder.name == options.encoder
        chat = cls(
            loaded.model,
            loaded.tokenizer,
            like._encoder if like is not None and known else SentenceEncoder(options.encoder),
            options,
            saved.max_prompt_tokens,
            name=name,
            person_id=saved.person_id,
            partner_id=saved.partner_id,
            choose_every=saved.choose_every,
            generation=saved.generation,
        )
        chat._dialogues = list(saved.dialogues)
        chat._exchanges = list(saved.conversation)
        chat._drawn = len(saved.conversation)
        chat._folders = {Path(folder).resolve()}
        return chat

    def with_person(self, person: Person) -> "PersonaChat":
        """Return a chat of the same model, options and settings with another person."""
        chat = type(self)(
            self._model.model,
            self._model.tokenizer,
            self._encoder,
            self._options,
            self._max_prompt_tokens,
            name=self._name,
            person_id=person.person_id,
            partner_id=self.partner_id,
            choose_every=self._choose_every,
            generation=self.generation,
        )
        for dialogue in person.dialogues:
            chat.add_dialogue(dialogue.turns, dialogue.dialogue_id, dialogue.partner_id)
        return chat

    def save(self, folder: str | Path) -> None:
        """Write the persona into a folder, in place of one that is there: past dialogues, options, settings and the
        conversation, as JSON that its owner alone may read. The model is named, not copied. Raises OSError where it
        cannot be written."""
        saved = SavedPersona(
            person_id=self.person_id,
            model=self._name,
            options=asdict(self._options),
            max_prompt_tokens=self._max_prompt_tokens,
            partner_id=self.partner_id,
            choose_every=self._choose_every,
            generation=self.generation,
            dialogues=tuple(self._dialogues),
            conversation=tuple(self._exchanges),
        )
        write_persona(folder, saved)
        self._folders.add(Path(folder).resolve())

    def add_dialogue(
        self,
        turns: Sequence[Turn | tuple[str, str] | dict[str, str]],
        dialogue_id: str | None = None,
        partner_id: str = "",
    ) -> str:
        """Add one past dialogue of the person, in order, start the conversation anew and return the dialogue's id.

        turns: Turns, (role, text) pairs with the roles self and partner, or chat messages in which the assistant is
        the person. dialogue_id: None makes one. partner_id: whom the person talks to. Raises ValueError for an id that
        another dialogue has.
        """
        parsed = parse_turns({"turns": [_entry(turn) for turn in turns]})
        known = {dialogue.dialogue_id for dialogue in self._dialogues}
        made = (f"dialogue-{number}" for number in count(len(known) + 1))
        given = clean(dialogue_id or "") or next(name for name in made if name not in known)
        if given in known:
            raise ValueError(f"There is a dialogue '{given}' already. Pass another dialogue_id, or none.")
        self._dialogues.append(Dialogue(self.person_id, given, parsed, partner_id=partner_id))
        self.reset()
        return given

    def forget(self, dialogue_id: str) -> Forgotten:
        """Remove a past dialogue, and others that say the same, and start the conversation anew.

        It is gone from prompts, from kept keys and values, from the caches of this package, and from the folders that
        this chat was saved to or loaded from, whose conversations are emptied: replies may quote it. Returns what was
        removed, and what is left to others. Raises ValueError for an unknown id, OSError where a file cannot be
        written anew; the dialogue is still known then.
        """
        turns = self._dialogue(dialogue_id).turns
        same = [dialogue for dialogue in self._dialogues if says_the_same(dialogue.turns, turns)]
        self.reset()
        folders = tuple(folder for folder in sorted(self._folders) if forget_saved(folder, turns))
        texts = self._encoded | {turn.text for dialogue in same for turn in dialogue.turns}
        removed = remove_from_caches(turns, texts, self._encoder, self._options.extractor)
        self._encoded.clear()
        self._dialogues = [dialogue for dialogue in self._dialogues if dialogue not in same]
        return Forgotten(
            dialogue_ids=tuple(dialogue.dialogue_id for dialogue in same),
            vectors=removed.vectors,
            triples=removed.triples,
            folders=folders,
            left=what_is_left(self._name),
        )

    def _dialogue(self, dialogue_id: str) -> Dialogue:
        for dialogue in self._dialogues:
            if dialogue.dialogue_id == dialogue_id:
                return dialogue
        names = ", ".join(dialogue.dialogue_id for dialogue in self._dialogues) or "none"
        raise ValueError(f"There is no dialogue '{dialogue_id}'. Those there are: {names}.")

    def reset(self) -> None:
        """Forget the conversation, not the person."""
        self._exchanges: list[Exchange] = []
        self._drawn = 0  # replies that were begun
        self._model.forget()

    def opening(self) -> Opening:
        """Return the prompt of a conversation in which nobody has said anything yet, for programs that cannot choose
        references by a first message: they are those nearest to the mean of all the person's dialogues.

        Raises ValueError where the person has no dialogue, or none keeps within max_prompt_tokens.
        """
        person = Person(self.person_id, tuple(self._dialogues))
        people = People([person], self._encoder, self._options.extractor)
        references = choose_for_context(person, (), people, self._options)
        positions = position_count(self._model.model.config) or math.inf
        budget = min(self._max_prompt_tokens, positions - self.generation.max_new_tokens)
        count_tokens = prompting.token_counter(self._model.tokenizer)
        return opening_of(references, budget, count_tokens, self._options.own_turns)

    @property
    def dialogues(self) -> list[Dialogue]:
        """The past dialogues of the person, in the order in which they were added."""
        return list(self._dialogues)

    @property
    def turns(self) -> list[Turn]:
        """The conversation so far."""
        return [turn for exchange in self._exchanges for turn in exchange.turns]

    @property
    def name(self) -> str | None:
        """What the model is called, None where nobody says."""
        return self._name

    @property
    def options(self) -> RowOptions:
        """How references are chosen, and their facts found."""
        return self._options

    @property
    def encoder(self) -> SentenceEncoder:
        """What makes vectors of sentences."""
        return self._encoder

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
        """The references in prompt order; empty before the first reply."""
        return list(self._exchanges[-1].references) if self._exchanges else []

    @property
    def dropped_references(self) -> int:
        """How many of the references, the first ones, the last turn left out to keep within max_prompt_tokens."""
        return self._exchanges[-1].dropped if self._exchanges else 0

    def reply(self, text: str, **generation: Any) -> str:
        """Return the person's reply. generation: options of `generate`, such as max_new_tokens or do_sample."""
        return "".join(self.stream(text, **generation)).strip()

    def stream(self, text: str, **generation: Any) -> Iterator[str]:
        """Yield the reply piece by piece; the turn counts once the last was taken, so not one that is broken off."""
        return self._stream(self._exchanges, text, generation)

    def retry(self, **generation: Any) -> Iterator[str]:
        """Yield another reply to the last message piece by piece; it takes the place of the first once the last piece
        was taken. Raises ValueError where there is no message."""
        return self._stream(self._exchanges[:-1], self._last().said, generation)

    def undo(self) -> str:
        """Take back the last message with its reply, and return the message. Raises ValueError where there is none."""
        said = self._last().said
        self._exchanges.pop()
        return said

    def why(self, dialogues: int | None = 2) -> list[Reason]:
        """Return the past lines that the last reply leans on, those first that it leans on most: by how many nats its
        log-prob falls when a line is left out of the prompt.

        dialogues: of how many references lines are left out, of those that the reply leans on most; None: of all.
        Raises ValueError where there is no reply yet.
        """
        last = self._last()
        before = [turn for exchange in self._exchanges[:-1] for turn in exchange.turns]
        context = [*before, last.turns[0]]
        return reasons(self._model, last.shown, context, last.reply, dialogues, self._options.own_turns)

    def _last(self) -> Exchange:
        if not self._exchanges:
            raise ValueError("There is no reply yet; say something first.")
        return self._exchanges[-1]

    def _stream(self, before: Sequence[Exchange], text: str, generation: dict[str, Any]) -> Iterator[str]:
        config = generation.get("generation_config")
        own = GenerationSettings() if config else self.generation
        length = generation.pop("max_new_tokens", None) or (config and config.max_new_tokens) or own.max_new_tokens
        options: dict[str, Any] = {**own.sampling_options(), **generation}
        if generation.get("do_sample") is False:
            options = generation
        if own.repetition_penalty != 1 and not {"repetition_penalty", "logits_processor"} & generation.keys():
            said = [continue_text(self._model.tokenizer, exchange.reply).ids for exchange in before]
            penalty = ReplyPenalty(float(own.repetition_penalty), [token for ids in said for token in ids])
            options["logits_processor"] = LogitsProcessorList([penalty])
        prompt = self._prompt_after(before, text, length)
        if own.seed is not None:
            torch.manual_seed((own.seed + self._drawn) % 2**63)
        self._drawn += 1
        reply = ""
        for piece in self._model.stream(prompt.messages, Sampling(length, options)):
            reply += piece
            yield piece
        self._exchanges = [*before, Exchange(text.strip(), reply.strip(), tuple(prompt.references), prompt.dropped)]

    def _prompt(self, text: str, max_new_tokens: int) -> list[Message]:
        """Return the prompt of a next message."""
        return self._prompt_after(self._exchanges, text, max_new_tokens).messages

    def _prompt_after(self, before: Sequence[Exchange], text: str, max_new_tokens: int) -> PersonPrompt:
        """Return the prompt of a message that follows a conversation."""
        if not text.strip():
            raise ValueError("The message is empty; pass what the partner says.")
        if not is_text(text):
            raise ValueError("The message holds halves of characters, which no text has; pass valid Unicode.")
        context = [*(turn for exchange in before for turn in exchange.turns), Turn("partner", text)]
        again = self._choose_every is not None and len(before) % self._choose_every == 0
        return person_prompt(
            lambda: self._choose(context) if not before or again else before[-1].references,
            context,
            self._model.tokenizer,
            self._model.model.config,
            self._max_prompt_tokens,
            max_new_tokens,
            own_turns=self._options.own_turns,
        )

    def _choose(self, context: Sequence[Turn]) -> list[Dialogue]:
        """Return the references for a conversation, and note which of its texts the caches know from now on."""
        person = Person(self.person_id, tuple(self._dialogues))
        people = People([person], self._encoder, self._options.extractor)
        self._encoded |= {turn.text for turn in context} | {persona_text(context, people)}
        return choose_for_context(person, context, people, self._options, self.partner_id)


def _full_name(name: str | None) -> str | None:
    """Return the name of a model as it is, of a folder its whole path, None for no name."""
    return str(Path(name).resolve()) if name and name != OFFLINE and Path(name).is_dir() else name or None


def _entry(turn: Turn | tuple[str, str] | dict[str, str]) -> dict[str, Any]:
    """Return a turn as the entry of a JSON Lines file, so that all are checked alike."""
    if isinstance(turn, Turn):
        return asdict(turn) | {"candidates": list(turn.candidates)}
    return {"role": turn[0], "text": turn[1]} if isinstance(turn, tuple) else turn
