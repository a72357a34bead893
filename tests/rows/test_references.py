"""Which references are chosen under each option, and that what was chosen once is not chosen again."""

from collections import Counter
from dataclasses import replace

import pytest

from idl_hf.corpora import jsonl
from idl_hf.rows import references
from idl_hf.rows.options import RowOptions, preset_options
from idl_hf.rows.people import Corpus, usable_dialogues
from idl_hf.rows.references import choose, is_chosen
from idl_hf.schema import Person, Turn, group_by_person


@pytest.fixture(scope="module")
def ruth(sample_data) -> Person:
    return group_by_person(jsonl.read_dialogues(sample_data / "train.jsonl"))[0]


@pytest.fixture
def corpus(ruth, encoder, tmp_path):
    """With a cache of choices of its own."""
    made = Corpus([ruth], encoder)
    made.choices.path = tmp_path / "choices.sqlite"
    return made


def chosen(person: Person, corpus: Corpus, reply: str = "last", **options):
    settings = RowOptions(encoder="offline", **options)
    settings.check("msl")
    return choose(person, usable_dialogues(person, Counter()), reply, corpus, settings)


def with_turn(person: Person, said: str) -> Person:
    """The last turn of the first dialogue changed."""
    first, *rest = person.dialogues
    return replace(person, dialogues=(replace(first, turns=(*first.turns[:-1], Turn("self", said))), *rest))


# Chosen once


def test_what_was_chosen_is_read_back_without_a_vector(ruth, corpus, monkeypatch):
    first = chosen(ruth, corpus)
    monkeypatch.setattr(corpus, "vectors", None)
    monkeypatch.setattr(corpus, "load_vectors", None)
    assert chosen(ruth, corpus) == first
    assert corpus.chosen_anew == 1


@pytest.mark.parametrize(
    "options",
    [
        {"seed": 1},
        {"clusters": 2},
        {"references": 2},
        {"scale": 1.0},
        {"order": "target_last"},
        {"targets": "all"},
        {"spi": False},
        {"dpi": False},
        {"conditioning": "random"},
        {"min_dialogues_to_cluster": 9},
        {"reply": "all"},
    ],
    ids=repr,
)
def test_another_option_that_matters_chooses_anew(ruth, corpus, options):
    chosen(ruth, corpus)
    chosen(ruth, corpus, **options)
    assert corpus.chosen_anew == 2


@pytest.mark.parametrize(
    "options", [{"rejected": "first"}, {"criterion_type": "inversion"}, {"conditioning": "profile"}], ids=repr
)
def test_options_of_the_replies_choose_nothing_anew(ruth, corpus, options):
    chosen(ruth, corpus)
    chosen(ruth, corpus, **options)
    assert corpus.chosen_anew == 1


def test_a_changed_dialogue_chooses_anew_for_its_person_alone(sample_data, encoder, tmp_path):
    people = group_by_person(jsonl.read_dialogues(sample_data / "train.jsonl"))
    corpus = Corpus(people, encoder)
    corpus.choices.path = tmp_path / "choices.sqlite"
    for person in people:
        chosen(person, corpus)
    before = corpus.chosen_anew
    for person in [with_turn(people[0], "i have taken up the banjo ."), *people[1:]]:
        chosen(person, corpus)
    assert (before, corpus.chosen_anew) == (len(people), len(people) + 1)


def test_another_version_of_the_code_chooses_anew(ruth, corpus, monkeypatch):
    chosen(ruth, corpus)
    monkeypatch.setattr(references, "_code", lambda: "another")
    assert not is_chosen(ruth, "last", corpus, RowOptions(encoder="offline"))


# What is chosen


def test_out_of_cluster_references_lie_in_other_clusters(ruth, corpus, monkeypatch):
    labels = [0, 0, 0, 1, 1]
    monkeypatch.setattr(references, "_clusters", lambda vectors, *_: references.np.array(labels[: len(vectors)]))
    inside = chosen(ruth, corpus, targets="all")
    outside = chosen(ruth, corpus, targets="all", conditioning="out_of_cluster")
    assert [choice.cluster for choice in inside] == [choice.cluster for choice in outside]
    for own, other in zip(inside, outside, strict=True):
        assert not set(own.references) & set(other.references)
        assert own.target not in other.references
        assert other.references


def test_without_dpi_references_stand_in_input_order_and_are_the_same(ruth, corpus):
    for own, plain in zip(
        chosen(ruth, corpus, targets="all"), chosen(ruth, corpus, targets="all", dpi=False), strict=True
    ):
        assert list(plain.references) == sorted(own.references)
    assert chosen(ruth, corpus, dpi=False) == chosen(ruth, corpus, order="input")


def test_random_conditioning_ignores_clusters_and_order(ruth, corpus):
    runs = {
        tuple(chosen(ruth, corpus, conditioning="random", references=3, seed=seed)[0].references) for seed in range(6)
    }
    assert len(runs) > 3
    assert any(list(run) != sorted(run) for run in runs)


def test_no_reference_may_be_asked_for(ruth, corpus):
    assert {choice.references for choice in chosen(ruth, corpus, references=0)} == {()}


def test_all_references_of_the_cluster_on_demand(ruth, corpus):
    few = chosen(ruth, corpus, clusters=1, references=2, dpi=False, targets="all")
    every = chosen(ruth, corpus, clusters=1, references="all", dpi=False, targets="all")
    assert {len(choice.references) for choice in few} == {2}
    assert {len(choice.references) for choice in every} == {len(ruth.dialogues) - 1}


def test_the_last_dialogue_of_each_cluster_as_target(ruth, corpus, monkeypatch):
    labels = [0, 1, 0, 1, 0, 0]
    monkeypatch.setattr(references, "_clusters", lambda vectors, *_: references.np.array(labels[: len(vectors)]))
    assert [choice.target for choice in chosen(ruth, corpus, targets="last")] == [3, 5]


def test_a_person_with_few_dialogues_has_one_cluster(ruth, corpus):
    assert {choice.cluster for choice in chosen(ruth, corpus, targets="all", min_dialogues_to_cluster=9)} == {0}


# Presets


def test_the_release_preset_is_what_the_released_code_does():
    names = {"min_dialogues_to_cluster", "targets", "references", "order", "rejected"}
    settings = preset_options("release", names)
    options = RowOptions(**settings)
    options.check("msl")
    assert (options.min_dialogues_to_cluster, options.references, options.input_order) == (6, "all", True)
    assert (options.targets, options.rejected) == ("last", "first")
    assert preset_options("paper", names) == {}


def test_an_unknown_preset_lists_the_valid_ones():
    with pytest.raises(ValueError, match=r"preset='released' is unknown\. The valid values are: 'paper', 'release'"):
        preset_options("released", [])
