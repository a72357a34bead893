"""The persona extractor (paper 3.2.1, A.2): a causal LM that writes down what an utterance states of its speaker.

examples/train_extractor.py trains one. `"patterns"` stands for the rules of idl_hf.persona.patterns, which need no model.
"""

import hashlib
import json
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

from tqdm import tqdm

from idl_hf.cache import Cache
from idl_hf.encoding import encoder_identity
from idl_hf.models.offline import OFFLINE, cache_folder
from idl_hf.persona import patterns
from idl_hf.persona.triples import format_prompt, mentions, parse_sample
from idl_hf.schema import Triple

PATTERNS = "patterns"
_VERSION = 1  # of what is generated; another one generates anew
_MAX_CHARACTERS = 1000  # longer utterances are read up to here

Extract = Callable[[Sequence[str]], list[list[Triple]]]


def load_extractor(name: str) -> Extract:
    """`extract` of "patterns" or of an adapter or model (see PersonaExtractor.from_pretrained)."""
    return patterns.extract if name == PATTERNS else _kept_in_memory(name, model_identity(name)).extract


@lru_cache(maxsize=1)
def _kept_in_memory(name: str, _identity: str) -> "PersonaExtractor":
    """One model a process, until another one is asked for or it changes on disk."""
    return PersonaExtractor.from_pretrained(name)


def extractor_identity(name: str) -> str:
    """What tells this extractor from others, for caches of what depends on it."""
    return PATTERNS if name == PATTERNS else PersonaExtractor.from_pretrained(name).identity


class PersonaExtractor:
    """The triples of utterances by a language model, which is loaded only when an utterance is not in the cache.

    What an utterance states is a function of its text alone, so that rows are the same however the work is divided: each
    is a sample of its own, where the paper stacks about nine (a line's triples would change with the lines around it), and
    the model computes in float32 (in half precision rounding lets the rest of a batch decide close calls). What the
    model wrote is kept on disk; a text costs once.

    >>> extractor = PersonaExtractor.from_pretrained("<user>/<adapter>")  # doctest: +SKIP
    >>> extractor.extract(["i have two dogs .", "how are you ?"])  # doctest: +SKIP
    [[Triple(subject='i', relation='have_pet', object='two dogs')], []]
    """

    def __init__(
        self,
        load: Callable[[], tuple[Any, Any]],
        identity: str,
        batch_size: int = 64,
        copy_only: bool = True,
        show_progress: bool = True,
    ) -> None:
        """load: makes (model, tokenizer). copy_only: refuses triples whose object is not in the utterance, which the model
        has made up."""
        self.identity = identity
        self.generated_count = 0  # samples that went through the model, for reports and tests
        self.refused: Counter[str] = Counter()  # what was written that is no triple of the utterance, and why
        self._load = load
        self._loaded: tuple[Any, Any] | None = None
        self._batch_size = batch_size
        self._copy_only = copy_only
        self._show_progress = show_progress

    @classmethod
    def from_pretrained(
        cls, name: str, *, dtype: str = "float32", device: str | None = None, **settings: Any
    ) -> "PersonaExtractor":
        """name: an adapter or a model, on the Hub, in a folder, or "offline". dtype: "bfloat16" for a model too large for
        float32, at the price named above. device: a GPU if there is one."""
        return cls(partial(load_merged, name, dtype, device), f"{model_identity(name)} {dtype}", **settings)

    def extract(self, utterances: Sequence[str]) -> list[list[Triple]]:
        """The triples each utterance states of its speaker, in the order in which the model wrote them."""
        texts = [_shortened(utterance) for utterance in utterances]
        keys = {text: hashlib.sha256(text.encode()).digest() for text in texts if any(map(str.isalnum, text))}
        known = self._cache.known(list(keys.values()))
        missing = [text for text, key in keys.items() if key not in known]
        for written in self._generate([[text] for text in missing]):
            self._cache.write({keys[missing[i]]: line.encode() for i, line in written.items()})
        # Read back, so that of two processes that wrote at once both go by the first
        lines = self._cache.read(list(keys.values()))
        found = {text: self._read(lines[key].decode(), [text])[0] for text, key in keys.items()}
        return [list(found.get(text, ())) for text in texts]

    def extract_samples(self, samples: Sequence[Sequence[str]]) -> list[list[list[Triple]]]:
        """The paper's stacked form: one prompt for all utterances of a sample, one list each. For evaluation, so that the
        cache is neither read nor written."""
        texts = [[_shortened(utterance) for utterance in sample] for sample in samples]
        lines = {i: text for written in self._generate(texts) for i, text in written.items()}
        return [self._read(lines[i], sample) for i, sample in enumerate(texts)]

    @property
    def _cache(self) -> Cache:
        made_of = f"{self.identity} {_VERSION} {format_prompt([''])}"
        return Cache(cache_folder() / "triples" / f"{hashlib.sha256(made_of.encode()).hexdigest()[:24]}.sqlite")

    def _generate(self, samples: list[list[str]]) -> Iterator[dict[int, str]]:
        """What the model writes for each sample, a batch at a time."""
        from idl_hf.models.lines import generate_lines

        if not samples:
            return
        if self._loaded is None:
            self._loaded = self._load()
        model, tokenizer = self._loaded
        prompts = [tokenizer(format_prompt(sample))["input_ids"] for sample in samples]
        hidden = not self._show_progress or len(samples) <= self._batch_size
        with tqdm(total=len(samples), desc="Extracting triples", unit="", disable=hidden) as bar:
            for written in generate_lines(model, tokenizer, prompts, list(map(len, samples)), self._batch_size):
                self.generated_count += len(written)
                yield written
                bar.update(len(written))

    def _read(self, text: str, sentences: Sequence[str]) -> list[list[Triple]]:
        lines = text.split("\n")[: len(sentences)]
        if len(lines) < len(sentences):
            self.refused["sentence without a line"] += len(sentences) - len(lines)
        lines += ["<>"] * (len(sentences) - len(lines))
        found = parse_sample(text, len(sentences))
        return [self._keep(*of_line) for of_line in zip(lines, sentences, found, strict=True)]

    def _keep(self, line: str, sentence: str, triples: Sequence[Triple]) -> list[Triple]:
        broken = line.replace("<>", "").count("<") - len(triples)
        if broken:
            self.refused["malformed triple"] += broken
        elif not triples and line.strip() != "<>":
            self.refused["line without a triple"] += 1
        kept: list[Triple] = []
        for triple in triples:
            if triple in kept:
                self.refused["repeated triple"] += 1
            elif not re.fullmatch(r"\w+", triple.relation):
                self.refused["relation that is no label"] += 1
            elif self._copy_only and not mentions(sentence, triple):
                self.refused["object that is not in the utterance"] += 1
            else:
                kept.append(triple)
        return kept


