"""Greedy decoding after texts that share their beginnings, or their log-probs, each token of a text computed once.

Sorted, prompts form a tree, and a batch of them runs as one packed row: each token of the tree fills one slot of the
cache, at its position in the prompt, and attends to the slots between it and the root. Generated tokens follow in
slots of their own, one of each reply in a step.

    prompts    a b c      slots      a b c d e x y ...    x: the reply to a b c, attends to slots 0 1 2 and itself
               a b d e    positions  0 1 2 2 3 3 4        y: the reply to a b d e, attends to 0 1 3 4 and itself

Nothing is padded or copied for a reply, and the next batch goes on with what its first prompt shares with the last
one.
"""

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from accelerate.utils import is_peft_model
from torch import Tensor
from transformers import AttentionInterface, DynamicCache, PreTrainedModel

from idl_hf.packing.attention import HIDDEN, obstacle, refuse_extras

ATTENTION = "idl_hf_prompt_tree"
CHUNK = 512  # tokens of prompts in one forward pass; bounds the activations
TILE = 128  # queries; a tile reads no slots behind its own
# What a generation config may set without a greedy reply becoming another one
_HARMLESS = set(
    "bos_token_id eos_token_id pad_token_id do_sample temperature top_p top_k min_p top_h typical_p epsilon_cutoff "
    "eta_cutoff "
    "max_length max_new_tokens use_cache cache_implementation output_attentions output_hidden_states output_scores "
    "output_logits return_dict_in_generate transformers_version _from_model_config".split()
)
Ids = Sequence[int]


def tree_obstacle(model: PreTrainedModel) -> str | None:
    """Return why `model` cannot decode packed rows greedily, None if it can."""
    base = base_model(model)
    if other := set(base.generation_config.to_diff_dict()) - _HARMLESS:
        return f"the generation config of {type(base).__name__} sets {', '.join(sorted(other))}"
    return reading_obstacle(model)


def reading_obstacle(model: PreTrainedModel) -> str | None:
    """Return why `model` cannot read packed rows, None if it can."""
    if is_peft_model(model) and any(config.is_prompt_learning for config in model.peft_config.values()):
        return "prompt-learning adapters put tokens of their own before the prompt"
    base = base_model(model)
    ropes = getattr(base.config, "rope_parameters", None) or {}
    kinds = {str(rope.get("rope_type")) for rope in (ropes, *ropes.values()) if isinstance(rope, dict)}
    if any("dynamic" in kind or kind == "longrope" for kind in kinds):
        return f"{type(base).__name__} rotates all positions of a batch by the longest of them"
    return obstacle(base)


def base_model(model: Any) -> Any:
    """Return the model that an adapter is on, and any other as it is."""
    return model.get_base_model() if is_peft_model(model) else model


class _Layout(NamedTuple):
    """The new tokens of a batch in the order of their slots, which text each is of, which are read for what follows
    them, and which slots each text sees, (texts, slots)."""

    ids: Tensor
    positions: Tensor
    rows: Tensor
    wanted: Tensor
    seen: Tensor


