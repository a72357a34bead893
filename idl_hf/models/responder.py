"""The one seam behind which anything that answers stands, and the model on this machine behind it."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from threading import Event, Thread
from typing import Any, Protocol

import torch
from numpy.typing import NDArray
from transformers import Cache, PreTrainedModel, PreTrainedTokenizerBase, TextIteratorStreamer

from idl_hf import prompting, token_ids
from idl_hf.models import lines
from idl_hf.models.likelihood import reply_logprobs
from idl_hf.models.loading import load_model
from idl_hf.models.replies import generate_replies, generate_reply, generation_settings, reply_pieces
from idl_hf.schema import Message


class NoLogProbsError(Exception):
    """What answers gives no likelihoods, such as a file of somebody's replies."""


@dataclass(frozen=True)
class Sampling:
    """How a reply is written: greedily, unless `options`, those of `generate`, say otherwise."""

    max_new_tokens: int = 40
    options: Mapping[str, Any] = field(default_factory=dict)


class Responder(Protocol):
    """Anything that answers a prompt, and tells how likely an answer is to it."""

    def replies(self, prompts: Sequence[Sequence[Message]], sampling: Sampling) -> Iterator[tuple[int, str]]:
        """Yield (place of the prompt, reply to it) once a reply is written, in any order."""
        ...

    def logprobs(self, prompt: Sequence[Message], completion: Sequence[Message]) -> NDArray:
        """Return the log-prob of each token of the replies in a completion, shape (tokens,).

        Raises NoLogProbsError where it has none.
        """
        ...


class LocalModel:
    """A causal LM or adapter with its tokenizer, in this process. A `Responder` that can stream too."""

    def __init__(self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, batch_size: int = 8) -> None:
        self.model = model
        self.tokenizer = tokenizer
        self.prompt_tokens = 0  # of the last prompt that was streamed
        self.new_tokens = 0  # of these, how many had to be computed
        self._batch_size = batch_size
        self._cache: Any = None  # keys and values of the last stream, and the tokens they are of
        self._cached_ids: list[int] = []
        self._worker: Thread | None = None

    @classmethod
    def from_pretrained(cls, name: str, batch_size: int = 8, chat_template: str | None = None) -> "LocalModel":
        """Load a model or adapter: a Hub id, a folder, or "offline". chat_template: as `load_model` takes it."""
        return cls(*load_model(name, chat_template=chat_template), batch_size=batch_size)

    def replies(
        self, prompts: Sequence[Sequence[Message]], sampling: Sampling, label: str = ""
    ) -> Iterator[tuple[int, str]]:
        """Yield (place of the prompt, reply to it), greedy ones over prompts that share what they have in common."""
        if sampling.options:
            length = sampling.max_new_tokens
            for place, prompt in enumerate(prompts):
                options = {"max_new_tokens": length, **sampling.options}
                yield place, generate_reply(self.model, self.tokenizer, prompt, **options)
        else:
            yield from generate_replies(
                self.model, self.tokenizer, prompts, sampling.max_new_tokens, label, self._batch_size
            )

    def logprobs(self, prompt: Sequence[Message], completion: Sequence[Message]) -> NDArray:
        """Return the log-prob of each token of the replies in a completion, float32 of shape (tokens,)."""
        return reply_logprobs(self.model, self.tokenizer, prompt, completion).cpu().numpy()

    def lines(self, texts: Sequence[str], counts: Sequence[int], batch_size: int) -> Iterator[dict[int, str]]:
        """Yield {place of a text: so many lines that follow it}, a batch at a time. The texts are no messages."""
        prompts = [token_ids.text_ids(self.tokenizer, text) for text in texts]
        ends = token_ids.end_ids(self.tokenizer, self.model.generation_config)
        return lines.generate_lines(self.model, self.tokenizer, prompts, counts, batch_size, ends)

    def stream(self, prompt: Sequence[Message], sampling: Sampling) -> Iterator[str]:
        """Yield the reply piece by piece, or at once where beams are searched, of which the last piece decides the
        first. What the prompt shares with the one before it is not computed again."""
        if _beams(sampling) > 1:
            self.forget()
            yield from (text for _, text in self.replies([prompt], sampling))
            return
        streamer = TextIteratorStreamer(self.tokenizer, skip_prompt=True, skip_special_tokens=True)
        errors: list[BaseException] = []
        stop = Event()
        ids = prompting.prompt_ids(self.tokenizer, prompt)
        if self._worker is not None:
            self._worker.join()  # one that was stopped, and the wait for its end broken off
        worker = Thread(target=self._generate, args=(ids, streamer, stop, sampling, errors), daemon=True)
        self._worker = worker
        worker.start()
        try:
            yield from reply_pieces(self.tokenizer, streamer)
        finally:  # also where the caller takes no more pieces: two generations must not share the cache
            stop.set()
            worker.join()
        if errors:
            raise errors.pop()  # none is left here, where it would keep the tensors of its frames in memory

    def forget(self) -> None:
        """Drop what is kept of the last stream."""
        if self._worker is not None:
            self._worker.join()  # it would put back what it has
        self._cache, self._cached_ids = None, []
        self.prompt_tokens = self.new_tokens = 0

    def _generate(
        self,
        ids: list[int],
        streamer: TextIteratorStreamer,
        stop: Event,
        sampling: Sampling,
        errors: list[BaseException],
    ) -> None:
        """Write a reply in a thread, as the streamer wants; what goes wrong is handed to the caller."""
        try:
            settings = generation_settings(
                self.model, self.tokenizer, {"max_new_tokens": sampling.max_new_tokens, **sampling.options}
            )
            # A cache of another kind than the usual one is the model's own affair, as is none
            kept = settings.get("use_cache", True) and settings.get("cache_implementation") is None
            shared = self._keep_shared_prefix(ids) if kept else 0
            self.prompt_tokens, self.new_tokens = len(ids), len(ids) - shared
            inputs = torch.tensor([ids], device=self.model.device)
            stopped = [lambda *_: torch.full((1,), stop.is_set(), device=self.model.device)]
            settings["stopping_criteria"] = [*(settings.get("stopping_criteria") or []), *stopped]
            output: Any = self.model.generate(  # type: ignore[operator]
                input_ids=inputs,
                attention_mask=torch.ones_like(inputs),
                streamer=streamer,
                **{**settings, "return_dict_in_generate": True},
                **({"past_key_values": self._cache} if kept else {}),
            )
            self._cache, self._cached_ids = None, []
            if kept and isinstance(getattr(output, "past_key_values", None), Cache):
                with suppress(ValueError):  # recurrent layers have no length
                    self._cached_ids = output.sequences[0].tolist()[: output.past_key_values.get_seq_length()]
                    self._cache = output.past_key_values
        except BaseException as error:
            errors.append(error)
            self._cache, self._cached_ids = None, []
            streamer.end()

    def _keep_shared_prefix(self, ids: list[int]) -> int:
        """Cut the cache to the longest common prefix with the new prompt; at least one token must be computed."""
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


def _beams(sampling: Sampling) -> int:
    config = sampling.options.get("generation_config")
    return sampling.options.get("num_beams") or (config.num_beams if config is not None else None) or 1
