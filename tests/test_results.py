"""The reports that docs/results.md quotes: of real dialogues, told in full, and all of the same code."""

import json
import runpy
import shutil
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
problems = runpy.run_path(str(ROOT / "utils" / "check_results.py"))["problems"]


@pytest.fixture
def checkout(tmp_path):
    """A checkout with two reports, both quoted."""
    shutil.copytree(ROOT / "idl_hf" / "sample_data", tmp_path / "idl_hf" / "sample_data")
    for name in ("table1-cpu", "table3-cpu"):
        folder = tmp_path / "docs" / "results" / name
        folder.mkdir(parents=True)
        for file in ("report.html", "report.md"):
            (folder / file).touch()
        (folder / "report.json").write_text(json.dumps({"settings": settings()}))
    links = "[all](results/table1-cpu/report.md) and [others](results/table3-cpu)"
    (tmp_path / "docs" / "results.md").write_text(f"Table 1: {links}, [no report](other/x.md)\n")
    return tmp_path


def settings():
    made = {
        "is_result": True,
        "date": "2026-01-01",
        "idl_hf": {"version": "0.1.0", "commit": "abc"},
        "code": {"rows": {"convai2_idl": "r"}, "training": "t", "measuring": "m"},
        "data": {"convai2_idl": {"train.txt": "0" * 64}},
        "libraries": {"torch": "2"},
        "machine": {"processor": "p"},
    }
    return {"scale": {"name": "cpu", "seeds": [0]}, "made": made}


def test_the_reports_of_this_checkout_are_sound():
    assert problems(ROOT) == []


def test_sound_reports_are_left_alone(checkout):
    assert problems(checkout) == []


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"scale": {"name": "quick", "seeds": [0]}}, "is of the scale quick, and no result"),
        ({"scale": {"name": "cpu"}}, "does not tell its scale and seeds"),
        ({"made": {}}, "does not tell its date, idl_hf, code, data, libraries, machine"),
        ({"made": {"date": ""}}, "does not tell its date"),
        ({"made": {"is_result": False}}, "is of the package's sample dialogues, and no result"),
        ({"made": {"idl_hf": {"version": "1", "commit": None}}}, "does not tell the commit it was made at"),
        ({"made": {"data": {"movie_idl": {}}}}, "does not tell the sha256 of all its datasets' files"),
        ({"made": {"data": {"movie_idl": {"a": "x"}}}}, "does not tell the sha256 of all its datasets' files"),
    ],
)
def test_a_report_that_is_no_result_or_does_not_tell_all_is_refused(checkout, change, problem):
    content = settings()
    made = {**content["made"], **change["made"]} if change.get("made") else change.get("made", content["made"])
    file = checkout / "docs" / "results" / "table1-cpu" / "report.json"
    file.write_text(json.dumps({"settings": {**content, **change, "made": made}}))
    assert problems(checkout) == [f"docs/results/table1-cpu {problem}. Write it anew with `idl-hf evaluate`."]


@pytest.mark.parametrize("kind", ["examples", "highlighted", "conversations"])
def test_no_text_of_a_corpus_is_put_there(checkout, kind):
    file = checkout / "docs" / "results" / "table1-cpu" / "report.json"
    file.write_text(json.dumps({"settings": settings(), kind: [{"partner": "hi"}]}))
    (problem,) = problems(checkout)
    assert problem.startswith("docs/results/table1-cpu shows text of a corpus (pass --texts false).")


def test_where_lines_reply_belongs_to_a_report_and_what_they_reply_does_not(checkout):
    places = checkout / "docs" / "results" / "table1-cpu" / "places" / "convai2_idl.jsonl"
    places.parent.mkdir()
    places.write_text('{"person_id": "ann", "dialogue_id": "text", "turn": 1}\n')
    assert problems(checkout) == []
    places.write_text('{"dialogue_id": "one", "turn": 1, "text": "hi"}\n')
    (problem,) = problems(checkout)
    assert problem.startswith("docs/results/table1-cpu/places/convai2_idl.jsonl is no report.")


