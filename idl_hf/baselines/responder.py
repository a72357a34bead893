"""One of these systems as a `Responder`: prompts in, replies and their likelihood out."""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm.auto import tqdm
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from idl_hf.baselines.inputs import IGNORED, Batch, Encoder, Known, known_of
from idl_hf.baselines.model import Baseline
from idl_hf.baselines.refiner import Refiner
from idl_hf.baselines.systems import load_baseline, load_people
from idl_hf.encoding import SentenceEncoder
from idl_hf.machine import default_device
from idl_hf.models.identity import load_recipe
from idl_hf.models.responder import Sampling
from idl_hf.schema import Message


class BaselineResponder:
    """A system with its tokenizer, and MSP with its refiner. A `Responder`; replies are greedy."""

    def __init__(
        self,
        model: Baseline,
        tokenizer: PreTrainedTokenizerBase,
        refiner: Refiner | None = None,
        batch_size: int = 8,
    ) -> None:
        self.model, self.tokenizer = model, tokenizer
        self._encoder = Encoder(tokenizer, model.config.limits)
        self._refiner, self._batch_size = refiner, batch_size

    @classmethod
    def from_pretrained(cls, folder: str, batch_size: int = 8) -> "BaselineResponder":
        """Load what `train_baseline` saved. Raises ValueError for another folder."""
        people, model = load_people(folder), load_baseline(folder)
        model.to(default_device())  # type: ignore[arg-type]
        refiner = None
        if people:
            encoder = SentenceEncoder(load_recipe(folder)["options"]["encoder"], show_progress=False)
            refiner = Refiner(people, encoder.encode, model.config.limits.exchanges)
        return cls(model, AutoTokenizer.from_pretrained(folder, trust_remote_code=False), refiner, batch_size)

    def replies(
        self, prompts: Sequence[Sequence[Message]], sampling: Sampling, label: str = ""
    ) -> Iterator[tuple[int, str]]:
        """Yield (place of the prompt, reply to it). Raises ValueError for options of sampling: replies are greedy."""
        if sampling.options:
            raise ValueError(f"These systems reply greedily, found {dict(sampling.options)}. Leave the options out.")
        starts = range(0, len(prompts), self._batch_size)
        for start in tqdm(starts, desc=f"Generating {label}", disable=not label):
            part = prompts[start : start + self._batch_size]
            batch = self._batch([self._encoder.encode(self._known(prompt)) for prompt in part])
            for i, ids in enumerate(self.model.write(batch, sampling.max_new_tokens)):
                yield start + i, str(self.tokenizer.decode(ids, skip_special_tokens=True)).strip()

    @torch.inference_mode()
    def logprobs(self, prompt: Sequence[Message], completion: Sequence[Message]) -> NDArray:
        """Return the log-prob of each token of the replies in a completion and of each one's end, float32. What is
        beyond the system's longest reply has none."""
        examples = [
            self._encoder.encode(self._known([*prompt, *completion[:i]]), message["content"])
            for i, message in enumerate(completion)
            if message["role"] == "assistant"
        ]
        found = []
        for start in range(0, len(examples), self._batch_size):
            batch = self._batch(examples[start : start + self._batch_size])
            labels = batch.labels
            log_probs = self.model.log_probs(batch, labels[:, :-1].clamp_min(0))
            picked = log_probs.gather(-1, labels.clamp_min(0)[..., None])[..., 0]
            found.append(picked[labels != IGNORED].float().cpu().numpy())
        return np.concatenate(found)

    def _known(self, prompt: Sequence[Message]) -> Known:
        known = known_of(prompt)
        return known if self._refiner is None else self._refiner.refine(known)

    def _batch(self, examples: Sequence[dict]) -> Batch:
        tensors = self._encoder.collate(examples)
        return Batch(**{name: tensor.to(self.model.device) for name, tensor in tensors.items()})