def _shortened(utterance: str) -> str:
    """On one line, cut between words where it is too long."""
    text = " ".join(utterance.split())
    return text if len(text) <= _MAX_CHARACTERS else text[:_MAX_CHARACTERS].rpartition(" ")[0]


def model_identity(name: str) -> str:
    """What tells a model from others: of one on the Hub its commit, of an adapter in a folder its weights' hash and its
    base, of another folder its files' sizes and times."""
    from huggingface_hub import hf_hub_download

    from idl_hf.models.loading import is_adapter

    if name == OFFLINE:
        return OFFLINE
    config = "adapter_config.json" if is_adapter(name) else "config.json"
    if not Path(name).is_dir():
        return f"{name}@{Path(hf_hub_download(name, config)).parent.name}"  # snapshots/<commit>/config.json
    if config == "config.json":
        return encoder_identity(name)
    base = json.loads(Path(name, config).read_text(encoding="utf-8"))["base_model_name_or_path"]
    weights = (file.read_bytes() for file in sorted(Path(name).glob("adapter_model.*")))
    hashes = [hashlib.sha256(content).hexdigest() for content in weights]
    return repr((hashes, base if base == OFFLINE else encoder_identity(base)))


def load_merged(name: str, dtype: str = "float32", device: str | None = None) -> tuple[Any, Any]:
    """(model, tokenizer), where an adapter is added into the weights of its base, so that it costs nothing at each token."""
    import torch
    from peft import PeftModel

    from idl_hf.models.loading import load_model

    model, tokenizer = load_model(name, dtype=getattr(torch, dtype), device=device)
    return (model.merge_and_unload() if isinstance(model, PeftModel) else model), tokenizer
