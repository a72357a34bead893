"""Which references are chosen under each option, and that what was chosen once is not chosen again."""

from dataclasses import replace

import numpy as np
import pytest

from idl_hf.corpora import jsonl
from idl_hf.rows import references
from idl_hf.rows.options import RowOptions, preset_options
from idl_hf.rows.people import People, usable_dialogues
from idl_hf.rows.references import Choice, Representation, choose, choose_once, is_chosen
from idl_hf.schema import Dialogue, Person, Turn, group_by_person


@pytest.fixture(scope="module")
def persons(sample_data) -> list[Person]:
    return group_by_person(jsonl.read_dialogues(sample_data / "train.jsonl"))


@pytest.fixture(scope="module")
def ruth(persons) -> Person:
    return persons[0]


@pytest.fixture
def people(ruth, encoder, tmp_path, monkeypatch) -> People:
    """Return Ruth alone, with a new cache of choices."""
    monkeypatch.setattr(references, "cache_folder", lambda: tmp_path)
    return People([ruth], encoder)


@pytest.fixture
def chosen_anew(monkeypatch) -> list[str]:
    """Return whose references were not in the cache, up to now."""
    whose: list[str] = []
    choose = references.choose

    def watched(dialogues, *rest):
        whose.append(dialogues[0].person_id)
        return choose(dialogues, *rest)

    monkeypatch.setattr(references, "choose", watched)
    return whose


def chosen(person: Person, people: People, **options) -> list[Choice]:
    settings = RowOptions(encoder="offline", **options)
    settings.check("msl")
    return choose_once(usable_dialogues(person), people, settings.for_config("msl"))


def with_turn(person: Person, said: str) -> Person:
    """Return the person with the last turn of the first dialogue changed."""
    first, *rest = person.dialogues
    return replace(person, dialogues=(replace(first, turns=(*first.turns[:-1], Turn("self", said))), *rest))


# Chosen once


def test_what_was_chosen_is_read_back_without_a_vector(ruth, people, chosen_anew, monkeypatch):
    first = chosen(ruth, people)
    monkeypatch.setattr(people, "vectors", None)
    monkeypatch.setattr(people, "load_vectors", None)
    assert chosen(ruth, people) == first
    assert chosen_anew == ["ruth"]


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
def test_another_option_that_matters_chooses_anew(ruth, people, chosen_anew, options):
    chosen(ruth, people)
    chosen(ruth, people, **options)
    assert chosen_anew == ["ruth", "ruth"]


@pytest.mark.parametrize(
    "options", [{"rejected": "first"}, {"criterion_type": "inversion"}, {"conditioning": "profile"}], ids=repr
)
def test_options_of_the_replies_choose_nothing_anew(ruth, people, chosen_anew, options):
    chosen(ruth, people)
    chosen(ruth, people, **options)
    assert chosen_anew == ["ruth"]


def test_a_changed_dialogue_chooses_anew_for_its_person_alone(persons, people, chosen_anew):
    for person in persons:
        chosen(person, people)
    assert chosen_anew == [person.person_id for person in persons]
    for person in [with_turn(persons[0], "i have taken up the banjo ."), *persons[1:]]:
        chosen(person, people)
    assert chosen_anew[len(persons) :] == ["ruth"]


def test_another_version_of_the_code_chooses_anew(ruth, people, monkeypatch):
    chosen(ruth, people)
    options = RowOptions(encoder="offline").for_config("msl")
    assert is_chosen(usable_dialogues(ruth), people, options)
    monkeypatch.setattr(references, "code_identity", lambda module, *libraries: f"{module} after an edit")
    assert not is_chosen(usable_dialogues(ruth), people, options)


# What is chosen


def test_choosing_needs_dialogues_and_vectors_alone():
    topics = ["goats", "boats"] * 3
    dialogues = [
        Dialogue("kai", f"kai-{i}", (Turn("partner", "hi"), Turn("self", f"i love {topic}")))
        for i, topic in enumerate(topics)
    ]
    represented = [Representation(topic, topic) for topic in topics]

    def axis(texts):
        return np.eye(2)[[int("goats" in text) for text in texts]]

    options = RowOptions(clusters=2, targets="all").for_config("msl")
    choices = list(choose(dialogues, represented, axis, options))
    assert [choice.target for choice in choices] == list(range(6))
    for choice in choices:
        assert sorted(choice.references) == [i for i in range(choice.target % 2, 6, 2) if i != choice.target]


def test_out_of_cluster_references_lie_in_other_clusters(ruth, people, monkeypatch):
    labels = [0, 0, 0, 1, 1]
    monkeypatch.setattr(references, "_clusters", lambda vectors, *_: np.array(labels[: len(vectors)]))
    inside = chosen(ruth, people, targets="all")
    outside = chosen(ruth, people, targets="all", conditioning="out_of_cluster")
    assert [choice.cluster for choice in inside] == [choice.cluster for choice in outside]
    for own, other in zip(inside, outside, strict=True):
        assert not set(own.references) & set(other.references)
        assert own.target not in other.references
        assert other.references


