"""The people whom a person is told from: four at random, then the most alike, with as much to show."""

import json
import random
from collections import defaultdict

import pytest

from idl_hf.rows.generate import RowBuilder
from idl_hf.rows.negatives import sample_people
from idl_hf.rows.options import RowOptions
from idl_hf.rows.people import People
from idl_hf.rows.strangers import AT_RANDOM, MOST_ALIKE, nearest_people, strangers_of
from idl_hf.schema import Dialogue, Person, Turn


@pytest.fixture(scope="module")
def persons():
    return sample_people()


@pytest.fixture(scope="module")
def people(persons, encoder):
    return People(persons, encoder)


def rows(persons, encoder, some=None, **options):
    asked = RowOptions(encoder="offline", targets="all", conditioning="strangers", **options)
    builder = RowBuilder("msl", People(persons, encoder), asked)
    return [row for person in some or persons[:2] for row in builder.rows(person)]


def copy_of(person, name, dialogues):
    return Person(name, tuple(Dialogue(name, f"{name}-{i}", d.turns) for i, d in enumerate(dialogues)))


def test_those_who_talk_most_alike_stand_last_and_others_are_drawn(persons, encoder):
    ruth, target = persons[0], persons[0].dialogues[0]
    said = [tuple(Turn(turn.role, f"{turn.text} really") for turn in d.turns) for d in ruth.dialogues]
    twins = [Person(f"twin{n}", tuple(Dialogue(f"twin{n}", f"{n}-{i}", turns) for i, turns in enumerate(said)))
             for n in range(20)]  # fmt: skip
    everyone = [*persons, *twins]
    chosen = strangers_of(ruth, target, 3, People(everyone, encoder), 0)
    names = [person.person_id for person in chosen]
    assert len(set(names)) == AT_RANDOM + MOST_ALIKE == 7
    assert ruth.person_id not in names
    assert all(name.startswith("twin") for name in names[AT_RANDOM:])
    drawn = {
        person.person_id
        for seed in range(30)
        for person in strangers_of(ruth, target, 3, People(everyone, encoder), seed)[:AT_RANDOM]
    }
    assert len(drawn) > 15


def test_the_cosine_of_what_people_say_ranks_them(persons, people):
    ruth, *others = persons
    ranked = nearest_people(ruth, others, len(others), people)
    own = people.mean_vector(ruth)
    cosines = [float(own @ people.mean_vector(other)) for other in ranked]
    assert cosines == sorted(cosines, reverse=True)
    assert own @ own == pytest.approx(1)


def test_each_target_has_a_row_for_each_stranger_with_as_many_references(persons, encoder):
    made = rows(persons, encoder)
    own = RowBuilder("msl", People(persons, encoder), RowOptions(encoder="offline", targets="all"))
    shows = {row["dialogue_id"]: len(row["reference_ids"]) for one in persons[:2] for row in own.rows(one)}
    owners = {d.dialogue_id: person.person_id for person in persons for d in person.dialogues}
    given = defaultdict(list)
    for row in made:
        (name,) = {owners[reference] for reference in row["reference_ids"]}
        given[row["person_id"], row["dialogue_id"]].append((name, len(row["reference_ids"])))
    assert len(given) == sum(len(person.dialogues) for person in persons[:2])
    for (person_id, dialogue_id), shown in given.items():
        names, counts = zip(*shown, strict=True)
        assert len(set(names)) == len(names) == min(7, len(persons) - 1)
        assert person_id not in names
        assert set(counts) == {shows[dialogue_id]}


def test_the_replies_and_their_context_are_those_of_the_own_rows(persons, encoder):
    own = RowBuilder("msl", People(persons, encoder), RowOptions(encoder="offline", targets="all"))
    expected = {row["dialogue_id"]: (row["prompt"][-1], row["completion"]) for row in own.rows(persons[0])}
    for row in rows(persons, encoder, persons[:1]):
        assert (row["prompt"][-1], row["completion"]) == expected[row["dialogue_id"]]


def test_nothing_that_is_predicted_steers_whose_or_which_dialogues_are_shown(persons, encoder):
    ruth = persons[0]
    first = ruth.dialogues[0]
    end = first.replies()[0][0]
    turned = tuple(Turn(turn.role, f"i sail to mars {turn.text[::-1]}") for turn in first.turns[end:])
    changed = Person("ruth", (Dialogue("ruth", first.dialogue_id, (*first.turns[:end], *turned)), *ruth.dialogues[1:]))
    crowd = [copy_of(one, f"{one.person_id}-{n}", one.dialogues[n:]) for one in persons[1:] for n in range(3)]
    prompts = [
        [row["prompt"] for row in rows([who, *crowd], encoder, [who], reply="all")
         if row["dialogue_id"] == first.dialogue_id]
        for who in (ruth, changed)
    ]  # fmt: skip
    assert len(prompts[0]) == AT_RANDOM + MOST_ALIKE
    assert prompts[0] == prompts[1]


def test_people_with_too_few_dialogues_stand_in_only_where_there_are_too_few_others(persons, encoder):
    ruth = persons[0]
    brief = [copy_of(persons[1], f"brief{n}", persons[1].dialogues[n : n + 1]) for n in range(3)]
    able = [copy_of(persons[2], f"able{n}", [*persons[2].dialogues[n:], *persons[2].dialogues[:n]]) for n in range(7)]
    chosen = strangers_of(ruth, ruth.dialogues[0], 3, People([ruth, *brief, *able], encoder), 0)
    assert {person.person_id for person in chosen} == {f"able{n}" for n in range(7)}
    chosen = strangers_of(ruth, ruth.dialogues[0], 3, People([ruth, *brief, *able[:5]], encoder), 0)
    names = {person.person_id for person in chosen}
    assert {f"able{n}" for n in range(5)} < names
    assert len(names) == 7


def test_two_people_have_one_stranger_each(persons, encoder):
    made = rows(persons[:2], encoder)
    assert len(made) == sum(len(person.dialogues) for person in persons[:2])


def test_who_comes_in_changes_a_draw_only_where_it_is_theirs(persons, encoder):
    ruth, new = persons[0], copy_of(persons[1], "zed", persons[1].dialogues)
    before = [person.person_id for person in strangers_of(ruth, ruth.dialogues[0], 3, People(persons, encoder), 0)]
    everyone = random.Random(0).sample([*persons, new], len(persons) + 1)
    after = [person.person_id for person in strangers_of(ruth, ruth.dialogues[0], 3, People(everyone, encoder), 0)]
    if "zed" not in after[:AT_RANDOM]:
        assert after[:AT_RANDOM] == before[:AT_RANDOM]
    else:
        assert set(after[:AT_RANDOM]) - {"zed"} < set(before[:AT_RANDOM])


def test_rows_are_the_same_when_made_again(persons, encoder):
    assert json.dumps(rows(persons, encoder)) == json.dumps(rows(persons, encoder))
