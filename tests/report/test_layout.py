"""The report as Markdown and JSON: every number in its place, and text that stays text."""

import json
import math
import re
from dataclasses import asdict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from idl_hf.report.layout import _told, difference_grids, grids, measure
from idl_hf.report.markdown import as_json, markdown, plain, settings
from idl_hf.report.results import Column, Conversation, Line, Report, Table, Utterance, over_seeds
from idl_hf.report.statistics import mean_over_people
from tests.report.handmade import (
    COLUMNS,
    HOSTILE,
    PEOPLE,
    corpora_table,
    curve_table,
    line,
    main_table,
    report,
    text_of,
)

SCORE, LOSS = Column("score", "Score"), Column("loss", "Loss", 1, lower_is_better=True)


def rows_of(text: str) -> list[list[str]]:
    """Return the cells of all rows of the tables below the differences, split where Markdown splits them."""
    text = text.rpartition("\n### All lines\n")[2]
    lines = [line for line in text.splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]


def simple(column: Column, **means: float) -> Table:
    """Return a table of lines without people; a name that begins with "bound" is one."""
    roles = {name: "bound" if name.startswith("bound") else "ours" for name in means}
    return Table("t", [column], [Line(name, roles[name], {}, {column.key: mean}) for name, mean in means.items()])


def marks(table: Table) -> dict[str, str]:
    return {row[0].partition(" ")[0]: row[1] for row in rows_of(text_of(table))[2:]}


def test_a_cell_has_value_interval_paper_and_denominator():
    table = main_table()
    estimate = mean_over_people(table.lines[4].values["bleu_1"])
    low, mean, high = (f"{100 * value:.1f}" for value in (estimate.low, estimate.mean, estimate.high))
    head, _, *body = rows_of(text_of(table))
    assert head[:3] == ["", "BLEU-1 ↑ (paper)<br>30\xa0people", "BLEU-2 ↑<br>n\xa0=\xa0120, 30\xa0people"]
    assert body[4][0] == "IDL (ours)"
    assert body[4][1].replace("*", "").replace("<u>", "").replace("</u>", "") == (
        f"{mean}† [{low}, {high}] (52.4) n\xa0=\xa0120"
    )
    assert body[2][1].endswith("n\xa0=\xa0119")
    assert body[0][head.index("NLL ↓<br>n\xa0=\xa0120, 30\xa0people")].startswith("3.4")


def test_columns_that_no_line_has_are_left_out_and_named():
    table = main_table()
    text = text_of(table)
    assert [len(row) for row in rows_of(text)] == [10] * 10
    assert "- Not measured: Coh.\n" in f"{text}\n"
    assert not any("Coh" in head.label for head in grids(table, measure(table))[0].heads)


def test_a_cell_that_was_not_measured_is_a_dash_and_one_that_is_no_number_says_so():
    lines = [Line("one", "ours", {"score": {"a": 0.1, "b": math.nan}}), Line("two", "ours", {}, {"loss": 1.0})]
    assert [row[1:] for row in rows_of(text_of(Table("t", [SCORE, LOSS], lines)))[2:]] == [
        ["nan", "-"],
        ["-", "1.000"],
    ]


def test_the_best_is_bold_the_second_underlined_and_bounds_are_aside():
    assert marks(simple(SCORE, a=0.1, b=0.3, c=0.2, bound=0.9)) == {
        "a": "10.0", "b": "**30.0**", "c": "<u>20.0</u>", "bound": "90.0",
    }  # fmt: skip
    assert marks(simple(LOSS, a=0.1, b=0.3, c=0.2)) == {"a": "**0.100**", "b": "0.300", "c": "<u>0.200</u>"}


def test_what_is_shown_alike_is_marked_alike_and_the_worst_never():
    assert marks(simple(SCORE, a=0.30001, b=0.3, c=0.1)) == {"a": "**30.0**", "b": "**30.0**", "c": "10.0"}
    assert marks(simple(SCORE, a=0.3, b=0.2)) == {"a": "**30.0**", "b": "20.0"}
    assert marks(simple(SCORE, a=0.3, b=0.3)) == {"a": "30.0", "b": "30.0"}
    assert marks(simple(SCORE, a=0.3)) == {"a": "30.0"}


