"""Replies to held-out contexts; what their prompts share, references and the dialogue so far, is computed once."""

import re
from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any, NamedTuple

import torch
from tqdm.auto import tqdm
from transformers import (
    LogitsProcessor,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    RepetitionPenaltyLogitsProcessor,
)
from transformers.utils.logging import get_logger

from idl_hf import prompting, token_ids
from idl_hf.chat_template import PLAIN_TEMPLATE
from idl_hf.models.tree_decoding import TreeDecoder, tree_obstacle
from idl_hf.packing.tree import shared_length
from idl_hf.schema import Message

logger = get_logger(__name__)
_NEXT_LINE = re.compile(r"\n(?! )")  # that is not indented


def generate_replies(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[Sequence[Message]],
    max_new_tokens: int = 40,
    label: str = "",
    batch_size: int = 8,
    max_tokens: int = 4096,
) -> Iterator[tuple[int, str]]:
    """Yield (index of the prompt, greedy reply), a batch at a time, in the order in which prompts share most.

    A batch has at most `batch_size` replies and keeps at most `max_tokens` tokens, shared ones counted once; a single
    prompt may exceed that. The replies are those of `generate_reply` for each prompt alone, but in half precision,
    where every way to compute rounds in its own way, a close call may fall differently, from batch to batch too. A
    model that cannot share prompts generates one by one, and the log says why.
    """
    if (reason := tree_obstacle(model)) is None:
        replies = _share(model, tokenizer, prompts, max_new_tokens, batch_size, max_tokens)
    else:
        logger.warning_once(f"No prompts are shared, replies are generated one by one: {reason}.")
        replies = (
            (i, generate_reply(model, tokenizer, prompt, max_new_tokens=max_new_tokens))
            for i, prompt in enumerate(prompts)
        )
    yield from tqdm(replies, desc=f"Generating {label}", total=len(prompts))


@torch.inference_mode()
def generate_reply(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, prompt: Sequence[Message], **options: Any
) -> str:
    """Return the reply to one prompt by the model's own `generate`, greedy unless its `options` say otherwise."""
    ids = torch.tensor([prompting.prompt_ids(tokenizer, prompt)], device=model.device)
    settings = generation_settings(model, tokenizer, options)
    output: Any = model.generate(input_ids=ids, attention_mask=torch.ones_like(ids), **settings)  # type: ignore[operator]
    return reply_text(tokenizer, output[0, ids.shape[1] :])


def reply_text(tokenizer: PreTrainedTokenizerBase, ids: Sequence[int]) -> str:
    """Return the text of a reply's tokens."""
    return "".join(reply_pieces(tokenizer, [str(tokenizer.decode(list(ids), skip_special_tokens=True))])).strip()


def reply_pieces(tokenizer: PreTrainedTokenizerBase, pieces: Iterable[str]) -> Iterator[str]:
    """Yield a reply's text, given piece by piece, as it was meant: under the plain template the next lines of a
    message are indented, and a line that is not begins another message."""
    if tokenizer.chat_template != PLAIN_TEMPLATE:
        yield from pieces
        return
    text, shown = "", 0
    for piece in pieces:
        text += piece
        said = meant(tokenizer, text)
        yield said.text[shown:]
        shown = len(said.text)
        if said.over:
            return


class Meant(NamedTuple):
    """A reply's text as it was meant, and whether another message has begun."""

    text: str
    over: bool


def meant(tokenizer: PreTrainedTokenizerBase, text: str) -> Meant:
    """Return a reply's text so far as it was meant, see `reply_pieces`."""
    if tokenizer.chat_template != PLAIN_TEMPLATE:
        return Meant(text, over=False)
    stop = _NEXT_LINE.search(text)
    said = text[: stop.start() if stop else len(text)].replace("\n ", "\n")
    return Meant(said, over=stop is not None and stop.end() < len(text))  # a last newline may go on with a space


def generation_settings(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, options: Mapping[str, Any]
) -> dict[str, Any]:
    """Return what `generate` takes: greedy, ended where replies are, unless `options` or their generation_config say
    otherwise."""
    given = options.get("generation_config")
    ends = token_ids.end_ids(tokenizer, model.generation_config, given)
    settings = {"pad_token_id": tokenizer.pad_token_id, "eos_token_id": ends, "tokenizer": tokenizer}
    return {**settings, **({} if given else {"do_sample": False}), **options}


def _share(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[Sequence[Message]],
    max_new_tokens: int,
    batch_size: int,
    max_tokens: int,
) -> Iterator[tuple[int, str]]:
    encoded = [array("i", prompting.prompt_ids(tokenizer, prompt)) for prompt in prompts]
    order = sorted(range(len(encoded)), key=encoded.__getitem__)
    same = [list(group) for _, group in groupby(order, key=encoded.__getitem__)]  # a repeated prompt costs once
    distinct = [encoded[group[0]] for group in same]
    shared = [0, *map(shared_length, distinct, distinct[1:])]
    decoder = TreeDecoder(model, max_new_tokens, token_ids.end_ids(tokenizer, model.generation_config))
    for batch in batches(list(map(len, distinct)), shared, batch_size, max_tokens, max_new_tokens):
        written = decoder.write(distinct[batch], shared[batch])
        for group, ids in zip(same[batch], written, strict=True):
            text = reply_text(tokenizer, ids)
            yield from ((i, text) for i in group)


class ReplyPenalty(LogitsProcessor):
    """Makes tokens that a reply has already less likely, as `repetition_penalty` of `generate` does, and those that
    were `said` before, but not those of the whole prompt: these are the person's own words, and what ends a reply.
    One is for one reply."""

    def __init__(self, penalty: float, said: Sequence[int] = ()) -> None:
        self._penalise = RepetitionPenaltyLogitsProcessor(penalty)
        self._said = list(said)
        self._prompt: int | None = None

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """Return the scores of next tokens, (replies, vocabulary). input_ids: prompt and reply so far."""
        if self._prompt is None:  # the first call: nothing follows the prompt yet
            self._prompt = input_ids.shape[1]
        said = input_ids.new_tensor(self._said).expand(len(input_ids), -1)
        return self._penalise(torch.cat([said, input_ids[:, self._prompt :]], dim=1), scores)


def batches(
    lengths: Sequence[int], shared: Sequence[int], batch_size: int, max_tokens: int, max_new_tokens: int
) -> Iterator[slice]:
    """Yield slices of sorted prompts: batches. shared: tokens in common with the one before.

    A full batch ends where its last prompt that shares less than half begins, if there is one: what is on both sides
    of a cut is not computed twice, but every step of both batches attends to it.
    """
    start = 0
    for i in range(len(lengths)):
        while i > start:
            tokens = lengths[start] + sum(lengths[j] - shared[j] for j in range(start + 1, i + 1))
            if i - start < batch_size and tokens + (i + 1 - start) * max_new_tokens <= max_tokens:
                break
            weak = [j for j in range(start + 1, i + 1) if shared[j] < lengths[j] / 2]
            stop = weak[-1] if weak else i
            yield slice(start, stop)
            start = stop
    if lengths:
        yield slice(start, len(lengths))
