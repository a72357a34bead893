"""CLV: contrastive latent variables (Tang et al., ACL 2023).

A profile, which only training has, is separated into groups, each with a latent of its own; a decider chooses among
what the last turn says of these latents. Of the released code the faults are mended: the networks of the groups are
trained, texts are read off at their last token, the dialogue is not validated on the test file. A latent enters as one
more token before the last turn; there it enters the keys and values of each layer, which ties it to GPT-2's shape.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from idl_hf.baselines.inputs import IGNORED, Batch
from idl_hf.baselines.latent import Gaussian, LatentBaseline, drawn, kl
from idl_hf.baselines.model import BaselineConfig, shown

_TEMPERATURE = 0.5  # of the contrast


class CLVConfig(BaselineConfig):
    """groups: into how many parts a profile is separated."""

    model_type = "idl_clv"

    def __init__(self, groups: int = 4, **kwargs: Any) -> None:
        self.groups = groups
        super().__init__(**kwargs)


class CLV(LatentBaseline):
    """The model."""

    config_class = CLVConfig

    def __init__(self, config: CLVConfig) -> None:
        super().__init__(config)
        size, groups = config.hidden, config.groups
        if size % groups:
            raise ValueError(f"hidden must be a multiple of groups, found {size} and {groups}.")
        marked = nn.Linear(2 * size, size)
        self.separate = nn.Sequential(marked, nn.ReLU(), nn.Linear(size, size), nn.Linear(size, size))
        self.group_priors = nn.ModuleList(Gaussian(size, 128, size) for _ in range(groups))
        self.group_recognitions = nn.ModuleList(Gaussian(2 * size, 128, size) for _ in range(groups))
        self.reply_prior = Gaussian(size, 128, size)
        self.reply_recognition = Gaussian(2 * size, 128, size)
        self.decider = nn.Sequential(nn.Linear((groups + 1) * size, size), nn.Tanh(), nn.Linear(size, groups + 1))
        self.post_init()

    def log_probs(self, batch: Batch, replies: Tensor) -> Tensor:
        """Return log-probs (B, R + 1, V) given the means of the priors: the profile is not looked at."""
        query = self.vector(batch.context, batch.context_mask)
        groups = torch.stack([prior(query)[0] for prior in self.group_priors], 1)
        latent = self.reply_prior(query)[0] + self._decided(query, groups)[1]
        return self.decoded(latent, batch, replies)

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """Return NLL and, with its cyclic weight, KL per token, the decider's cross-entropy, and the contrast.

        Both of the first are per token, so that their sum is the bound of which the papers speak; the released code
        adds the KL of a whole reply to the NLL of a token, which leaves nothing in the latents.
        """
        query = self.vector(batch.context, batch.context_mask)
        parts = self.parts(self.vector(batch.profile, batch.profile_mask))
        groups, between = [], torch.zeros(len(query), device=query.device)
        for i, (prior, recognition) in enumerate(zip(self.group_priors, self.group_recognitions, strict=True)):
            found = recognition(torch.cat([query, parts[:, i]], -1))
            groups.append(drawn(found))
            between = between + kl(found, prior(query)) / len(self.group_priors)
        of_reply = self.reply_recognition(torch.cat([query, self.reply_vector(batch.labels)], -1))
        reply = drawn(of_reply)
        chosen, group = self._decided(query, torch.stack(groups, 1))
        log_probs = self.decoded(reply + group, batch, shown(batch.labels))
        best = self._best(reply, torch.stack(groups, 1), batch)
        divergence = (kl(of_reply, self.reply_prior(query)) + between).sum() / (batch.labels != IGNORED).sum()
        return {
            "nll": self.nll(log_probs, batch.labels),
            "decider": F.cross_entropy(chosen, best),
            "kl": self.ramp(cycle=True) * divergence,
            "contrast": contrast(parts),
        }

    def parts(self, profile: Tensor) -> Tensor:
        """Return a profile (B, D) separated into groups (B, N, D): each is marked in a block of its own."""
        size, groups = self.config.hidden, self.config.groups
        marks = torch.eye(groups, device=profile.device).repeat_interleave(size // groups, 1)  # (N, D)
        marked = profile[:, None] + marks
        return self.separate(torch.cat([marked, marks.expand(len(profile), -1, -1)], -1))

    def _decided(self, query: Tensor, groups: Tensor) -> tuple[Tensor, Tensor]:
        """Return the decider's logits (B, N + 1) and the latent it mixes (B, D); the last choice is no persona."""
        chosen = self.decider(torch.cat([groups.flatten(1), query], -1))
        return chosen, torch.einsum("bn,bnd->bd", chosen.softmax(-1)[:, :-1], groups)

    @torch.no_grad()
    def _best(self, reply: Tensor, groups: Tensor, batch: Batch) -> Tensor:
        """Return which choice makes the reply likeliest, (B,)."""
        choices = torch.cat([groups, torch.zeros_like(groups[:, :1])], 1)
        scores = []
        for i in range(choices.shape[1]):
            log_probs = self.decoded(reply + choices[:, i], batch, shown(batch.labels))
            picked = log_probs.gather(-1, batch.labels.clamp_min(0)[..., None])[..., 0]
            scores.append((picked * (batch.labels != IGNORED)).sum(1))
        return torch.stack(scores, 1).argmax(1)


def contrast(parts: Tensor) -> Tensor:
    """Return how badly a group of one profile tells which group of another is its like; parts: (B, N, D).

    InfoNCE over all ordered pairs of examples: the like is positive, the other groups of the other profile negative.
    It makes a group mean the same for everybody. Zero for a batch of one.
    """
    unit = F.normalize(parts.float(), dim=-1)
    alike = torch.einsum("aid,bjd->abij", unit, unit) / _TEMPERATURE
    count, groups = parts.shape[:2]
    pairs = alike[~torch.eye(count, dtype=torch.bool, device=parts.device)]  # (B * (B - 1), N, N)
    targets = torch.arange(groups, device=parts.device).repeat(len(pairs))
    return F.cross_entropy(pairs.flatten(0, 1), targets) if len(pairs) else parts.sum() * 0
