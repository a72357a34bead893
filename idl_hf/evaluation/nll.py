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
from idl_hf.evaluation.significance import Estimate, mean_over_people

CONDITIONINGS = {"own": "references", "other": "other_person", "none": "none", "profile": "profile"}


def nll_by_person(model: Any, tokenizer: Any, rows: Iterable[dict[str, Any]], label: str = "") -> dict[str, float]:
    """Mean NLL in nats per token of all replies of each person, end-of-turn tokens included."""
    total: dict[str, float] = defaultdict(float)
    tokens: dict[str, int] = defaultdict(int)
    for row in tqdm(rows, desc=f"Scoring {label}"):
        logps = reply_logprobs(model, tokenizer, row["prompt"], row["completion"])
        total[row["person_id"]] -= float(logps.sum())
        tokens[row["person_id"]] += len(logps)
    return {person: total[person] / tokens[person] for person in total}


@torch.inference_mode()
def reply_logprobs(model: Any, tokenizer: Any, prompt: Sequence[Any], completion: Sequence[Any]) -> torch.Tensor:
    """Log-prob of each token of the person's replies, float32 of shape (tokens,).

    The language-model head runs on those positions only: full logits of a long prompt would dwarf everything else.
    """
    encoded = prompting.encode(tokenizer, prompt, completion)
    ids = torch.tensor(encoded["input_ids"], device=model.device)
    scored = torch.tensor(encoded["completion_mask"], device=model.device).nonzero()[:, 0]
    logits = model(input_ids=ids[None], logits_to_keep=scored - 1, use_cache=False).logits[0]
    return logits.float().log_softmax(-1).gather(1, ids[scored, None])[:, 0]


def persona_gain(own: dict[str, float], other: dict[str, float], seed: int = 0) -> Estimate:
    if own.keys() != other.keys():
        raise ValueError("Persona gain compares the same people under two conditionings; found different people.")
    return mean_over_people({person: other[person] - own[person] for person in own}, seed)
