"""The numbers of `idl-hf stats` against the files they are of, and a page that is safe to open."""

import json
import re
from collections import Counter

import numpy as np
import pytest
from datasets import DatasetInfo, load_dataset
from trl import TrlParser

from idl_hf.explore.charts import bars, histogram, plots, write_page
from idl_hf.explore.stats import (
    Stats,
    StatsArguments,
    Table,
    collect,
    left_out,
    measure_talk,
    show_stats,
    spread,
    tables,
)
from idl_hf.prompting import token_counter
from idl_hf.schema import Dialogue, Turn
from tests.report.html_elements import Elements

DATASET = "idl_hf/dialogues_idl"
HOSTILE = "<script>alert(1)</script><img src=https://example.org/x.png onerror='alert(2)'>"


@pytest.fixture(scope="module")
def arguments(sample_data):
    """StatsArguments of the sample data with the offline encoder."""

    def make(**changes) -> StatsArguments:
        return StatsArguments(
            **({"dataset_name": DATASET, "data_dir": str(sample_data), "encoder": "offline"} | changes)
        )

    return make


@pytest.fixture(scope="module")
def stats(arguments):
    return collect(arguments())


@pytest.fixture
def hostile(tmp_path):
    """A folder of dialogues by somebody who would rather be code."""
    turns = [{"role": "partner", "text": HOSTILE}, {"role": "self", "text": f"i have two dogs . {HOSTILE}"}]
    record = {"person_id": HOSTILE, "dialogue_id": HOSTILE, "turns": turns}
    (tmp_path / "train.jsonl").write_text(json.dumps(record))
    return tmp_path


def test_people_dialogues_and_turns_are_those_of_the_file(stats, sample_data):
    for split in ("train", "validation"):
        lines = [json.loads(line) for line in (sample_data / f"{split}.jsonl").read_text().splitlines()]
        texts = [turn["text"] for line in lines for turn in line["turns"]]
        talk = stats.talk[split]
        assert talk.dialogues_per_person == Counter(line["person_id"] for line in lines)
        assert talk.turns_per_dialogue == [len(line["turns"]) for line in lines]
        assert talk.characters_per_utterance == [len(text) for text in texts]
        assert talk.words_per_utterance == [len(text.split(" ")) for text in texts]


def test_persona_utterances_are_the_person_s_own():
    turns = (Turn("partner", "i have two dogs ."), Turn("self", "i have two dogs ."), Turn("self", "oh , lovely !"))
    talk = measure_talk([Dialogue("ann", "1", turns), Dialogue("bob", "2", turns[:1])])
    assert (talk.own_utterances, talk.persona_utterances) == (2, 1)


def test_rows_and_prompt_tokens_are_those_of_the_dataset(arguments, sample_data, whole_tokenizer):
    chosen = {"targets": "all", "references": 2}
    made = collect(arguments(configs=["msl", "dpoc"], model_name_or_path="offline", dataset_options=chosen))
    count = token_counter(whole_tokenizer)
    for config in ("msl", "dpoc"):
        for split, rows in load_dataset(
            DATASET, config, data_dir=str(sample_data), encoder="offline", **chosen
        ).items():
            assert made.rows[config][split].prompt_lengths == [count(row["prompt"]) for row in rows]
    assert made.rows["dpoc"]["train"].criterion_types == Counter(
        load_dataset(DATASET, "dpoc", split="train", data_dir=str(sample_data), encoder="offline", **chosen)[
            "criterion_type"
        ]
    )
    assert made.unit == "tokens (offline)"
    assert not made.talk


def test_words_are_counted_where_no_model_is_named(stats, sample_data):
    row = load_dataset(DATASET, "msl", split="train", data_dir=str(sample_data), encoder="offline")[0]
    words = " ".join(message["content"] for message in row["prompt"]).split()
    assert stats.rows["msl"]["train"].prompt_lengths[0] == len(words)
    assert "words (no --model_name_or_path was given)" in "".join(table.title for table in tables(stats))


def test_a_spread_is_minimum_median_ninetieth_percentile_and_maximum():
    assert spread(range(1, 1002)) == ["1", "501", "901", "1,001"]
    assert spread([2, 3]) == ["2", "2.5", "2.9", "3"]
    assert spread([]) == ["-", "-", "-", "-"]