class TreeDecoder:
    """Reader of one batch of texts after the other, and writer of replies; between batches it keeps what the next text
    shares."""

    def __init__(self, model: PreTrainedModel, max_new_tokens: int = 0, ends: Collection[int] = ()) -> None:
        """Take the tokens that end a reply, `ends`, beside what it is written by and how long it may be."""
        self._model = model
        self._max_new_tokens = max_new_tokens
        self._ends = set(ends)
        # Without the config, so that layers with a sliding window keep their past too: the mask hides it from them
        self._cache: Any = DynamicCache()
        self._positions = torch.empty(0, dtype=torch.long, device=model.device)  # of the slots
        self._path: list[int] = []  # slots of the last prompt

    @torch.inference_mode()
    def write(self, prompts: Sequence[Ids], shared: Ids) -> list[list[int]]:
        """Return the greedy tokens after each of the sorted prompts, with the one that ends a reply.

        shared: tokens that a prompt has in common with the one before it, the first with the last of the batch before.
        """
        self._keep(self._path[: shared[0]])
        with _attention(base_model(self._model)):
            layout = self._lay_out(prompts, shared, [len(prompt) - 1 for prompt in prompts])
            tokens = torch.cat([logits.argmax(-1) for logits in self._read(layout)])
            return self._decode(tokens, layout.seen, [len(prompt) for prompt in prompts])

    @torch.inference_mode()
    def score(self, texts: Sequence[Ids], shared: Ids, labels: Sequence[Ids]) -> list[Tensor]:
        """Return the log-probs of each text's `labels`, which its last tokens predict, float32 of shape (labels,).

        The texts are sorted; shared: as in `write`.
        """
        firsts = [len(text) - len(own) for text, own in zip(texts, labels, strict=True)]
        shared = [min(common, first) for common, first in zip(shared, firsts, strict=True)]
        self._keep(self._path[: shared[0]])
        expected = torch.tensor([label for own in labels for label in own], device=self._model.device)
        parts: list[Tensor] = []
        with _attention(base_model(self._model)):
            for logits in self._read(self._lay_out(texts, shared, firsts)):
                own = expected[sum(map(len, parts)) :][: len(logits)]
                parts.append(logits.float().log_softmax(-1).gather(1, own[:, None])[:, 0])
        return list(torch.cat(parts).split(list(map(len, labels))))

    def _keep(self, path: list[int]) -> None:
        slots = torch.tensor(path, dtype=torch.long, device=self._model.device)
        for layer in self._cache.layers:
            layer.keys, layer.values = layer.keys[:, :, slots], layer.values[:, :, slots]
        self._positions = self._positions[slots]
        self._path = list(range(len(path)))

    def _lay_out(self, texts: Sequence[Ids], shared: Ids, firsts: Ids) -> _Layout:
        """Return what a batch adds to the slots. firsts: of each text the first token that is read."""
        used = len(self._path)
        new = [(row, i) for row, text in enumerate(texts) for i in range(shared[row], len(text))]
        seen = torch.zeros(len(texts), used + len(new), dtype=torch.bool)
        for row, text in enumerate(texts):
            self._path = [*self._path[: shared[row]], *range(used, used + len(text) - shared[row])]
            used += len(text) - shared[row]
            seen[row, self._path] = True
        device = self._model.device
        return _Layout(
            ids=torch.tensor([texts[row][i] for row, i in new], device=device),
            positions=torch.tensor([i for _, i in new], device=device),
            rows=torch.tensor([row for row, _ in new], device=device),
            wanted=torch.tensor([i >= firsts[row] for row, i in new], device=device),
            seen=seen.to(device),
        )

    def _read(self, layout: _Layout) -> Iterator[Tensor]:
        """Yield the logits after the wanted tokens, (tokens, vocabulary), some at a time."""
        for start in range(0, len(layout.ids), CHUNK):
            part = slice(start, start + CHUNK)
            kept, seen = layout.wanted[part].nonzero()[:, 0], layout.seen[layout.rows[part]]
            yield self._forward(layout.ids[part], layout.positions[part], seen, kept)

    def _decode(self, tokens: Tensor, seen: Tensor, lengths: list[int]) -> list[list[int]]:
        """Return what follows the prompts. A row that is done leaves the batch; its slots stay, unseen by the
        others."""
        written: list[list[int]] = [[] for _ in lengths]
        rows, positions = list(range(len(lengths))), torch.tensor(lengths, device=tokens.device)
        while True:
            for row, token in zip(rows, tokens.tolist(), strict=True):
                written[row].append(token)
            going = [
                place
                for place, row in enumerate(rows)
                if written[row][-1] not in self._ends and len(written[row]) < self._max_new_tokens
            ]
            if not going:
                return written
            rows = [rows[place] for place in going]
            seen = torch.cat([seen[going], torch.eye(len(going), dtype=torch.bool, device=seen.device)], dim=1)
            places = torch.arange(len(going), device=seen.device)
            tokens = self._forward(tokens[going], positions[going], seen, places).argmax(-1)
            positions = positions[going] + 1

    def _forward(self, ids: Tensor, positions: Tensor, seen: Tensor, kept: Tensor) -> Tensor:
        """Return the logits after each of `ids` at the places `kept`. seen: (ids, slots), or with more slots than are
        filled."""
        self._positions = torch.cat([self._positions, positions])
        distances = positions[:, None] - self._positions
        distances = distances.masked_fill(~seen[:, : len(self._positions)], HIDDEN).to(torch.int32)
        state = {"attention_mask": distances[None, None], "past_key_values": self._cache, "use_cache": True}
        output = self._model(input_ids=ids[None], position_ids=positions[None], **state, logits_to_keep=kept)
        return output.logits[0]


@contextmanager
def _attention(model: Any) -> Iterator[None]:
    usual = model.config._attn_implementation
    model.set_attn_implementation(ATTENTION)
    try:
        yield
    finally:
        model.set_attn_implementation(usual)


def tree_attention(
    module: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor,
    scaling: float | None = None,
    sliding_window: int | None = None,
    **options: Any,
) -> tuple[Tensor, None]:
    """Return the exact attention of the last n slots to all; heads that share keys are one product.

    PyTorch's own would repeat the keys for each of these heads in every step, and is the slower one for prompts in
    half precision on a CPU.

    query: (1, heads, n, d); key, value: (1, key heads, slots, d). attention_mask: int32 (1, 1, n, slots), the tokens
    between query and key, negative for keys out of sight. Returns (1, n, heads, d). Scores are of the precision of the
    inputs.
    """
    refuse_extras(module, options, "decoding of shared prompts")
    size, heads, length, width = query.shape
    grouped = (size, key.shape[1], -1)
    query = query * (width**-0.5 if scaling is None else scaling)
    output = query.new_empty(size, length, heads, value.shape[-1])
    for start in range(0, length, TILE):
        stop = min(length, start + TILE)
        slots = key.shape[2] - length + stop
        distances = attention_mask[:, :, start:stop, :slots]
        hidden = out_of_sight(distances, sliding_window)
        scores = query[:, :, start:stop].reshape(*grouped, width) @ key[:, :, :slots].transpose(2, 3)
        scores = scores.view(size, heads, -1, slots).masked_fill_(hidden, -torch.inf)
        probs = scores.softmax(-1, dtype=torch.promote_types(scores.dtype, torch.float32)).to(value.dtype)
        attended = probs.view(*grouped, slots) @ value[:, :, :slots]
        output[:, start:stop] = attended.view(size, heads, -1, value.shape[-1]).transpose(1, 2)
    return output, None


def out_of_sight(distances: Tensor, window: int | None) -> Tensor:
    """Return for each query and key, so many tokens apart, whether the key is hidden: later, or before the window."""
    return distances < 0 if window is None else (distances < 0) | (distances >= window)


AttentionInterface.register(ATTENTION, tree_attention)
