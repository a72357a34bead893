"""Win rates and kappa of a human evaluation, against a hand computation and scikit-learn, and their report."""

import json
import math
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from sklearn.metrics import cohen_kappa_score

from idl_hf.cli import main
from idl_hf.evaluation.human import agreements, counted, exported, human_report, shares, votes
from idl_hf.evaluation.ratings import ALL, CRITERIA, OUTCOMES, SKIPPED, Rating, Ratings
from idl_hf.evaluation.ratings_file import RatingsFile, create
from idl_hf.report.html import render
from idl_hf.report.layout import measure
from idl_hf.report.statistics import mean_over_people
from tests.evaluation.studies import SYSTEMS, study

# Of four people two pairs each, 0 and 4 of the first, ...; 6 is identical. Rows: pair, what ann, bo and cy say
SAID = {
    0: ("win", "win", "tie"),
    1: ("lose", "win", None),
    2: ("tie", "tie", "tie"),
    3: ("win", None, None),
    4: ("lose", "lose", "lose"),
    5: ("win", "tie", "win"),
    7: ("win", "win", None),
}
RATERS = ("ann", "bo", "cy")


def rated(said=SAID, criterion="persona", **about) -> Ratings:
    ratings = [
        Rating(rater, number, criterion, outcome, left=number % 2)
        for number, row in said.items()
        for rater, outcome in zip(RATERS, row, strict=True)
        if outcome
    ]
    return Ratings(study(8, 4, **{"identical": (6,), **about}), ratings)


def test_shares_are_those_of_a_hand_computation():
    ratings = rated()
    found = shares(ratings.study, votes(ratings, "persona"))
    third, half = 1 / 3, 1 / 2
    # by person the mean of two pairs; of p2 the second is identical, a tie
    assert found["win"] == pytest.approx(
        {"p0": (2 * third + 0) / 2, "p1": (half + 2 * third) / 2, "p2": 0, "p3": (1 + 1) / 2}
    )
    assert found["tie"] == pytest.approx({"p0": third / 2, "p1": third / 2, "p2": 1, "p3": 0})
    assert found["lose"] == pytest.approx({"p0": half, "p1": half / 2, "p2": 0, "p3": 0})
    assert found["net"] == pytest.approx({"p0": -third / 2, "p1": third, "p2": 0, "p3": 1})
    for person in found["win"]:
        assert sum(found[outcome][person] for outcome in OUTCOMES) == pytest.approx(1)


def test_where_everyone_rates_all_the_shares_are_those_of_all_ratings_together():
    rng = np.random.default_rng(0)
    said = {i: tuple(rng.choice(OUTCOMES, 3)) for i in range(8)}
    ratings = rated(said, identical=())
    found = shares(ratings.study, votes(ratings, "persona"))
    counts = Counter(outcome for row in said.values() for outcome in row)
    for outcome in OUTCOMES:
        assert np.mean(list(found[outcome].values())) == pytest.approx(counts[outcome] / 24)


def test_kappa_is_that_of_scikit_learn_and_of_a_hand_computation():
    pairs = {agreement.raters: agreement for agreement in agreements(votes(rated(), "persona"))}
    ann_bo = pairs["ann", "bo"]
    # pairs 0 1 2 4 5 7: ann win lose tie lose win win, bo win win tie lose tie win: 4 of 6 alike
    assert (ann_bo.common, ann_bo.share) == (6, pytest.approx(4 / 6))
    by_chance = (3 * 3 + 1 * 2 + 2 * 1) / 36  # wins, ties, losses of both
    assert ann_bo.kappa == pytest.approx((4 / 6 - by_chance) / (1 - by_chance))
    for first, second in (("ann", "bo"), ("ann", "cy"), ("bo", "cy")):
        i, j = RATERS.index(first), RATERS.index(second)
        both = [(row[i], row[j]) for row in SAID.values() if row[i] and row[j]]
        expected = cohen_kappa_score(*zip(*both, strict=True))
        assert pairs[first, second].kappa == pytest.approx(expected)
        assert pairs[first, second].common == len(both)


