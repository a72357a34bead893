"""The contrast: which of several people's prompts the replies go with, as a loss."""

import torch
from torch import Tensor


def contrast_loss(totals: Tensor, tokens: Tensor, temperature: float | None = None) -> Tensor:
    """Return -T log softmax(s / T)[0] for each dialogue, (B,): 0 where its replies go with the person's own prompt
    alone, T log K where they go with all K alike.

    totals: s, (B, K), the log-prob of the person's replies summed after each prompt, the own one first; -inf where a
    dialogue has fewer. tokens: how many these replies have, (B,). T is 1 (temperature None), which is the log-loss of
    the metric identification, or tokens * temperature, a softmax over means per token.

    Added to the NLL, -s_0, with a weight w, p being the softmax, the gradients are

        d/ds_0 = -1 - w (1 - p_0)          d/ds_k = w p_k

    whatever T. Those of the contrast sum to zero: what makes the replies likelier or unlikelier after every prompt
    changes nothing of it. So it asks only for what the prompt tells, how likely the replies are is left to the NLL,
    the anchor, and no term pushes s_0 down. Without the gradient of s_0 the contrast would be lowered by making the
    replies unlikely after any prompt, and NLL(own) rises with that; without those of the strangers it would only
    weigh some dialogues more.
    """
    scale = torch.ones_like(totals[:, 0]) if temperature is None else tokens * temperature
    return -scale * (totals / scale[:, None]).log_softmax(dim=1)[:, 0]
