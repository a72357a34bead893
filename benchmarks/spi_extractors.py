"""What the choice of persona extractor is worth for SPI: stable clusters, other references, more persona gain?

    python benchmarks/spi_extractors.py --data_dir <ConvAI2> --extractors patterns none runs/extractor --adapter runs/msl
    python benchmarks/spi_extractors.py --quick       # the sample data, for the test suite

An extractor marks the utterances that stand for a dialogue; `none` marks nothing, so that all of a person's do. Clusterings
of people with enough dialogues for several clusters are compared by the adjusted Rand index (1: the same, 0: chance): of two
k-means seeds; of the dialogues as they are and without a random utterance of the person in each, the same for all extractors;
of the extractor and the first one, seed by seed. References are those of every dialogue, all replies of it to predict.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations
from typing import Any

import numpy as np
from datasets import Dataset
from numpy.typing import NDArray
from sklearn.metrics import adjusted_rand_score
from trl import TrlParser

import idl_hf  # noqa: F401 (registers the datasets)
from idl_hf.demo import SAMPLE_DATA
from idl_hf.encoding import SentenceEncoder, default_encoder
from idl_hf.explore.stats import dialogue_of
from idl_hf.models.likelihood import CONDITIONINGS, mean_over_people, nll_by_person
from idl_hf.models.loading import load_model
from idl_hf.persona.triples import persona_utterances
from idl_hf.rows.generate import encoder_texts, extractor_texts, generate_rows
from idl_hf.rows.options import RowOptions
from idl_hf.rows.people import Corpus
from idl_hf.rows.references import seed_of
from idl_hf.schema import Dialogue, Triple, Turn, group_by_person
from idl_hf.spi import cluster_dialogues, persona_text
from idl_hf.training.stages import DataArguments, fit_rows

COLUMNS = ("extractor", "people", "dialogues", "utterances marked", "ARI of seeds", "ARI without an utterance",
           "persona gain", "ARI with the first", "other references", "gain minus the first's")  # fmt: skip
QUICK: dict[str, Any] = {"dataset_name": "idl_hf/dialogues_idl", "data_dir": str(SAMPLE_DATA), "encoder": "offline",
                         "seeds": 3, "dialogues_per_person": 1, "max_prompt_tokens": 1024}  # fmt: skip


@dataclass
class Settings:
    data_dir: str | None = field(default=None, metadata={"help": "Folder with the raw files of the corpus."})
    dataset_name: str = field(default="idl_hf/convai2_idl", metadata={"help": "Dataset of dialogues."})
    split: str = field(default="validation", metadata={"help": "Split of people whom no model trained on."})
    extractors: list[str] = field(default_factory=lambda: ["patterns", "none"], metadata={"help": "Or adapters."})
    encoder: str = field(default_factory=default_encoder, metadata={"help": "Sentence encoder, or 'offline'."})
    seeds: int = field(default=10, metadata={"help": "Of k-means, and of the utterances left out; at least 2."})
    adapter: str | None = field(default=None, metadata={"help": "MSL adapter or model. None: no persona gain."})
    dialogues_per_person: int | None = field(default=None, metadata={"help": "At most, for the gain; default all."})
    max_prompt_tokens: int = field(default=2048, metadata={"help": "Longer prompts lose whole reference dialogues."})
    quick: bool = field(default=False, metadata={"help": "The sample data and three seeds: seconds."})


class Unmarked(Corpus):
    extractor_identity = "none"

    def triples(self, texts: Sequence[str]) -> list[list[Triple]]:
        return [[] for _ in texts]


def clusterings(corpus: Corpus, options: RowOptions, seeds: int) -> dict[str, tuple[list[NDArray], list[NDArray]]]:
    """Labels of the dialogues of each person, by k-means of each seed and, by the first, without an utterance."""
    texts = {}
    for who, own in corpus.usable.items():
        if len(own) >= options.min_dialogues_to_cluster:
            views = [own, *([leave_out(dialogue, seed) for dialogue in own] for seed in range(seeds))]
            texts[who] = [[persona_text(one.turns, marks(one.turns, corpus)) for one in view] for view in views]
    corpus.load_vectors(text for views in texts.values() for view in views for text in view)
    labels = {}
    for who, (whole, *less) in texts.items():
        of_seeds = [cluster_dialogues(corpus.vectors(whole), options.clusters, seed) for seed in range(seeds)]
        labels[who] = of_seeds, [cluster_dialogues(corpus.vectors(view), options.clusters) for view in less]
    return labels


def marks(turns: Sequence[Turn], corpus: Corpus) -> list[bool]:
    """For each turn, whether it is an utterance of the person that the extractor marks, as for the rows."""
    facts = [fact for found in corpus.triples([turn.text for turn in turns if turn.role == "self"]) for fact in found]
    return [turn.role == "self" and bool(persona_utterances([turn.text], facts)) for turn in turns]


def leave_out(dialogue: Dialogue, seed: int) -> Dialogue:
    """The dialogue without a random utterance of the person, who keeps at least one."""
    own = [i for i, turn in enumerate(dialogue.turns) if turn.role == "self"]
    rng = np.random.default_rng(seed_of(RowOptions(seed=seed), dialogue.person_id, dialogue.dialogue_id, "left out"))
    lost = rng.choice(own) if len(own) > 1 else None
    return replace(dialogue, turns=tuple(turn for i, turn in enumerate(dialogue.turns) if i != lost))


def rows(corpus: Corpus, options: RowOptions) -> list[list[dict[str, Any]]]:
    """Of each person, as the builder makes them, which has no `none`."""
    return [list(generate_rows("msl", person, corpus, options, Counter())) for person in corpus.persons]


def gain_of(corpus: Corpus, options: RowOptions, settings: Settings, model: Any, tokenizer: Any) -> dict[str, float]:
    nll = {}
    for name in ("own", "other"):
        made = rows(corpus, replace(options, conditioning=CONDITIONINGS[name]))
        some = [row for of_person in made for row in of_person[: settings.dialogues_per_person]]
        fitted = fit_rows(Dataset.from_list(some), tokenizer, settings.max_prompt_tokens)
        nll[name] = nll_by_person(model, tokenizer, fitted, f"{options.extractor}, {name}")
    return {who: nll["other"][who] - own for who, own in nll["own"].items()}


def agreement(pairs: Iterable[tuple[NDArray, ...]]) -> float:
    return float(np.mean([adjusted_rand_score(*pair) for pair in pairs]))


def over_people(values: dict[str, float]) -> str:
    return str(mean_over_people(values)) if values else ""


def table(settings: Settings) -> Iterator[str]:
    """Its lines; the last cells of each compare with the first extractor."""
    sessions = DataArguments(settings.dataset_name, settings.data_dir).load("sessions", settings.split)
    persons, encoder = group_by_person(map(dialogue_of, sessions)), SentenceEncoder(settings.encoder)
    model = load_model(settings.adapter) if settings.adapter else None
    first = None
    yield f"| {' | '.join(COLUMNS)} |\n{'|---' * len(COLUMNS)}|"
    for name in settings.extractors:
        options = RowOptions(targets="all", reply="all", encoder=settings.encoder, extractor=name)
        corpus = (Unmarked if name == "none" else Corpus)(persons, encoder, name)
        corpus.extract_ahead(extractor_texts(persons, "msl"))
        labels = clusterings(corpus, options, settings.seeds)
        encoder.encode_ahead(encoder_texts(persons, corpus, "msl", options))
        shown = [set(row["reference_ids"]) for own in rows(corpus, options) for row in own]
        gain = gain_of(corpus, options, settings, *model) if model else {}
        first = first or (labels, shown, gain)
        dialogues = [dialogue for own in corpus.usable.values() for dialogue in own]
        marked = sum(sum(marks(one.turns, corpus)) for one in dialogues)
        counts = len(corpus.usable), len(dialogues), f"{marked / sum(len(one.texts('self')) for one in dialogues):.1%}"
        stable = {who: agreement(combinations(own, 2)) for who, (own, _) in labels.items()}
        without = {who: agreement((own[0], view) for view in less) for who, (own, less) in labels.items()}
        alike = {who: agreement(zip(own, first[0][who][0], strict=True)) for who, (own, _) in labels.items()}
        other = np.mean([now != then for now, then in zip(shown, first[1], strict=True)])
        more = {who: value - first[2][who] for who, value in gain.items()}
        cells = [name, *counts, *map(over_people, (stable, without, gain, alike)), f"{other:.1%}", over_people(more)]
        yield f"| {' | '.join(map(str, cells))} |"


if __name__ == "__main__":
    given = TrlParser(Settings).parse_args_and_config()[0]
    for line in table(replace(given, **QUICK) if given.quick else given):
        print(line, flush=True)