def test_there_is_no_minus_zero():
    assert marks(simple(SCORE, a=-0.0001)) == {"a": "0.0"}


def test_each_corpus_has_its_own_best():
    rows = rows_of(text_of(corpora_table()))[2:]
    assert [row[:2] for row in rows] == [
        [c, f"{n}"] for c in ("Movie", "LIGHT") for n in ("ICL (baseline)", "IDL (ours)")
    ]
    assert ["**" in row[2] for row in rows] == [False, True, False, True]
    assert ["†" in row[2] for row in rows] == [False, True, False, True]


@given(st.integers(0, 4).flatmap(lambda width: st.lists(
    st.lists(st.sampled_from(["", "n = 1", "n = 2", None]), min_size=width, max_size=width), max_size=4
)))  # fmt: skip
def test_what_is_told_of_a_cell_is_told_of_it_once(texts):
    told = _told(texts)
    for i, row in enumerate(texts):
        for j, text in enumerate(row):
            parts = [told.once, told.by_row[i], told.by_column[j], told.by_cell[i][j]]
            assert text is None or list(filter(None, parts)) == [text] * bool(text)


def test_what_all_cells_share_is_told_once_and_what_rows_share_at_the_rows():
    assert _told([["a", "a"], [None, "a"]]).once == "a"
    assert _told([["a", "a"], ["b", None]]).by_row == ["a", "b"]
    told = _told([["a", "b"], ["a", "c"]])
    assert (told.by_column, told.by_cell) == (["a", ""], [["", "b"], ["", "c"]])


def test_differences_from_all_other_lines_have_an_interval():
    table = main_table()
    (grid,) = difference_grids(table)
    assert grid.title == "IDL minus another line"
    assert [row.name for row in grid.rows] == [line.name for line in table.lines if line.name != "IDL"]
    baseline, cell = table.lines[0].values["bleu_1"], grid.rows[0].cells[0]
    expected = mean_over_people({name: table.lines[4].values["bleu_1"][name] - baseline[name] for name in PEOPLE})
    assert cell.estimate == expected
    assert grid.rows[0].cells[-3] is None  # GPT-2 has no P-Co
    assert cell.interval in markdown(Report("t", "", [table]), [measure(table)])
    assert [grid.title for grid in difference_grids(corpora_table())] == [
        "Movie IDL minus another line", "LIGHT IDL minus another line",
    ]  # fmt: skip
    assert difference_grids(curve_table()) == []


def test_curves_are_a_table_by_x_for_each_column():
    text = text_of(curve_table())
    assert re.findall(r"^### (.*)$", text, re.MULTILINE) == ["P-F1 ↑", "P-Co ↑"]
    one, other = rows_of(text)[:5], rows_of(text)[5:]
    assert one[0][0] == "reference dialogues"
    assert [cell.partition("<br>")[0] for cell in one[0][1:]] == ["IDL", "ICL"]
    assert [row[0] for row in one[2:]] == [row[0] for row in other[2:]] == ["0", "1", "5"]
    line = next(line for line in curve_table().lines if line.name == "ICL, 1 references")
    assert one[3][2].startswith(f"{100 * mean_over_people(line.values['p_f1']).mean:.1f} ")


def test_seeds_are_told_wherever_means_are():
    of_seeds = {seed: line("IDL", "ours", 0.5, seed) for seed in (0, 1, 2)}
    table = Table("t", COLUMNS[:1], [line("ICL", "baseline", 0.4, 9), over_seeds(of_seeds)])
    text = text_of(table)
    _, _, *body = rows_of(text)
    assert [row[0] for row in body] == ["ICL (baseline)", "IDL (ours)<br>3\xa0seeds"]
    assert "### All lines\n\nn\xa0=\xa0120, 30\xa0people\n\n| " in text
    assert "\n- Mean over people and seeds of training \\[95 % interval for other people and other seeds" in text
    assert "without training: mean over people \\[95 % bootstrap" in text
    assert "over the same people and seeds (paired t-test" in text
    assert "\n\nMean over people and seeds of training of the difference \\[95 %" in text
    found = json.loads(as_json(Report("t", "", [table]), [measure(table)]))["tables"][0]
    kept = found["lines"][1]["by_seed"]
    assert {seed: of_seed["values"] for seed, of_seed in kept.items()} == {
        str(seed): one.values for seed, one in of_seeds.items()
    }
    assert [result["seeds"] for result in found["results"]] == [0, 3]


