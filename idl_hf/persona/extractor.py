"""The persona extractor (paper 3.2.1, A.2): a causal LM that writes down what an utterance states of its speaker.
examples/train_extractor.py trains one. `"patterns"` stands for the rules of idl_hf.persona.patterns, which need no
model."""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

from idl_hf.cache import Cache, cache_folder, code_identity, digest
from idl_hf.models.identity import model_identity
from idl_hf.persona import patterns
from idl_hf.persona.triples import format_prompt, mentions, parse_sample
from idl_hf.schema import Triple

if TYPE_CHECKING:
    from idl_hf.models.loading import LoadedModel
    from idl_hf.models.responder import LocalModel

PATTERNS = "patterns"
_MAX_CHARACTERS = 1000  # longer utterances are read up to here

Extract = Callable[[Sequence[str]], list[list[Triple]]]


def load_extractor(name: str) -> Extract:
    """Return `extract` of "patterns", or of an adapter or model as PersonaExtractor.from_pretrained takes it."""
    return patterns.extract if name == PATTERNS else _kept_in_memory(name, model_identity(name)).extract


@lru_cache(maxsize=1)
def _kept_in_memory(name: str, _identity: str) -> "PersonaExtractor":
    """One model a process, until another one is asked for or it changes on disk."""
    return PersonaExtractor.from_pretrained(name)


def extractor_identity(name: str) -> str:
    """Return what tells this extractor from others, for caches of what depends on it."""
    return PATTERNS if name == PATTERNS else PersonaExtractor.from_pretrained(name).identity


class PersonaExtractor:
    """The triples of utterances by a language model, which is loaded only when an utterance is not in the cache.

    What an utterance states is a function of its text alone, so that rows are the same however the work is divided:
    each is a sample of its own, where the paper stacks about nine (a line's triples would change with the lines around
    it), and the model computes in float32 (in half precision rounding lets the rest of a batch decide close calls).
    What the model wrote is kept on disk; a text costs once.

    >>> extractor = PersonaExtractor.from_pretrained("<user>/<adapter>")  # doctest: +SKIP
    >>> extractor.extract(["i have two dogs .", "how are you ?"])  # doctest: +SKIP
    [[Triple(subject='i', relation='have_pet', object='two dogs')], []]
    """

    def __init__(
        self,
        load: Callable[[], "LoadedModel"],
        identity: str,
        batch_size: int = 64,
        copy_only: bool = True,
        show_progress: bool = True,
    ) -> None:
        """load: makes (model, tokenizer). copy_only: refuses triples whose object is not in the utterance, which the
        model has made up."""
        self.identity = identity
        self.generated_count = 0  # samples that went through the model, for reports and tests
        self.refused: Counter[str] = Counter()  # what was written that is no triple of the utterance, and why
        self._load = load
        self._model: LocalModel | None = None
        self._batch_size = batch_size
        self._copy_only = copy_only
        self._show_progress = show_progress

    @classmethod
    def from_pretrained(
        cls, name: str, *, dtype: str = "float32", device: str | None = None, **settings: Any
    ) -> "PersonaExtractor":
        """Return the extractor of an adapter or a model: a Hub id, a folder, or "offline". dtype: "bfloat16" for a
        model too large for float32, at the price named above. device: a GPU if there is one."""

        def load() -> "LoadedModel":
            from idl_hf.models.loading import load_merged

            return load_merged(name, dtype, device, plain=True)  # its texts are no messages

        return cls(load, f"{model_identity(name)} {dtype}", **settings)

    def extract(self, utterances: Sequence[str]) -> list[list[Triple]]:
        """Return the triples each utterance states of its speaker, in the order in which the model wrote them."""
        texts = [_shortened(utterance) for utterance in utterances]
        wordy = [text for text in dict.fromkeys(texts) if any(map(str.isalnum, text))]

        def generate(places: list[int]) -> Iterator[dict[int, bytes]]:
            for written in self._generate([[wordy[place]] for place in places]):
                yield {places[i]: line.encode() for i, line in written.items()}

        lines = self._cache.values([_key(text) for text in wordy], generate)
        triples = {text: self._read(line.decode(), [text])[0] for text, line in zip(wordy, lines, strict=True)}
        return [list(triples.get(text, ())) for text in texts]

    def extract_samples(self, samples: Sequence[Sequence[str]]) -> list[list[list[Triple]]]:
        """Return the triples of each utterance by the paper's stacked form: one prompt for all utterances of a sample.
        For evaluation, so that the cache is neither read nor written."""
        texts = [[_shortened(utterance) for utterance in sample] for sample in samples]
        lines = {i: text for written in self._generate(texts) for i, text in written.items()}
        return [self._read(lines[i], sample) for i, sample in enumerate(texts)]

    @property
    def _cache(self) -> Cache:
        made_of = digest(self.identity, code_identity("idl_hf.persona.extractor", "torch", "transformers", "peft"))
        return Cache(_folder() / f"{made_of.hex()[:24]}.sqlite")

    def _generate(self, samples: list[list[str]]) -> Iterator[dict[int, str]]:
        """Yield what the model writes for each sample, a batch at a time."""
        from idl_hf.models.responder import LocalModel

        if not samples:
            return
        if self._model is None:
            self._model = LocalModel(*self._load())
        prompts, counts = [format_prompt(sample) for sample in samples], list(map(len, samples))
        hidden = not self._show_progress or len(samples) <= self._batch_size
        with tqdm(total=len(samples), desc="Extracting triples", unit="", disable=hidden) as bar:
            for written in self._model.lines(prompts, counts, self._batch_size):
                self.generated_count += len(written)
                yield written
                bar.update(len(written))

    def _read(self, text: str, sentences: Sequence[str]) -> list[list[Triple]]:
        lines = text.split("\n")[: len(sentences)]
        if len(lines) < len(sentences):
            self.refused["sentence without a line"] += len(sentences) - len(lines)
        lines += ["<>"] * (len(sentences) - len(lines))
        return list(map(self._keep, lines, sentences, parse_sample(text, len(sentences))))

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


def forget_triples(utterances: Iterable[str]) -> int:
    """Remove what any model extracted from utterances from this machine and return how many answers there were."""
    keys = [_key(_shortened(utterance)) for utterance in utterances]
    return sum(Cache(file).remove(keys) for file in sorted(_folder().glob("*.sqlite")))


def _folder() -> Path:
    return cache_folder() / "triples"


def _key(text: str) -> bytes:
    return digest(text)


def _shortened(utterance: str) -> str:
    """Return it on one line, cut where it is too long: between words, where one ends close to there."""
    text = " ".join(utterance.split())
    if len(text) <= _MAX_CHARACTERS:
        return text
    space = text.rfind(" ", _MAX_CHARACTERS * 9 // 10, _MAX_CHARACTERS)
    return text[: space if space > 0 else _MAX_CHARACTERS]
