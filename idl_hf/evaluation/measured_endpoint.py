"""What is measured of a model behind an engine: its replies. It gives no log-probs, so their cells stay empty."""

from collections.abc import Iterator, Sequence
from typing import NoReturn

from datasets import Dataset
from tqdm.auto import tqdm

from idl_hf.cache import Cache, code_identity, digest
from idl_hf.evaluation.measured_model import MeasuredModel
from idl_hf.models.endpoint import Endpoint, request_options
from idl_hf.models.responder import Sampling
from idl_hf.schema import Message


class MeasuredEndpoint(MeasuredModel):
    """A model as an engine calls it. Its replies are kept by URL, name, messages and sampling: what else the engine
    has behind that name, nobody here can know."""

    def __init__(self, endpoint: Endpoint, tokenizer: str, cache: Cache, chat_template: str | None = None) -> None:
        """tokenizer, chat_template: of a model or adapter, as `load_tokenizer` takes them, by which prompts are cut to
        length."""
        self._endpoint, self._name, self._cache = endpoint, tokenizer, cache
        self._chat_template = chat_template
        self._served = (endpoint.url, endpoint.model, code_identity("idl_hf.models.endpoint"))

    def scores(self, rows: Dataset, label: str) -> NoReturn:
        """Raise NoLogProbsError."""
        self._endpoint.logprobs([], [])

    def replies(self, prompts: Sequence[Sequence[Message]], max_new_tokens: int, label: str) -> list[str]:
        """Return the greedy reply to each prompt. Raises EndpointError; what was answered before is kept."""
        sampling = Sampling(max_new_tokens)

        def measure(places: list[int]) -> Iterator[dict[int, bytes]]:
            answered = self._endpoint.replies([prompts[place] for place in places], sampling)
            for i, text in tqdm(answered, desc=f"Asking {label}", total=len(places)):
                yield {places[i]: text.encode()}

        asked = request_options(sampling)
        keys = [digest("engine", self._served, list(map(dict, prompt)), asked) for prompt in prompts]
        return [value.decode() for value in self._cache.values(keys, measure)]