def test_what_was_left_out_is_read_from_the_description():
    description = (
        "Dialogues.\n\nMade with: seed=0\n\nLeft out of train: 1,203 x dialogue that repeats another: a twin.\n"
        "Left out of train: 2 x reply (none). \nLeft out of validation: 4 x malformed dialogue.\n"
        "Left out of validation: 1 x malformed dialogue.\nMended in train: 3 x line."
    )
    assert left_out(DatasetInfo(description=description)) == {
        "train: dialogue that repeats another: a twin": 1203,
        "validation: malformed dialogue": 5,
    }


def test_what_a_build_left_out_is_in_the_table(arguments, sample_data, tmp_path):
    lines = (sample_data / "train.jsonl").read_text().splitlines()[:6]
    twin = {**json.loads(lines[0]), "dialogue_id": "twin"}
    (tmp_path / "train.jsonl").write_text("\n".join([*lines, json.dumps(twin)]))
    made = collect(arguments(data_dir=str(tmp_path), configs=["sessions", "msl"], dataset_options={"targets": "all"}))
    table = tables(made)[-1]
    assert (table.title, table.header) == ("Left out of msl", ["what", "train"])  # and nothing of sessions
    ((reason, count),) = table.rows
    assert reason.startswith("dialogue that repeats")
    assert count == "1"
    assert "Left out of sessions" not in [table.title for table in tables(made)]


def test_each_kind_of_drop_is_a_table_by_split():
    counts = {"train: b": 2, "validation: a: twin": 1203, "validation: b": 1}
    (table,) = tables(Stats("words", left_out={"sessions": {}, "msl": counts}))
    assert table.header == ["what", "train", "validation"]
    assert table.rows == [["a: twin", "0", "1,203"], ["b", "2", "1"]]


def test_sessions_are_not_built_anew_for_other_rows(arguments, stats, monkeypatch):
    monkeypatch.setattr("idl_hf.rows.builder.RowBuilder.rows", lambda *args: pytest.fail("they are in the cache"))
    assert collect(arguments(configs=["sessions"], dataset_options={"seed": 5})).talk == stats.talk


def test_the_terminal_shows_every_table_as_markdown(arguments, capsys):
    show_stats(arguments())
    lines = capsys.readouterr().out.splitlines()
    assert [line for line in lines if line.startswith("## ")][:2] == ["## Dialogues", "## Sizes"]
    assert "| dialogues | 72 | 24 |" in lines
    assert "| dialogues per person | train | 6 | 6 | 6 | 6 |" in lines
    widths = {line.count("|") for line in lines[lines.index("## Sizes") : lines.index("## Criterion types")] if line}
    assert widths <= {0, 7, 8}


def test_an_unknown_config_and_an_option_that_it_lacks_are_said(arguments):
    with pytest.raises(ValueError, match=r"Unknown config 'mls'. The configs are: sessions, msl, dpoc"):
        collect(arguments(configs=["mls"]))
    with pytest.raises(ValueError, match="reply='each' is for dpoc"):
        collect(arguments(configs=["msl"], dataset_options={"reply": "each"}))


def test_the_page_holds_the_tables_the_plots_and_an_example(stats, tmp_path):
    made = tables(stats)
    file = tmp_path / "new" / "stats.html"
    write_page(str(file), "my <data>", stats, made)
    elements = Elements(file.read_text(encoding="utf-8"))
    assert [tag for tag, _ in elements.found].count("table") == len(made) + 1
    assert [tag for tag, _ in elements.found].count("svg") == 5  # prompts of msl and of dpoc apart
    for cell in ("my <data>", "dialogues per person", "inversion", "turns per dialogue", stats.example.turns[0].text):
        assert cell in elements.text
    assert not list(file.parent.glob("*.partial"))


def test_nothing_on_the_page_is_fetched_or_run_whatever_a_dialogue_holds(arguments, hostile, tmp_path):
    file = tmp_path / "stats.html"
    show_stats(arguments(data_dir=str(hostile), configs=["sessions"], html=str(file)))
    text = file.read_text(encoding="utf-8")
    elements = Elements(text)
    assert elements.text.count(HOSTILE) == 4  # both ids and both turns, as text
    assert not {"script", "img", "link", "iframe", "object"} & {tag for tag, _ in elements.found}
    for _, attributes in elements.found:
        assert not any(name.startswith("on") for name in attributes)
        links = [value for name, value in attributes.items() if name in ("src", "href", "xlink:href")]
        assert all(link.startswith("#") for link in links)
    assert "url(http" not in text
    assert "@import" not in text


