"""PerCVAE: a conditional variational autoencoder whose condition holds the profile (Zhao et al. 2017, as the paper's
Table 1 cites it), with a bag-of-words loss and a KL term whose weight rises. One latent, where CLV has groups of them.
"""

from typing import Any

import torch
from torch import Tensor, nn

from idl_hf.baselines.inputs import Batch
from idl_hf.baselines.latent import BagOfWords, Gaussian, LatentBaseline, drawn, kl
from idl_hf.baselines.model import BaselineConfig, shown


class PerCVAEConfig(BaselineConfig):
    """latent: the size of the latent."""

    model_type = "idl_percvae"

    def __init__(self, latent: int = 200, **kwargs: Any) -> None:
        self.latent = latent
        kwargs.setdefault("sizes", {"turns": 10, "context": 128})
        super().__init__(**kwargs)


class PerCVAE(LatentBaseline):
    """The model."""

    config_class = PerCVAEConfig

    def __init__(self, config: PerCVAEConfig) -> None:
        super().__init__(config)
        size = config.hidden
        self.prior = Gaussian(2 * size, 400, config.latent)
        self.recognition = Gaussian(3 * size, 400, config.latent)
        self.enter = nn.Linear(2 * size + config.latent, size)
        self.words = BagOfWords(2 * size + config.latent, 400, config.vocab_size)
        self.post_init()

    def log_probs(self, batch: Batch, replies: Tensor) -> Tensor:
        """Return log-probs (B, R + 1, V) given the mean of the prior."""
        condition = self._condition(batch)
        return self.decoded(self.enter(torch.cat([condition, self.prior(condition)[0]], -1)), batch, replies)

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """Return NLL per token, and of a reply its KL with a rising weight and its words, both per token too."""
        condition = self._condition(batch)
        of_reply = self.recognition(torch.cat([condition, self.reply_vector(batch.labels)], -1))
        vector = torch.cat([condition, drawn(of_reply)], -1)
        log_probs = self.decoded(self.enter(vector), batch, shown(batch.labels))
        tokens = (batch.labels >= 0).sum()
        return {
            "nll": self.nll(log_probs, batch.labels),
            "kl": self.ramp(cycle=False) * kl(of_reply, self.prior(condition)).sum() / tokens,
            "words": self.words(vector, batch.labels).sum() / tokens,
        }

    def _condition(self, batch: Batch) -> Tensor:
        profile = self.vector(batch.profile, batch.profile_mask)
        return torch.cat([profile, self.vector(batch.context, batch.context_mask)], -1)
