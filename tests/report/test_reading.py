"""report.json read back."""

import json
import math
from dataclasses import replace

import pytest

from idl_hf.report.layout import measure
from idl_hf.report.markdown import as_json
from idl_hf.report.reading import read_report
from idl_hf.report.results import Report, Table, over_seeds
from tests.report.handmade import COLUMNS, PEOPLE, line, report


def test_what_is_read_is_what_was_written():
    given = report()
    given.tables.append(Table("Shares", COLUMNS[:2], [line("they", "theirs", 0.5, 3)], shares=("bleu_1", "bleu_2")))
    first = given.tables[0].lines[0]
    given.tables[0].lines[0] = over_seeds({0: first, 12: replace(first, whole=dict.fromkeys(first.whole, 0.25))})
    text = as_json(given, [measure(table) for table in given.tables])
    assert read_report(text) == given


def test_what_was_no_number_is_none_again():
    given = report()
    given.tables[0].lines[1].values["p_f1"][PEOPLE[3]] = math.nan
    given.tables[0].lines[2].whole["corpus_distinct_1"] = math.nan
    text = as_json(given, [measure(table) for table in given.tables])
    lines = read_report(text).tables[0].lines
    assert math.isnan(lines[1].values["p_f1"][PEOPLE[3]])
    assert math.isnan(lines[2].whole["corpus_distinct_1"])
    assert lines[1].values["p_f1"][PEOPLE[4]] == given.tables[0].lines[1].values["p_f1"][PEOPLE[4]]


@pytest.mark.parametrize("text", ["", "[]", "7", "{}", '{"tables": [{}]}'])
def test_what_is_no_report_is_a_sentence(text):
    with pytest.raises(ValueError, match=r"Expected a report\.json of this version of idl_hf"):
        read_report(text)


def test_a_report_of_another_version_is_a_sentence():
    content = json.loads(as_json(Report("t", "", []), []))
    with pytest.raises(ValueError, match=r"Expected a report\.json of this version of idl_hf"):
        read_report(json.dumps({name: value for name, value in content.items() if name != "intro"}))
