"""What a report says in sentences: what differs, and what its marks mean."""

from dataclasses import replace

from idl_hf.report.layout import measure
from idl_hf.report.results import Column, Line, Table
from idl_hf.report.sentences import headlines, legend
from tests.report.handmade import COLUMNS, corpora_table, curve_table, line, main_table, text_of


def test_a_table_says_in_a_sentence_what_it_shows():
    lines = [line("FT", "baseline", 0.3, 1), line("IDL", "ours", 0.4, 2), line("a bound", "bound", 0.9, 3)]
    table = Table("t", [COLUMNS[0], COLUMNS[7], COLUMNS[5]], lines)
    lines[1].values["p_f1"] = dict(lines[0].values["p_f1"])  # the same
    cells = measure(table)
    values = {key: [cells[i, key].value for i in (1, 0)] for key in ("bleu_1", "nll")}
    expected = (
        f"IDL, against the best baseline: better in BLEU-1 ({' against '.join(values['bleu_1'])}) and NLL "
        f"({' against '.join(values['nll'])}); no difference beyond chance in P-F1."
    )
    assert headlines(table, cells) == [expected]
    assert f"\n\n{expected}\n\n### Differences\n" in text_of(table)
    swapped = replace(table, lines=[replace(lines[0], role="ours"), replace(lines[1], role="baseline")])
    (sentence,) = headlines(swapped, measure(swapped))
    assert sentence.startswith("FT, against the best baseline: worse in BLEU-1 (")
    assert headlines(replace(table, lines=lines[1:]), measure(replace(table, lines=lines[1:]))) == []


def test_a_difference_that_chance_makes_is_told_as_none():
    lines = [line("FT", "baseline", 0.3, 1), line("IDL", "ours", 0.3, 2)]
    table = Table("t", [COLUMNS[0]], lines)
    assert lines[0].values["bleu_1"] != lines[1].values["bleu_1"]
    (sentence,) = headlines(table, measure(table))
    assert sentence == "IDL, against the best baseline: no difference beyond chance in BLEU-1."


def test_where_nothing_can_be_tested_no_chance_is_spoken_of():
    lines = [line("FT", "baseline", 0.3, 1), line("IDL", "ours", 0.3, 2)]
    lines[1].values["bleu_1"] = {person: value + 0.5 for person, value in lines[0].values["bleu_1"].items()}
    table = Table("t", [COLUMNS[0]], lines)
    (sentence,) = headlines(table, measure(table))
    assert sentence.startswith("IDL, against the best baseline: not tested (")
    few = [replace(each, values={"bleu_1": dict(list(each.values["bleu_1"].items())[:1])}) for each in lines]
    (sentence,) = headlines(replace(table, lines=few), measure(replace(table, lines=few)))
    assert "not tested (fewer than three people" in sentence


def test_of_curves_and_corpora_the_sentence_says_which():
    table = curve_table()
    (sentence,) = headlines(table, measure(table))
    assert sentence.startswith("IDL, 5 reference dialogues, against the best baseline: better in P-F1 (")
    found = headlines(corpora_table(), measure(corpora_table()))
    assert [sentence.partition(",")[0] for sentence in found] == ["Movie IDL", "LIGHT IDL"]


def test_the_legend_says_only_what_is_there():
    bare = Table("t", [Column("score", "Score")], [Line("a", "ours", {}, {"score": 0.1})])
    assert legend(bare, measure(bare)) == []
    full = "\n".join(legend(main_table(), measure(main_table())))
    for part in (
        "95 % bootstrap",
        "n: how many",
        "bounds aside",
        "the 8 comparisons",
        "the paper's figure",
        "BLEU-1: Of words",
    ):
        assert part in full
    assert "theirs" not in full
    table = main_table()
    with_theirs = replace(table, lines=[*table.lines, line("they", "theirs", 0.3, 7)])
    said = "\n".join(legend(with_theirs, measure(with_theirs)))
    assert "†: better than the best baseline or line of theirs (a line of theirs: than the best of ours)" in said
    assert "the 16 comparisons" in said
