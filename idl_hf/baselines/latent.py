"""What CLV and PerCVAE share: texts as vectors, Gaussian latents with a prior and a recognition network, and a decoder
that is shown a latent as a token."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import GPT2Config, GPT2Model

from idl_hf.baselines.inputs import IGNORED, Batch
from idl_hf.baselines.model import Baseline, BaselineConfig, first_spread, last_state


class Gaussian(nn.Module):
    """A diagonal Gaussian as a function of a vector: mean and logarithm of the variance."""

    def __init__(self, size: int, hidden: int, latent: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(size, hidden), nn.Tanh(), nn.Linear(hidden, 2 * latent))

    def forward(self, vector: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean and log variance, (B, latent) each."""
        mean, log_variance = self.layers(vector).chunk(2, dim=-1)
        return mean, log_variance


def drawn(gaussian: tuple[Tensor, Tensor]) -> Tensor:
    """Return a sample by which both parameters are learnt."""
    mean, log_variance = gaussian
    return mean + torch.exp(log_variance / 2) * torch.randn_like(mean)


def kl(of: tuple[Tensor, Tensor], against: tuple[Tensor, Tensor]) -> Tensor:
    """Return KL(of || against) of diagonal Gaussians in nats, (B,), summed over dimensions."""
    (mean, log_variance), (other_mean, other) = of, against
    ratio = torch.exp(log_variance - other)
    return 0.5 * (other - log_variance + ratio + (mean - other_mean) ** 2 * torch.exp(-other) - 1).sum(-1)


def stack(config: BaselineConfig, spread: float = 0.02) -> GPT2Model:
    """Return a GPT-2 of the config's size, or like its backbone, with random weights of that standard deviation."""
    if config.backbone:
        return GPT2Model(GPT2Config(**{**config.backbone, "use_cache": False}))
    sizes = config.limits
    made = GPT2Config(
        vocab_size=config.vocab_size,
        n_positions=max(sizes.profile, sizes.line, 2 + sizes.context + sizes.reply + sizes.exchanges * sizes.line),
        n_embd=config.hidden,
        n_layer=config.layers,
        n_head=config.heads,
        resid_pdrop=config.dropout,
        embd_pdrop=config.dropout,
        attn_pdrop=config.dropout,
        initializer_range=spread,
        bos_token_id=config.end_token_id,
        eos_token_id=config.end_token_id,
        use_cache=False,
    )
    return GPT2Model(made)


def causal_log_probs(model: GPT2Model, before: Tensor, mask: Tensor, replies: Tensor, end: int) -> Tensor:
    """Return the log-probs (B, R + 1, V) of replies (B, R) after some embeddings (B, T, D), of which mask (B, T) tells
    which are there. Tokens that are not there take no position."""
    begun = torch.cat([beginning(replies, end), replies], 1)
    embedded = torch.cat([before, model.wte(begun)], 1)
    attended = torch.cat([mask, torch.ones_like(begun, dtype=torch.bool)], 1)
    positions = attended.long().cumsum(1).sub(1).clamp_min(0)
    states = model(inputs_embeds=embedded, attention_mask=attended.long(), position_ids=positions).last_hidden_state
    return F.log_softmax(states[:, before.shape[1] :].float() @ model.wte.weight.float().T, dim=-1)


def beginning(replies: Tensor, end: int) -> Tensor:
    """Return a column of the token that begins replies (B, R)."""
    return torch.full((len(replies), 1), end, dtype=torch.long, device=replies.device)


class BagOfWords(nn.Module):
    """Says which words a reply has, whatever their order (Zhao et al. 2017), so that a latent cannot be ignored."""

    def __init__(self, size: int, hidden: int, vocabulary: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(size, hidden), nn.Tanh(), nn.Linear(hidden, vocabulary))

    def forward(self, vector: Tensor, labels: Tensor) -> Tensor:
        """Return the NLL of all tokens of a reply, each of the same softmax, (B,), summed over the reply."""
        log_probs = F.log_softmax(self.layers(vector).float(), dim=-1)
        there = labels != IGNORED
        return -(log_probs.gather(1, labels.clamp_min(0)) * there).sum(1)


class LatentBaseline(Baseline):
    """A shared encoder of texts, and a decoder that is shown a latent, the last turns, and the reply so far."""

    stacks = ("encoder", "decoder")

    def __init__(self, config: BaselineConfig) -> None:
        super().__init__(config)
        self.encoder = stack(config, first_spread(config.hidden))
        self.decoder = stack(config)

    def vector(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Return a text as the state of its last token, (B, D)."""
        positions = torch.arange(ids.shape[1], device=ids.device).expand_as(ids)
        states = self.encoder(input_ids=ids, attention_mask=mask.long(), position_ids=positions).last_hidden_state
        return last_state(states, mask)

    def reply_vector(self, labels: Tensor) -> Tensor:
        """Return the vector of a reply, with the token that ends it."""
        return self.vector(labels.clamp_min(0), labels != IGNORED)

    def decoded(self, token: Tensor, batch: Batch, replies: Tensor) -> Tensor:
        """Return log-probs (B, R + 1, V) of a decoder that is shown `token` (B, D) before the last turns."""
        before = torch.cat([token[:, None], self.decoder.wte(batch.context)], 1)
        mask = torch.cat([torch.ones_like(batch.context_mask[:, :1]), batch.context_mask], 1)
        return causal_log_probs(self.decoder, before, mask, replies, self.config.end_token_id)

    def ramp(self, cycle: bool) -> float:
        """Return the weight of a KL term: it rises linearly over `ramp_steps` and stays at 1, in cycles for as long
        again."""
        steps, ramp = int(self.steps.item()), self.config.ramp_steps
        return min((steps % (2 * ramp) if cycle else steps) / ramp, 1.0)
