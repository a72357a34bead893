"""Ratings on disk: what was confirmed is there after any kill, and a file that is malformed is told by its line."""

import json
import os
import random
import signal
import stat
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from idl_hf.evaluation.ratings import ALL, CRITERIA, OUTCOMES, SKIPPED, Rating, is_done, rater_name, standing
from idl_hf.evaluation.ratings_file import RatingsFile, create, read_ratings
from tests.evaluation.studies import study

ROOT = Path(__file__).parents[2]
# Adds ratings without end, and names each on its output once it is confirmed
CLICKS = """
import sys
from pathlib import Path
from idl_hf.evaluation.ratings import CRITERIA, OUTCOMES, Rating
from idl_hf.evaluation.ratings_file import RatingsFile
file, first = RatingsFile(Path(sys.argv[1])), int(sys.argv[2])
for n in range(first, 10**9):
    rating = Rating("ann" if n % 2 else "bo", n % 8, CRITERIA[n % 3], OUTCOMES[n // 3 % 3], n // 7 % 2)
    file.add(rating)
    print(n, flush=True)
"""


@pytest.fixture
def path(tmp_path) -> Path:
    create(tmp_path / "ratings.jsonl", study())
    return tmp_path / "ratings.jsonl"


def click(n: int) -> Rating:
    return Rating("ann" if n % 2 else "bo", n % 8, CRITERIA[n % 3], OUTCOMES[n // 3 % 3], n // 7 % 2)


def test_a_study_and_its_ratings_come_back_as_they_were_for_its_owner_alone(path):
    file = RatingsFile(path)
    given = [
        Rating("ann", 0, "persona", "win", 1),
        Rating("bo", 3, ALL, SKIPPED, 0),
        Rating("ann", 0, "style", "tie", 1),
    ]
    for rating in given:
        file.add(rating)
    file.close()
    assert read_ratings(path) == (study(), given)
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600


def test_no_confirmed_click_is_lost_when_the_process_is_killed_at_any_time(path):
    chance, kept = random.Random(0), 0
    for _ in range(5):
        process = subprocess.Popen(
            [sys.executable, "-c", CLICKS, str(path), str(kept)], stdout=subprocess.PIPE, text=True, cwd=ROOT
        )
        seen = [process.stdout.readline() for _ in range(chance.randrange(1, 60))]
        process.send_signal(signal.SIGKILL)
        seen += process.stdout.read().splitlines(keepends=True)  # confirmed before the kill came
        process.wait()
        confirmed = [int(line) for line in seen if line.endswith("\n")]
        assert confirmed == list(range(kept, kept + len(confirmed)))
        saved = read_ratings(path).ratings
        assert saved == [click(n) for n in range(len(saved))]
        # One may be on the disk that was not confirmed any more
        assert len(saved) - kept - len(confirmed) in (0, 1)
        kept = len(saved)
    assert kept > 50


def test_a_study_and_each_click_are_flushed_to_the_disk_before_they_are_confirmed(tmp_path, monkeypatch):
    path, flushed, flush = tmp_path / "ratings.jsonl", [], os.fsync
    monkeypatch.setattr(os, "fsync", lambda file: (flushed.append(os.fstat(file).st_size), flush(file)))
    create(path, study())
    assert path.stat().st_size in flushed
    with RatingsFileOf(path) as file:
        for n in range(3):
            file.add(click(n))
            assert flushed[-1] == path.stat().st_size


@pytest.mark.parametrize("cut", [1, 5, 30, 60])
def test_a_click_of_which_a_part_was_saved_is_left_out_and_told_and_the_next_is_whole(path, cut, caplog):
    with RatingsFileOf(path) as file:
        file.add(click(0))
        file.add(click(1))
    whole = path.read_bytes()
    path.write_bytes(whole[:-cut])
    kept = [click(0), click(1)] if cut == 1 else [click(0)]  # of the last line all but its end is there, or not
    assert read_ratings(path).ratings == kept
    assert ("cut short" in caplog.text) == (cut > 1)
    with RatingsFileOf(path) as file:
        file.add(click(2))
    caplog.clear()
    assert read_ratings(path).ratings == [*kept, click(2)]
    assert not caplog.text


class RatingsFileOf:
    """A ratings file, closed in any case."""

    def __init__(self, path: Path) -> None:
        self.file = RatingsFile(path)

    def __enter__(self) -> RatingsFile:
        return self.file

    def __exit__(self, *error: object) -> None:
        self.file.close()


def test_a_click_that_does_not_fit_on_the_disk_is_refused_and_leaves_no_part(path):
    code = f"""
import resource, signal, sys
from pathlib import Path
from idl_hf.evaluation.ratings import Rating
from idl_hf.evaluation.ratings_file import RatingsFile
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
path = Path({str(path)!r})
file = RatingsFile(path)
file.add(Rating("ann", 0, "persona", "win", 0))
size = path.stat().st_size
resource.setrlimit(resource.RLIMIT_FSIZE, (size + 20, resource.RLIM_INFINITY))
try:
    file.add(Rating("ann", 1, "persona", "win", 0))
except OSError as error:
    print(error)
assert path.stat().st_size == size
assert 1 not in file.verdicts("ann")
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
file.add(Rating("ann", 2, "persona", "lose", 0))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert "This click is not saved" in done.stdout
    assert [rating.pair for rating in read_ratings(path).ratings] == [0, 2]


def test_a_file_that_is_gone_saves_nothing_silently(path):
    with RatingsFileOf(path) as file:
        path.rename(path.with_name("moved.jsonl"))
        with pytest.raises(OSError, match="This click is not saved"):
            file.add(click(0))
        path.write_text("another\n")
        with pytest.raises(OSError, match="another file has taken its place"):
            file.add(click(0))
        assert file.verdicts("bo") == {}


def test_two_apps_cannot_hold_one_file(path):
    with RatingsFileOf(path), pytest.raises(ValueError, match="is open in another app"):
        RatingsFile(path)
    with RatingsFileOf(path) as file:
        file.add(click(0))


def test_of_one_criterion_the_last_click_holds_and_skipping_takes_all_back():
    clicks = [
        Rating("ann", 0, "persona", "win", 0), Rating("ann", 0, "style", "tie", 0),
        Rating("ann", 0, "persona", "lose", 0),
        Rating("ann", 1, "persona", "win", 0), Rating("ann", 1, ALL, SKIPPED, 0),
        Rating("ann", 2, ALL, SKIPPED, 0), Rating("ann", 2, "style", "win", 0), Rating("bo", 0, "persona", "tie", 1),
    ]  # fmt: skip
    assert standing(clicks) == {
        "ann": {0: {"persona": "lose", "style": "tie"}, 1: {ALL: SKIPPED}, 2: {"style": "win"}},
        "bo": {0: {"persona": "tie"}},
    }
    assert [is_done(said) for said in standing(clicks)["ann"].values()] == [False, True, False]
    assert is_done(dict.fromkeys(CRITERIA, "tie"))


# Which system is on the left


@pytest.mark.parametrize("count", [1, 8, 9])
def test_each_system_is_on_the_left_in_half_of_the_pairs_of_each_rater(count):
    for rater in ("ann", "bo", "cy"):
        left = list(study(count).left(rater).values())
        assert len(left) == count
        assert sum(left) in (count // 2, -(-count // 2))


def test_the_left_system_is_drawn_anew_for_each_rater_and_pair_and_study():
    asked = study(200)
    sides = np.array([list(map(asked.left(f"rater {n}").get, asked.asked)) for n in range(40)])
    # 8000 draws by rater and pair: five standard deviations
    assert abs(sides.mean(axis=0) - 0.5).max() < 5 * 0.5 / 40**0.5
    matches = (sides[1:] == sides[:-1]).mean(axis=1)
    assert abs(matches.mean() - 0.5) < 0.05
    following = (sides[:, 1:] == sides[:, :-1]).mean()  # the last pair tells nothing of the next
    assert abs(following - 0.5) < 0.05
    assert study(200).left("ann") == asked.left("ann")
    assert study(200, seed=6).left("ann") != asked.left("ann")


def test_nobody_is_asked_about_identical_replies():
    asked = study(6, identical=(1, 4))
    assert asked.asked == [0, 2, 3, 5]
    assert sorted(asked.left("ann")) == [0, 2, 3, 5]


@pytest.mark.parametrize("typed", ["Ann  Lee", " ann lee ", "ANN LEE", "ａnn lee"])
def test_a_rater_is_the_same_however_the_name_is_typed(typed):
    assert rater_name(typed) == "ann lee"


@pytest.mark.parametrize("typed", ["", "  ", "\u200b", "a" * 61])
def test_a_rater_without_a_name_is_refused(typed):
    with pytest.raises(ValueError, match="Type a name of 1 to 60 characters"):
        rater_name(typed)


# Files that others wrote


def lines_of(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").splitlines()


GOOD = {"rater": "ann", "pair": 0, "criterion": "style", "outcome": "tie", "left": 0}
WRONG = [
    ("{", "Expected JSON"),
    ("[1]", "Expected a JSON object"),
    (json.dumps({**GOOD, "rater": ""}), "Expected the name of a rater"),
    (json.dumps({**GOOD, "pair": 8}), "Expected a pair from 0 to 7, found 8"),
    (json.dumps({**GOOD, "pair": True}), "Expected a pair from 0 to 7"),
    (json.dumps({**GOOD, "criterion": "taste"}), "found 'taste' with 'tie'"),
    (json.dumps({**GOOD, "outcome": "skipped"}), "found 'style' with 'skipped'"),
    (json.dumps({**GOOD, "left": 2}), "Expected the system on the left, 0 or 1, found 2"),
    (json.dumps({**GOOD, "left": None}), "Expected the system on the left"),
]


@pytest.mark.parametrize(("line", "problem"), WRONG)
def test_a_rating_that_is_malformed_is_told_by_its_line(path, line, problem):
    path.write_text("\n".join([*lines_of(path), json.dumps(GOOD), line, json.dumps(GOOD)]) + "\n", encoding="utf-8")
    with pytest.raises(ValueError, match=r"ratings.jsonl:11: ") as refused:
        read_ratings(path)
    assert problem in str(refused.value)
    with pytest.raises(ValueError, match=r"ratings.jsonl:11: "):
        RatingsFile(path)


@pytest.mark.parametrize(
    ("number", "change", "problem"),
    [
        (1, {"version": 2}, ":1: Expected a file of ratings of version 1"),
        (1, {"systems": ["one"]}, ":1: Expected two systems"),
        (1, {"seed": "5"}, ":1: Expected two systems, a number of pairs and a seed"),
        (1, {"pairs": 9}, ":1: Expected 9 pairs below it, found 8"),
        (1, {"notes": [1]}, ":1: Expected notes"),
        (3, {"replies": ["one"]}, ":3: Expected a pair"),
        (3, {"past": [[{"role": "nobody", "text": "hi"}]]}, ":3: Expected a pair"),
        (3, {"turn": "1"}, ":3: Expected a pair"),
        (3, {"context": [{"role": "self"}]}, ":3: Expected a pair"),
    ],
)
def test_a_study_that_is_malformed_is_told_by_its_line(path, number, change, problem):
    lines = lines_of(path)
    lines[number - 1] = json.dumps({**json.loads(lines[number - 1]), **change})
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    with pytest.raises(ValueError, match="Mend the line, or take the file as it was saved") as refused:
        read_ratings(path)
    assert problem in str(refused.value)


def test_a_study_that_was_cut_short_is_refused(path):
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(ValueError, match="Expected 8 pairs below it, found 7 and a part of one"):
        read_ratings(path)


def test_an_empty_file_and_none_are_sentences(tmp_path):
    (tmp_path / "empty.jsonl").write_text("")
    with pytest.raises(ValueError, match=r"empty.jsonl:1: Expected JSON, found ''"):
        read_ratings(tmp_path / "empty.jsonl")
    with pytest.raises(FileNotFoundError, match="There is no file of ratings"):
        read_ratings(tmp_path / "none.jsonl")
