"""Log-likelihoods of a person's replies, and what they sum to over people."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from tqdm.auto import tqdm
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from idl_hf import prompting
from idl_hf.models.limits import position_count
from idl_hf.models.replies import batches
from idl_hf.models.tree_decoding import TreeDecoder, reading_obstacle
from idl_hf.packing.tree import shared_length
from idl_hf.schema import Message


class SummedNLL(NamedTuple):
    """The negative log-likelihood of some tokens, in nats, and how many tokens that is of."""

    nll: float
    tokens: int


def nll_by_person(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, rows: Iterable[Mapping[str, Any]], label: str = ""
) -> dict[str, float]:
    """Return the mean NLL in nats per token of all replies of each person, end-of-turn tokens included."""
    rows = list(rows)
    scored = []
    for row in tqdm(rows, desc=f"Scoring {label}"):
        logps = reply_logprobs(model, tokenizer, row["prompt"], row["completion"])
        scored.append(SummedNLL(-float(logps.sum()), len(logps)))
    return per_token([row["person_id"] for row in rows], scored)


def per_token(persons: Iterable[str], scored: Iterable[SummedNLL]) -> dict[str, float]:
    """Return each person's nats per token over all of the person's rows; long rows weigh more than short ones."""
    total: dict[str, float] = defaultdict(float)
    tokens: dict[str, int] = defaultdict(int)
    for person, row in zip(persons, scored, strict=True):
        total[person] += row.nll
        tokens[person] += row.tokens
    return {person: total[person] / tokens[person] for person in total}


@torch.inference_mode()
def reply_logprobs(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompt: Sequence[Message],
    completion: Sequence[Message],
) -> torch.Tensor:
    """Return the log-prob of each token of the person's replies, float32 of shape (tokens,).

    The language-model head runs on those positions only: full logits of a long prompt would dwarf everything else.
    Raises ValueError where the dialogue has more tokens than the model has positions.
    """
    encoded = prompting.encode(tokenizer, prompt, completion)
    _check_positions(model, len(encoded["input_ids"]))
    ids = torch.tensor(encoded["input_ids"], device=model.device)
    scored = torch.tensor(encoded["completion_mask"], device=model.device).nonzero()[:, 0]
    logits = model(input_ids=ids[None], logits_to_keep=scored - 1, use_cache=False).logits[0]
    return logits.float().log_softmax(-1).gather(1, ids[scored, None])[:, 0]


def shared_logprobs(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[Sequence[Message]],
    reply: str,
    batch_size: int = 16,
    max_tokens: int = 4096,
) -> list[float]:
    """Return the log-prob of one reply after each prompt, in nats: the sum of what `reply_logprobs` returns.

    What prompts share is computed once; a batch keeps at most `max_tokens` tokens, but a single prompt may exceed
    that. A model that cannot share prompts reads them one by one. Raises ValueError as `reply_logprobs` does.
    """
    completion: list[Message] = [{"role": "assistant", "content": reply}]
    if reading_obstacle(model) is not None:
        return [float(reply_logprobs(model, tokenizer, prompt, completion).sum()) for prompt in prompts]
    texts, labels = [], []
    for prompt in prompts:
        encoded = prompting.encode(tokenizer, prompt, completion)
        ids, scored = encoded["input_ids"], encoded["completion_mask"]
        _check_positions(model, len(ids))
        last = len(ids) - 1 - scored[::-1].index(1)  # what follows the end of the reply is not read
        texts.append(ids[:last])
        labels.append(ids[scored.index(1) : last + 1])
    order = sorted(range(len(texts)), key=texts.__getitem__)
    texts, labels = [texts[i] for i in order], [labels[i] for i in order]
    shared = [0, *map(shared_length, texts, texts[1:])]
    decoder = TreeDecoder(model)
    sums = [0.0] * len(prompts)
    for batch in batches(list(map(len, texts)), shared, batch_size, max_tokens, 0):
        for i, logps in zip(order[batch], decoder.score(texts[batch], shared[batch], labels[batch]), strict=True):
            sums[i] = float(logps.sum())
    return sums


def _check_positions(model: PreTrainedModel, length: int) -> None:
    """Raise ValueError where a dialogue has more tokens than the model has positions."""
    positions = position_count(model.config)
    if positions is not None and length > positions:
        raise ValueError(
            f"A dialogue with its references takes {length} tokens, and the model has {positions} positions. Lower "
            "max_prompt_tokens."
        )