def test_figures_of_a_line_belong_there_and_texts_do_not(checkout):
    line = checkout / "docs" / "results" / "lines" / "0123456789abcdef.json"
    line.parent.mkdir()
    made = {"date": "2026-01-01", "idl_hf": {"version": "1", "commit": "c0ffee"}}
    made["machine"] = {"processor": "a processor", "cores": 2}
    whole = {"label": "IDL", "values": {"nll": {"ann": 2.5}}, "whole": {}, "rows": {}, "notes": {}, "made": made}
    line.write_text(json.dumps(whole))
    assert problems(checkout) == []
    for content in (json.dumps({**whole, "values": {"nll": {"ann": "hi there"}}}), "{", "[1]", "{}"):
        line.write_text(content)
        (problem,) = problems(checkout)
        assert problem.startswith("docs/results/lines/0123456789abcdef.json is no report.")


def test_sample_dialogues_are_known_by_what_they_hold(checkout, sample_data):
    import hashlib

    content = settings()
    sha256 = hashlib.sha256((sample_data / "train.jsonl").read_bytes()).hexdigest()
    content["made"]["data"]["dialogues_idl"] = {"own.jsonl": sha256}
    (checkout / "docs" / "results" / "table3-cpu" / "report.json").write_text(json.dumps({"settings": content}))
    (problem,) = problems(checkout)
    assert problem.startswith("docs/results/table3-cpu is of the package's sample dialogues")


@pytest.mark.parametrize(
    "name", ["measured.sqlite", "adapters/msl-1/weights.safetensors", "table1-cpu/so_far.md", "table9/report.md"]
)
def test_nothing_but_reports_is_kept_there(checkout, name):
    file = checkout / "docs" / "results" / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.touch()
    (problem,) = problems(checkout)
    assert problem.startswith(f"docs/results/{name} is no report. ")


def test_a_report_within_a_report_is_named(checkout):
    folder = checkout / "docs" / "results" / "table1-cpu"
    shutil.copytree(folder, folder / "again")
    assert len([problem for problem in problems(checkout) if "table1-cpu/again/report." in problem]) == 3


def test_a_report_that_lacks_a_file_is_named(checkout):
    (checkout / "docs" / "results" / "table3-cpu" / "report.html").unlink()
    (problem,) = problems(checkout)
    assert problem.startswith("docs/results/table3-cpu lacks report.html.")


def test_a_page_quotes_reports_that_are_there(checkout):
    page = "[a](results/table1-cpu/report.md) [b](results/table5-cpu/report.md)"
    (checkout / "docs" / "results.md").write_text(page)
    assert problems(checkout) == [
        "docs/results.md quotes results/table5-cpu/report.md, which is not there. Mend the link."
    ]


@pytest.mark.parametrize(("key", "value", "what"), [
    ("training", "other", "training"), ("measuring", "other", "measuring"),
    ("rows", {"convai2_idl": "other"}, "rows of convai2_idl"),
])  # fmt: skip
def test_all_that_a_page_quotes_is_of_the_same_code(checkout, key, value, what):
    content = settings()
    content["made"]["code"][key] = value
    (checkout / "docs" / "results" / "table3-cpu" / "report.json").write_text(json.dumps({"settings": content}))
    (problem,) = problems(checkout)
    assert problem.startswith(f"docs/results.md quotes reports of different code for {what}: table1-cpu, table3-cpu.")
    (checkout / "docs" / "results.md").write_text("[the one](results/table1-cpu/report.md)")
    assert problems(checkout) == []  # the other is quoted elsewhere


def test_rows_of_other_corpora_are_not_compared(checkout):
    content = settings()
    content["made"]["code"]["rows"] = {"movie_idl": "other"}
    (checkout / "docs" / "results" / "table3-cpu" / "report.json").write_text(json.dumps({"settings": content}))
    assert problems(checkout) == []


@pytest.mark.parametrize("name", ["README.md", "docs/results.md", "examples/recipes/README.md"])
def test_a_figure_with_an_interval_stands_in_a_report(checkout, name):
    report = next((checkout / "docs" / "results").glob("*/report.md"))
    report.write_text("| ours | **0.289**† [0.241, 0.337] | <u>-0.096</u>† [-0.119, -0.073] |\n", encoding="utf-8")
    page = checkout / name
    page.parent.mkdir(parents=True, exist_ok=True)
    before = page.read_text(encoding="utf-8") if page.is_file() else ""
    page.write_text(f"{before} 0.289 [0.241, 0.337] and -0.096 [-0.119, -0.073]\n", encoding="utf-8")
    assert problems(checkout) == []
    page.write_text(f"{before} 0.298 [0.241, 0.337]\n", encoding="utf-8")
    assert problems(checkout) == [f"{name} shows 0.298 [0.241, 0.337], which stands in no report. Take it from one."]