def test_kappa_of_raters_who_always_say_the_same_one_thing_is_not_defined_and_told():
    ratings = rated({0: ("win", "win", None), 1: ("win", "win", "tie")})
    alike = next(pair for pair in agreements(votes(ratings, "persona")) if pair.raters == ("ann", "bo"))
    assert math.isnan(alike.kappa)
    assert alike.share == 1
    report = human_report(ratings)
    assert any("Kappa is not defined for 1 of the comparisons" in note for note in report.notes)
    values = {line.name: line.whole for line in report.tables[1].lines}
    assert values["persona, ann and bo"] == {"agreement": 1}
    assert values["persona, mean of 3"]["kappa"] == 0  # of the other two


def test_identical_replies_count_as_ties_once_raters_have_come_past_them_and_never_in_the_agreement():
    said = {0: ("win", "win", None), 1: ("lose", "win", None)}
    ratings = rated(said, identical=(2, 6))
    assert counted(ratings.study, votes(ratings, "persona")) == [0, 1]
    ratings = rated({**said, 3: ("tie", None, None)}, identical=(2, 6))
    assert counted(ratings.study, votes(ratings, "persona")) == [0, 1, 2, 3]
    every = rated(dict.fromkeys((0, 1, 2, 3, 4, 5, 6), ("win", None, None)), identical=(7,))
    assert counted(every.study, votes(every, "persona")) == list(range(8))
    assert shares(every.study, votes(every, "persona"))["tie"]["p3"] == 0.5
    assert agreements(votes(every, "persona")) == []


def test_what_was_skipped_or_changed_counts_as_it_stands_at_the_end():
    ratings = rated()
    changed = [
        Rating("ann", 0, "persona", "lose", 0), Rating("bo", 0, ALL, SKIPPED, 0), Rating("bo", 3, "style", "win", 1),
    ]  # fmt: skip
    ratings = Ratings(ratings.study, [*ratings.ratings, *changed])
    assert votes(ratings, "persona")[0] == {"ann": "lose", "cy": "tie"}
    assert votes(ratings, "style") == {3: {"bo": "win"}}
    report = human_report(ratings)
    persona, style = measure(report.tables[0]), report.tables[0].lines[1].values["win"]
    assert persona[1, "win"].estimate.people == len(style) == 1  # criteria may be of different people
    notes = " ".join(report.notes)
    assert "ann (0 of 7, 7 in part), bo (0 of 7, 1 skipped, 6 in part), cy (0 of 7, 4 in part)" in notes


def test_the_report_has_intervals_over_people_and_what_was_counted():
    ratings = rated()
    report = human_report(ratings)
    table = report.tables[0]
    (line,) = table.lines
    cells = {place.column: cell for place, cell in measure(table).items()}
    expected = mean_over_people(shares(ratings.study, votes(ratings, "persona"))["win"])
    assert (line.name, cells["win"].estimate, cells["win"].rows) == ("persona", expected, 8)
    assert all(cell.rank is None for cell in cells.values())
    notes = "\n".join(report.notes)
    assert "1 of the 8 pairs are identical replies" in notes
    assert "Nothing was rated by: style, fluency." in notes
    assert "A note." in notes
    # of 0 (left: first), 1 (left: second), 3, 4, 5, 7: wins of the first on the left, losses of it on the right
    decided = [(number, said) for number, row in SAID.items() for said in row if said in ("win", "lose")]
    left = sum((said == "win") == (number % 2 == 0) for number, said in decided)
    assert f"Of {len(decided)} ratings that prefer one reply, {left} prefer the one on the left" in notes
    assert report.settings["seed"] == 5
    example = report.examples[0]
    assert example["partner"] == "question 0 ?"
    assert example[SYSTEMS[0]] == "first says 0"
    assert example["ratings"] == "persona: 2 win, 1 tie"