def test_replies_stay_in_their_cell_and_stay_text():
    text = text_of(examples=report().examples)
    head, _, first, second = rows_of(text)
    assert head == ["partner", "gold", "IDL", "FT"]
    assert first[1] == r"yes \| no<br>\*maybe\*"
    assert first[3] == "-"
    assert second[2] == "(empty)"
    assert "<script" not in text
    assert "<img" not in text


def test_a_conversation_is_a_list_of_who_says_what():
    turns = [Utterance("Ann", "hi !\n*you*"), Utterance("B_b", HOSTILE), Utterance("Ann", "")]
    text = text_of(conversations=[Conversation("Ann | Bob", "They *talk*.", turns)])
    expected = [r"- **Ann**: hi !<br>\*you\*", rf"- **B\_b**: {plain(HOSTILE)}", "- **Ann**: (empty)"]
    assert "\n\n## Ann \\| Bob\n\nThey \\*talk\\*.\n\n" + "\n".join(expected) + "\n\n" in text


@given(st.text())
def test_plain_text_breaks_no_table(text):
    safe = plain(text)
    assert len(safe.splitlines()) <= 1
    assert not re.search(r"(?<!\\)(\\\\)*[|*_`]", safe)
    assert "<" not in safe.replace("<br>", "")


def test_nested_settings_are_flat():
    assert settings({"a": "x", "b": {"c": 1, "d": {"e": [1, None]}}, "f": {}}) == [
        ("a", "x"), ("b.c", "1"), ("b.d.e", "[1, null]"), ("f", "{}"),
    ]  # fmt: skip


def test_notes_stand_even_alone():
    text = text_of(notes=["13B was not run: no memory."], seconds=5230.4)
    assert text.endswith(
        "## Notes\n\n- 13B was not run: no memory.\n"
        "- This run took 5,230 s, without what earlier ones had trained and measured.\n"
    )


def test_json_is_strict_and_holds_everything():
    given = report()
    given.tables[0].lines[1].values["p_co"][PEOPLE[3]] = math.nan
    cells = [measure(table) for table in given.tables]
    found = json.loads(as_json(given, cells), parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    expected = asdict(given)
    assert found["tables"][2]["lines"] == expected["tables"][2]["lines"]
    assert found["tables"][0]["lines"][4]["values"] == expected["tables"][0]["lines"][4]["values"]
    assert found["tables"][0]["lines"][1]["values"]["p_co"][PEOPLE[3]] is None
    assert found["tables"][0]["columns"] == [asdict(column) for column in COLUMNS]
    for name in ("examples", "highlighted", "conversations"):
        assert found[name] == expected[name]
    results = found["tables"][0]["results"]
    assert len(results) == 8 * 9 - 1
    tested = [result["test"] for result in results if result["test"]]
    assert len(tested) == 8
    assert set(tested[0]) == {"against", "difference", "p", "corrected_p", "dagger"}
    assert {result["people"] for result in results if result["column"] != "corpus_distinct_1"} == {30}
    differences = [one for one in found["tables"][0]["differences"] if one["other"] == "gold"]
    assert {one["line"] for one in differences} == {"IDL"}
    assert {one["column"] for one in differences} == {column.key for column in COLUMNS} - {"corpus_distinct_1", "coh"}


def test_json_takes_paths_among_the_settings_only(tmp_path):
    assert json.loads(as_json(Report("t", "", [], settings={"folder": tmp_path}), []))["settings"]["folder"] == str(
        tmp_path
    )
    with pytest.raises(TypeError, match="not JSON serializable"):
        as_json(Report("t", "", [], examples=[{"gold": tmp_path}]), [])


def test_a_report_before_its_first_line_is_whole():
    empty = Table("t", [SCORE], [])
    assert grids(empty, measure(empty)) == []
    assert "Not measured: Score." in text_of(empty)


def test_hostile_names_are_text_too():
    assert "<script" not in markdown(report(), [measure(table) for table in report().tables])
    assert plain(HOSTILE).startswith("&lt;script>")
