"""What the choice of persona extractor is worth for SPI: stable clusters, other references, more persona gain?

    python benchmarks/spi_extractors.py --data_dir <ConvAI2> --extractors patterns none <adapter> --adapter runs/msl
    python benchmarks/spi_extractors.py --quick       # the sample data, for the test suite

An extractor marks the utterances that stand for a dialogue; `none` marks nothing, so that all of a person's do.
Clusterings of people with enough dialogues for several clusters are compared by the adjusted Rand index (1: the same,
0: chance): of two k-means seeds; of the dialogues as they are and without a random utterance of the person in each,
the same for all extractors; of the extractor and the first one, seed by seed. References are those of every dialogue,
all replies of it to predict.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations
from typing import Any, NamedTuple

import numpy as np
from datasets import Dataset
from numpy.typing import NDArray
from sklearn.metrics import adjusted_rand_score
from trl import TrlParser

import idl_hf  # noqa: F401 (registers the datasets)
from common import head, row
from idl_hf.arguments import option
from idl_hf.demo import SAMPLE_DATA
from idl_hf.encoding import SentenceEncoder, default_encoder
from idl_hf.explore.dataset import dialogue_of
from idl_hf.models.likelihood import nll_by_person
from idl_hf.models.loading import load_model
from idl_hf.report.statistics import mean_over_people
from idl_hf.rows.generate import Row, RowBuilder
from idl_hf.rows.options import RowOptions
from idl_hf.rows.people import People
from idl_hf.rows.references import persona_text
from idl_hf.schema import Dialogue, Triple, group_by_person
from idl_hf.spi import cluster_dialogues
from idl_hf.training.data import DataArguments, fit_rows

COLUMNS = ("extractor", "people", "dialogues", "utterances marked", "ARI of seeds", "ARI without an utterance",
           "persona gain", "ARI with the first", "other references", "gain minus the first's")  # fmt: skip
QUICK: dict[str, Any] = {"dataset_name": "idl_hf/dialogues_idl", "data_dir": str(SAMPLE_DATA), "encoder": "offline",
                         "seeds": 3, "dialogues_per_person": 1, "max_prompt_tokens": 1024}  # fmt: skip


@dataclass
class Settings:
    """What is compared."""

    data_dir: str | None = option(None, "Folder with the raw files of the corpus.")
    dataset_name: str = option("idl_hf/convai2_idl", "Dataset of dialogues.")
    split: str = option("validation", "Split of people whom no model trained on.")
    extractors: list[str] = field(default_factory=lambda: ["patterns", "none"], metadata={"help": "Or adapters."})
    encoder: str = field(default_factory=default_encoder, metadata={"help": "Sentence encoder, or 'offline'."})
    seeds: int = option(10, "Of k-means, and of the utterances left out; at least 2.")
    adapter: str | None = option(None, "MSL adapter or model. None: no persona gain.")
    dialogues_per_person: int | None = option(None, "At most, for the gain; default all.")
    max_prompt_tokens: int = option(2048, "Longer prompts lose whole reference dialogues.")
    quick: bool = option(False, "The sample data and three seeds: seconds.")


class Unmarked(People):
    """People of whom no utterance states a fact."""

    extractor_identity = "none"

    def triples(self, texts: Sequence[str]) -> list[list[Triple]]:
        """Return no fact for each text."""
        return [[] for _ in texts]


class Clusterings(NamedTuple):
    """Labels of one person's dialogues."""

    seeds: list[NDArray[np.int64]]  # by k-means of each seed
    shortened: list[NDArray[np.int64]]  # by the first seed, without an utterance, another one each time


def clusterings(people: People, options: RowOptions, seeds: int) -> dict[str, Clusterings]:
    """Return the clusterings of each person who has enough dialogues for several clusters."""
    texts = {}
    for who, own in people.usable.items():
        if len(own) >= options.min_dialogues_to_cluster:
            views = [own, *([leave_out(dialogue, seed) for dialogue in own] for seed in range(seeds))]
            texts[who] = [[persona_text(dialogue.turns, people) for dialogue in view] for view in views]
    people.load_vectors(text for views in texts.values() for view in views for text in view)
    labels = {}
    for who, (whole, *shortened) in texts.items():
        of_seeds = [cluster_dialogues(people.vectors(whole), options.clusters, seed) for seed in range(seeds)]
        less = [cluster_dialogues(people.vectors(view), options.clusters) for view in shortened]
        labels[who] = Clusterings(of_seeds, less)
    return labels