def test_one_rater_alone_has_a_report_without_agreement():
    ratings = rated({0: ("win", None, None)})
    report = human_report(ratings)
    assert len(report.tables) == 1
    assert any("No two raters rated the same pair" in note for note in report.notes)
    assert any(note.endswith("One rater: ann (0 of 7, 1 in part).") for note in report.notes)


def test_a_study_without_ratings_is_a_sentence():
    with pytest.raises(ValueError, match="holds no rating yet"):
        human_report(Ratings(study(), []))


def test_the_export_has_every_pair_with_what_holds_of_it():
    found = json.loads(json.dumps(exported(rated())))
    assert found["systems"] == list(SYSTEMS)
    assert [pair["identical"] for pair in found["pairs"]] == [i == 6 for i in range(8)]
    assert found["pairs"][1]["ratings"] == {"ann": {"persona": "lose"}, "bo": {"persona": "win"}}
    assert found["pairs"][1]["person_id"] == "p1"
    assert found["pairs"][1]["context"][0]["text"] == "question 1 ?"


def test_the_page_draws_the_shares_of_each_criterion_as_one_bar():
    ratings = [rating for criterion in CRITERIA for rating in rated(criterion=criterion).ratings]
    page = render(human_report(Ratings(rated().study, ratings)))["report.html"]
    assert "Plot of win / tie / lose of the table" in page
    assert page.count("<figure>") == 1 + 1 + 2  # the shares, win - lose, and both columns of the agreement
    assert "win ↑" not in page
    for word in ("win", "tie", "lose"):
        assert f"</span> {word}</li>" in page


def test_no_folder_of_the_machine_is_named():
    """Of two systems whose last parts are alike either is told from the other."""
    ratings = rated()
    systems = ("/home/me/runs/a/final", "/home/me/runs/b/final")
    notes = ("replies in '/home/me/their.jsonl'",)
    made_from = {"data_dir": "/home/me/logs"}
    named = Ratings(replace(ratings.study, systems=systems, made_from=made_from, notes=notes), ratings.ratings)
    report = human_report(named)
    for text in (*render(report).values(), json.dumps(exported(named))):
        assert "/home/me" not in text
    assert "final (first) against final (second)" in report.title


def test_evaluate_human_writes_the_report_and_the_export(tmp_path, capsys):
    create(tmp_path / "ratings.jsonl", study(8, 4, identical=(6,)))
    file = RatingsFile(tmp_path / "ratings.jsonl")
    for rating in rated().ratings:
        file.add(rating)
    file.close()
    words = ["evaluate", "--human", str(tmp_path / "ratings.jsonl"), "--output_dir", str(tmp_path / "out")]
    assert main(words) == 0
    assert "Cohen's kappa" in capsys.readouterr().out
    names = {"report.html", "report.md", "report.json", "ratings.json"}
    assert {file.name for file in (tmp_path / "out").iterdir()} == names
    table = json.loads((tmp_path / "out" / "report.json").read_text())["tables"][0]
    means = {result["column"]: result["mean"] for result in table["results"]}
    assert means["win"] == pytest.approx(np.mean([1 / 3, 7 / 12, 0, 1]))
    assert json.loads((tmp_path / "out" / "ratings.json").read_text())["seed"] == 5


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (["--human", "none.jsonl"], "There is no file of ratings 'none.jsonl'"),
        (["--human", "a", "--models", "b"], "found --models and --human"),
        (["--human", "a", "--split", "test"], "--split cannot be combined with --human, only with --models"),
        (["--human", "a", "--encoder", "offline"], "--encoder cannot be combined with --human"),
        (["--human", "a", "--quick"], "--quick cannot be combined with --human, only with --experiment"),
    ],
)
def test_what_cannot_be_reported_is_a_sentence(words, problem, capsys):
    assert main(["evaluate", *words]) == 1
    assert problem in capsys.readouterr().err
