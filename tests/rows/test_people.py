"""What rows of one person take from the others: statements by similarity."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from idl_hf.rows import people
from idl_hf.rows.people import People
from idl_hf.schema import Dialogue, Person, Turn


def persons(count: int) -> list[Person]:
    said = [f"i have a {animal} and {number} hens ." for number in range(count) for animal in ("dog", "cat", "goat")]
    return [Person(f"p{i}", (Dialogue(f"p{i}", "d", (Turn("self", text),)),)) for i, text in enumerate(said)]


@pytest.mark.parametrize("ranked", [5, 200])
def test_statements_come_the_most_similar_first_and_each_once(encoder, monkeypatch, ranked):
    monkeypatch.setattr(people, "_RANKED", ranked)
    everyone = People(persons(6), encoder)
    texts, vectors, _ = everyone.statements
    assert len(texts) == 18
    asked = ["i love my dog .", "my goat is ill ."]
    for text in asked:
        similarity = vectors @ encoder.encode([text])[0]
        near = [statement for statement, triples in everyone.statements_near(text, asked) if triples]
        assert sorted(near) == sorted(texts)
        assert np.all(np.diff(similarity[[texts.index(statement) for statement in near]]) <= 1e-6)


def test_where_nobody_states_anything_there_is_no_statement(encoder):
    silent = Person("p", (Dialogue("p", "d", (Turn("self", "hello ."),)),))
    assert list(People([silent], encoder).statements_near("hi", [])) == []


@given(st.lists(st.lists(st.integers(0, 4), min_size=7, max_size=7), min_size=1, max_size=4), st.integers(1, 9))
def test_the_largest_are_found_in_order(rows, count):
    values = np.array(rows, dtype=np.float32)
    found = np.take_along_axis(values, people._largest(values, count), axis=1)
    np.testing.assert_array_equal(found, -np.sort(-values, axis=1)[:, :count])
