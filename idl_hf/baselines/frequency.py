"""What a system has to beat: how frequent each token is in the replies, whatever was said before."""

from typing import Any

import torch
from torch import Tensor, nn

from idl_hf.baselines.inputs import IGNORED, Batch
from idl_hf.baselines.model import Baseline, BaselineConfig


class FrequencyConfig(BaselineConfig):
    """Only vocab_size and the sizes matter."""

    model_type = "idl_frequency"

    def __init__(self, **kwargs: Any) -> None:  # transformers makes one of its own where a class has none
        super().__init__(**kwargs)


class Frequency(Baseline):
    """Token counts, each begun with one."""

    config_class = FrequencyConfig

    def __init__(self, config: FrequencyConfig) -> None:
        super().__init__(config)
        self.counts: Tensor
        self.register_buffer("counts", torch.ones(config.vocab_size))
        self.nothing = nn.Parameter(torch.zeros(()))  # a trainer wants something to train
        self.post_init()

    def log_probs(self, batch: Batch, replies: Tensor) -> Tensor:
        """Return the same log-probs at each place, (B, R + 1, V)."""
        shares = (self.counts / self.counts.sum()).log()
        return shares.expand(len(replies), replies.shape[1] + 1, -1)

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """Count the tokens of the labels, and return their NLL before that."""
        terms = {name: term + self.nothing for name, term in super().losses(batch).items()}
        with torch.no_grad():
            self.counts += torch.bincount(batch.labels[batch.labels != IGNORED], minlength=len(self.counts))
        return terms