def test_plots_share_no_ids_and_are_the_same_each_time():
    numbers = {"train": [1, 2, 2, 3]}
    one, other = (Elements(histogram(numbers, label)) for label in ("one", "two"))
    clips = [{of["id"] for tag, of in drawn.found if tag == "clippath"} for drawn in (one, other)]
    used = {of["clip-path"][5:-1] for _, of in one.found if "clip-path" in of}
    assert used <= clips[0]
    assert clips[0].isdisjoint(clips[1])
    assert histogram(numbers, "one") == histogram(numbers, "one")


def test_a_page_that_fails_leaves_the_one_before(stats, tmp_path):
    file = tmp_path / "stats.html"
    file.write_text("before")
    with pytest.raises(TypeError):
        write_page(str(file), "x", stats, [Table("t", ["a"], [[None]])])
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("stats.html", "before")]


def test_a_page_that_cannot_be_moved_into_place_leaves_nothing_behind(tmp_path):
    (tmp_path / "stats.html").mkdir()
    with pytest.raises(OSError, match=r"stats\.html"):
        write_page(str(tmp_path / "stats.html"), "x", Stats("words"), [])
    assert [path.name for path in tmp_path.iterdir()] == ["stats.html"]


def test_plots_of_few_numbers():
    assert "<svg" in histogram({"train": [6, 6, 6], "validation": []}, "constant")
    assert "<svg" in histogram({"train": [0, 10**6]}, "far $apart$")
    assert "&lt;b&gt;" in bars({"train": {"<b>": 2}, "validation": {}}, "types")
    assert histogram({"train": []}, "none") == bars({"train": Counter()}, "none") == ""


def test_the_bars_of_a_series_add_up_to_a_hundred_percent(monkeypatch):
    seen = {}
    monkeypatch.setattr("matplotlib.axes.Axes.hist", lambda self, values, **options: seen.update(options, x=values))
    monkeypatch.setattr("idl_hf.explore.charts._svg", lambda figure, label: label)
    histogram({"train": range(3, 1000), "validation": [1, 5]}, "x")
    for values, weights in zip(seen["x"], seen["weights"], strict=True):
        heights, _ = np.histogram(values, seen["bins"], weights=weights)
        assert heights.sum() == pytest.approx(100)
    assert len(seen["bins"]) <= 27


def test_the_last_bar_stands_for_the_few_that_are_far_away(monkeypatch):
    seen = {}
    monkeypatch.setattr("matplotlib.axes.Axes.hist", lambda self, values, **options: seen.update(options, x=values))
    monkeypatch.setattr("idl_hf.explore.charts._svg", lambda figure, label: label)
    assert histogram({"train": [*range(1, 11)] * 30 + [900]}, "turns") == "turns (last bar: 11 to 900)"
    assert max(seen["x"][0]) == 11
    assert seen["bins"][-2:] == [10.5, 11.5]
    assert histogram({"train": [*range(1, 11)] * 30 + [19]}, "turns") == "turns"
    assert histogram({"train": [0] * 99 + [7]}, "turns") == "turns"


def test_one_person_has_no_plot_over_people():
    talk = measure_talk([Dialogue("ann", str(i), (Turn("self", "hi"),)) for i in range(3)])
    assert [
        re.search("<figcaption>(.*)</figcaption>", plot)[1] for plot in plots(Stats("words", {"train": talk}))
    ] == ["turns per dialogue"]
    both = measure_talk([Dialogue(name, "1", (Turn("self", "hi"),)) for name in ("ann", "bob")])
    assert "dialogues per person" in plots(Stats("words", {"train": talk, "validation": both}))[0]


def test_bars_fall_between_whole_numbers(monkeypatch):
    seen = {}
    monkeypatch.setattr("matplotlib.axes.Axes.hist", lambda self, values, **options: seen.update(options))
    monkeypatch.setattr("idl_hf.explore.charts._svg", lambda figure, label: label)
    histogram({"train": range(3, 1000), "validation": [1, 5]}, "x")
    assert all(edge % 1 == 0.5 for edge in seen["bins"])


def test_arguments_are_read_off_the_command_line():
    args = TrlParser((StatsArguments,)).parse_args_and_config(["--configs", "sessions", "msl", "--html", "x.html"])[0]
    assert (args.configs, args.html, args.encoder) == (["sessions", "msl"], "x.html", None)


def test_an_empty_dataset_has_no_share():
    assert tables(Stats("words")) == []
    assert measure_talk([]).own_utterances == 0