def test_where_the_person_opens_references_are_those_nearest_to_the_middle_of_the_others(people, encoder):
    facts = ["i keep goats", "i sail boats", "i fix cars", "i bake bread", "i keep hens", "i row boats"]
    opened = [
        Dialogue("bo", str(i), (Turn("self", fact), Turn("partner", "do you ?"), Turn("self", f"yes , {fact}")))
        for i, fact in enumerate(facts)
    ]
    bo = Person("bo", tuple(opened))
    settings = RowOptions(encoder="offline", targets="all", references=2, clusters=1, reply="all", order="input")
    found = choose_once(opened, People([bo], encoder), settings.for_config("msl"))
    whole = people.vectors([references.represent(dialogue, people, settings).whole for dialogue in opened])
    for choice in found:
        others = [i for i in range(len(opened)) if i != choice.target]
        apart = {i: np.linalg.norm(whole[i] - whole[others].mean(axis=0)) for i in others}
        assert choice.references == tuple(sorted(sorted(others, key=apart.get)[:2]))
        past = Person("bo", tuple(opened[i] for i in others))  # as a stranger's are, and those of a chat
        shown = references.choose_for_context(past, (), people, settings.for_config("msl"))
        assert [dialogue.dialogue_id for dialogue in shown] == [str(i) for i in choice.references]


def test_dialogues_that_the_person_opens_are_targets_like_others(ruth, encoder):
    """They have no words before the reply to be clustered by; as one cluster they would give one row."""
    opened = [
        replace(dialogue, turns=dialogue.turns[next(i for i, t in enumerate(dialogue.turns) if t.role == "self") :])
        for dialogue in usable_dialogues(ruth)
    ]
    settings = RowOptions(encoder="offline", min_dialogues_to_cluster=2).for_config("dpoc")
    found = choose_once(opened, People([Person("ruth", tuple(opened))], encoder), settings)
    assert len(found) == min(3, len(opened) // 2) > 1


def test_there_are_no_other_clusters_than_one():
    with pytest.raises(ValueError, match="clusters=1 has none"):
        RowOptions(encoder="offline", conditioning="out_of_cluster", clusters=1).check("msl")


def test_without_dpi_references_stand_in_input_order_and_are_the_same(ruth, people):
    for own, plain in zip(
        chosen(ruth, people, targets="all"), chosen(ruth, people, targets="all", dpi=False), strict=True
    ):
        assert list(plain.references) == sorted(own.references)
    assert chosen(ruth, people, dpi=False) == chosen(ruth, people, order="input")


def test_random_conditioning_ignores_clusters_and_order(ruth, people):
    runs = {
        tuple(chosen(ruth, people, conditioning="random", references=3, seed=seed)[0].references) for seed in range(6)
    }
    assert len(runs) > 3
    assert any(list(run) != sorted(run) for run in runs)


def test_no_reference_may_be_asked_for(ruth, people):
    assert {choice.references for choice in chosen(ruth, people, references=0)} == {()}


def test_all_references_of_the_cluster_on_demand(ruth, people):
    few = chosen(ruth, people, clusters=1, references=2, dpi=False, targets="all")
    every = chosen(ruth, people, clusters=1, references="all", dpi=False, targets="all")
    assert {len(choice.references) for choice in few} == {2}
    assert {len(choice.references) for choice in every} == {len(ruth.dialogues) - 1}


def test_the_last_dialogue_of_each_cluster_as_target(ruth, people, monkeypatch):
    labels = [0, 1, 0, 1, 0, 0]
    monkeypatch.setattr(references, "_clusters", lambda vectors, *_: np.array(labels[: len(vectors)]))
    assert [choice.target for choice in chosen(ruth, people, targets="last")] == [3, 5]


def test_a_person_with_few_dialogues_has_one_cluster(ruth, people):
    assert {choice.cluster for choice in chosen(ruth, people, targets="all", min_dialogues_to_cluster=9)} == {0}


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


@pytest.mark.parametrize(
    "poison",
    ["[[0, [0, 1], 0]]", "[[0, [1, 1], 0]]", "[[0, [99], 0]]", "[[0, [-1], 0]]", "[[0, [true], 0]]", "[[0, 1, 0]]",
     "[[0, [1]]]", "{}x", "null", "[" * 9999, '[["0", [1], 0]]', "[[0, [1], null]]"],
)  # fmt: skip
def test_a_dialogue_never_refers_to_itself_or_to_none_whatever_the_cache_holds(poison, ruth, people, caplog):
    first = chosen(ruth, people)
    settings = RowOptions(encoder="offline").for_config("msl")
    key = references._key(usable_dialogues(ruth), people, settings)
    references.Cache(references._cache(0).path).path.unlink()
    references.Cache(references._cache(0).path).write({key: poison.encode()})
    assert not is_chosen(usable_dialogues(ruth), people, settings)
    assert "choices.sqlite" in caplog.text
    assert chosen(ruth, people) == first
