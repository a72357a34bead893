"""What all these systems are: a `PreTrainedModel` that gives the log-probs of a reply, token by token, and a loss."""

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import AutoModel, PretrainedConfig, PreTrainedModel
from transformers.utils import ModelOutput

from idl_hf.baselines.inputs import IGNORED, Batch, Sizes
from idl_hf.models.identity import refuse_pickles


class BaselineConfig(PretrainedConfig):
    """Sizes of what goes in, and of the network. From scratch, small enough for two cores, unless a backbone is
    named."""

    def __init__(
        self,
        vocab_size: int = 49152,
        end_token_id: int = 0,
        sizes: Mapping[str, int] | None = None,
        hidden: int = 256,
        layers: int = 4,
        heads: int = 4,
        dropout: float = 0.1,
        ramp_steps: int = 100,
        backbone: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        """end_token_id: begins and ends a reply. sizes: fields of `Sizes`. ramp_steps: over which the weight of a KL
        term rises to 1. backbone: the config of what its stacks are like, instead of hidden, layers and heads."""
        self.vocab_size, self.end_token_id, self.sizes = vocab_size, end_token_id, dict(sizes or {})
        self.hidden, self.layers, self.heads, self.dropout = hidden, layers, heads, dropout
        self.ramp_steps, self.backbone = ramp_steps, dict(backbone or {})
        if backbone:
            self.hidden = backbone.get("n_embd", backbone.get("hidden_size", hidden))
            self.layers = backbone.get("n_layer", backbone.get("num_hidden_layers", layers))
            self.heads = backbone.get("n_head", backbone.get("num_attention_heads", heads))
        super().__init__(**kwargs)

    @property
    def limits(self) -> Sizes:
        """The sizes of what goes in."""
        return Sizes(**self.sizes)


@dataclass
class BaselineOutput(ModelOutput):
    """What the `Trainer` takes."""

    loss: Tensor | None = None
    logits: Tensor | None = None  # (B, reply, V), log-probs


class Baseline(PreTrainedModel):
    """A system. `log_probs` is what it says of a reply, `losses` what it learns by."""

    config_class: type[BaselineConfig] = BaselineConfig
    config: BaselineConfig
    steps: Tensor
    base_model_prefix = "baseline"
    main_input_name = "context"
    stacks: tuple[str, ...] = ()  # the modules that may begin with a backbone's weights
    accepts_loss_kwargs = False  # a loss is a mean of its own

    def __init__(self, config: BaselineConfig) -> None:
        super().__init__(config)
        self.register_buffer("steps", torch.zeros((), dtype=torch.long))  # that were trained

    def begin_with(self, name: str) -> None:
        """Load a backbone's weights into all stacks, which its config made. Raises OSError for pickles alone."""
        refuse_pickles(name)
        weights = AutoModel.from_pretrained(name, use_safetensors=True, trust_remote_code=False).state_dict()
        for stack in self.stacks:
            module = getattr(self, stack)
            known = module.state_dict().keys()
            module.load_state_dict({key: value for key, value in weights.items() if key in known}, strict=False)

    @abstractmethod
    def log_probs(self, batch: Batch, replies: Tensor) -> Tensor:
        """Return the log-probs of each token of replies and of the one after, (B, R + 1, V). replies: (B, R), without
        what begins one."""

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """Return the terms of the loss, which is their sum, in nats per token or per reply, as each says."""
        return {"nll": self.nll(self.log_probs(batch, shown(batch.labels)), batch.labels)}

    def forward(self, labels: Tensor | None = None, **inputs: Tensor) -> BaselineOutput:
        """Return the sum of the losses in training, else the NLL per token, and the log-probs."""
        batch = Batch(**inputs) if labels is None else Batch(**inputs, labels=labels)
        if self.training:
            terms = self.losses(batch)
            self.steps += 1
            return BaselineOutput(loss=torch.stack(list(terms.values())).sum())
        log_probs = self.log_probs(batch, shown(batch.labels))
        return BaselineOutput(self.nll(log_probs, batch.labels), log_probs)

    @torch.inference_mode()
    def write(self, batch: Batch, max_new_tokens: int) -> list[list[int]]:
        """Return the greedy reply to each example, without what ends it."""
        replies = torch.zeros(len(batch.context), 0, dtype=torch.long, device=self.device)
        going = torch.ones(len(batch.context), dtype=torch.bool, device=self.device)
        for _ in range(min(max_new_tokens, self.config.limits.reply)):
            last = self.log_probs(batch, replies)[:, -1].argmax(-1)
            going &= last != self.config.end_token_id
            if not going.any():
                break
            replies = torch.cat([replies, last[:, None]], 1)
        end = self.config.end_token_id
        return [ids[: ids.index(end)] if end in (ids := row.tolist()) else ids for row in replies]

    @staticmethod
    def nll(log_probs: Tensor, labels: Tensor) -> Tensor:
        """Return the mean NLL per token of labels, of log-probs (B, R, V) as they are."""
        return F.nll_loss(log_probs.float().flatten(0, 1), labels.flatten(), ignore_index=IGNORED)

    def _init_weights(self, module: nn.Module) -> None:
        if isinstance(module, nn.Embedding):
            nn.init.normal_(module.weight, std=0.02)
        if isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, std=first_spread(module.in_features))
        if isinstance(module, nn.Linear) and module.bias is not None:
            nn.init.zeros_(module.bias)


def first_spread(width: int) -> float:
    """Return the standard deviation of first weights that leave the variance of what they read, vectors of a width.

    With GPT-2's 0.02, which is for 768, vectors of some dozens would leave states that hardly depend on the text.
    """
    return float(width**-0.5)


def shown(labels: Tensor) -> Tensor:
    """Return what a decoder is shown of a reply: all but its last token, some token where there is none."""
    return labels[:, :-1].clamp_min(0)


def last_state(states: Tensor, mask: Tensor) -> Tensor:
    """Return the state at the last token that is there, (B, D), of states (B, T, D) padded at the end; of a text
    without a token the first."""
    last = mask.sum(1).sub(1).clamp_min(0)
    return states[torch.arange(len(states), device=states.device), last]


def masked_mean(states: Tensor, mask: Tensor) -> Tensor:
    """Return the mean over tokens (..., T, D) that are there, zeros where none is."""
    weight = mask.unsqueeze(-1).to(states.dtype)
    return (states * weight).sum(-2) / weight.sum(-2).clamp_min(1)