def leave_out(dialogue: Dialogue, seed: int) -> Dialogue:
    """Return the dialogue without a random utterance of the person, who keeps at least one."""
    own = [i for i, turn in enumerate(dialogue.turns) if turn.role == "self"]
    rng = np.random.default_rng(RowOptions(seed=seed).seed_of(dialogue.person_id, dialogue.dialogue_id, "left out"))
    lost = rng.choice(own) if len(own) > 1 else None
    return replace(dialogue, turns=tuple(turn for i, turn in enumerate(dialogue.turns) if i != lost))


def rows(people: People, options: RowOptions) -> list[list[Row]]:
    """Return the msl rows of each person, made here because `load_dataset` knows no extractor `none`."""
    builder = RowBuilder("msl", people, options)
    return [list(builder.rows(person)) for person in people.persons]


def gain_of(people: People, options: RowOptions, settings: Settings, model: Any, tokenizer: Any) -> dict[str, float]:
    nll = {}
    for name, conditioning in (("own", "references"), ("other", "other_person")):
        by_person = rows(people, replace(options, conditioning=conditioning))
        some = [target for own in by_person for target in own[: settings.dialogues_per_person]]
        fitted = fit_rows(Dataset.from_list(some), tokenizer, settings.max_prompt_tokens)
        nll[name] = nll_by_person(model, tokenizer, fitted, f"{options.extractor}, {name}")
    return {who: nll["other"][who] - own for who, own in nll["own"].items()}


def agreement(pairs: Iterable[tuple[NDArray, ...]]) -> float:
    return float(np.mean([adjusted_rand_score(*pair) for pair in pairs]))


def over_people(values: Mapping[str, float]) -> str:
    """Return the mean over people with its interval as text, nothing of nobody."""
    return str(mean_over_people(values)) if values else ""


def table(settings: Settings) -> Iterator[str]:
    """Yield the lines of the table; the last cells of each compare with the first extractor."""
    sessions = DataArguments(settings.dataset_name, settings.data_dir).load("sessions", settings.split)
    persons, encoder = group_by_person(map(dialogue_of, sessions)), SentenceEncoder(settings.encoder)
    model = load_model(settings.adapter) if settings.adapter else None
    first = None
    yield head(*COLUMNS)
    for name in settings.extractors:
        options = RowOptions(targets="all", reply="all", encoder=settings.encoder, extractor=name)
        people = (Unmarked if name == "none" else People)(persons, encoder, name)
        RowBuilder("msl", people, options).encode_ahead(persons)
        labels = clusterings(people, options, settings.seeds)
        shown = [set(target["reference_ids"]) for own in rows(people, options) for target in own]
        gain = gain_of(people, options, settings, *model) if model else {}
        first = first or (labels, shown, gain)
        dialogues = [dialogue for own in people.usable.values() for dialogue in own]
        marked = sum(sum(people.shows_persona(dialogue.turns)) for dialogue in dialogues)
        utterances = sum(len(dialogue.texts("self")) for dialogue in dialogues)
        counts = name, len(people.usable), len(dialogues), f"{marked / utterances:.1%}"
        stable = {who: agreement(combinations(own.seeds, 2)) for who, own in labels.items()}
        without = {who: agreement((own.seeds[0], view) for view in own.shortened) for who, own in labels.items()}
        alike = {who: agreement(zip(own.seeds, first[0][who].seeds, strict=True)) for who, own in labels.items()}
        other = np.mean([now != then for now, then in zip(shown, first[1], strict=True)])
        more = {who: value - first[2][who] for who, value in gain.items()}
        measured = map(over_people, (stable, without, gain, alike))
        yield row(*counts, *measured, f"{other:.1%}", over_people(more))


if __name__ == "__main__":
    given = TrlParser(Settings).parse_args_and_config()[0]
    for line in table(replace(given, **QUICK) if given.quick else given):
        print(line, flush=True)
