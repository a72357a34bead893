"""Negative log-likelihood of the persons' replies, and persona gain, the project's yardstick.

Persona gain = NLL(another person's references) - NLL(own references), per token: zero for a model that ignores the
person, whatever else it learnt (format, register, length).
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from tqdm.auto import tqdm

from idl_hf import prompting
from idl_hf.report.statistics import Estimate, mean_over_people

CONDITIONINGS = {"own": "references", "other": "other_person", "none": "none", "profile": "profile"}


def nll_by_person(model: Any, tokenizer: Any, rows: Iterable[dict[str, Any]], label: str = "") -> dict[str, float]:
    """Mean NLL in nats per token of all replies of each person, end-of-turn tokens included."""
    rows = list(rows)
    logps = (
        reply_logprobs(model, tokenizer, row["prompt"], row["completion"])
        for row in tqdm(rows, desc=f"Scoring {label}")
    )
    return per_token([row["person_id"] for row in rows], ((-float(row.sum()), len(row)) for row in logps))


def per_token(persons: Iterable[str], scored: Iterable[tuple[float, int]]) -> dict[str, float]:
    """scored: sum of the NLL and number of tokens of each row. A person's long rows weigh more than the short ones."""
    total: dict[str, float] = defaultdict(float)
    tokens: dict[str, int] = defaultdict(int)
    for person, (nll, count) in zip(persons, scored, strict=True):
        total[person] += nll
        tokens[person] += count
    return {person: total[person] / tokens[person] for person in total}


@torch.inference_mode()
def reply_logprobs(model: Any, tokenizer: Any, prompt: Sequence[Any], completion: Sequence[Any]) -> torch.Tensor:
    """Log-prob of each token of the person's replies, float32 of shape (tokens,).

    The language-model head runs on those positions only: full logits of a long prompt would dwarf everything else.
    """
    encoded = prompting.encode(tokenizer, prompt, completion)
    positions = getattr(model.config, "max_position_embeddings", None)
    if positions is not None and len(encoded["input_ids"]) > positions:
        raise ValueError(
            f"A dialogue with its references takes {len(encoded['input_ids'])} tokens, and the model has {positions} "
            "positions. Lower max_prompt_tokens."
        )
    ids = torch.tensor(encoded["input_ids"], device=model.device)
    scored = torch.tensor(encoded["completion_mask"], device=model.device).nonzero()[:, 0]
    logits = model(input_ids=ids[None], logits_to_keep=scored - 1, use_cache=False).logits[0]
    return logits.float().log_softmax(-1).gather(1, ids[scored, None])[:, 0]


def persona_gain(own: dict[str, float], other: dict[str, float], seed: int = 0) -> Estimate:
    if own.keys() != other.keys():
        raise ValueError("Persona gain compares the same people under two conditionings; found different people.")
    return mean_over_people({person: other[person] - own[person] for person in own}, seed)
