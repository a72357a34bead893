"""`idl-hf score`: anybody's replies get a line beside those of an evaluation, and ours get the line that they have."""

import json
import re
import shutil
from pathlib import Path

import pytest
import yaml
from transformers import LlamaConfig, LlamaForSequenceClassification

from idl_hf.cli import main
from idl_hf.evaluation.data import EvaluationData
from idl_hf.evaluation.provenance import SAMPLE_DATA

TEST = "dialogues_idl"


COLUMNS = ["nll", "bleu_1", "rouge_l", "corpus_distinct_1", "p_co", "author", "author_ceiling", "coh"]


@pytest.fixture(scope="module")
def ours(tiny_llama, tokenizer, sample_data, tmp_path_factory) -> Path:
    """The report of an experiment in which a model of random weights replies to four people, in two ways."""
    folder = tmp_path_factory.mktemp("ours")
    tiny_llama(seed=1, tie_word_embeddings=False).save_pretrained(folder / "model")
    labels = dict(enumerate(["contradiction", "neutral", "entailment"]))
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 4}
    config = LlamaConfig(vocab_size=len(tokenizer), **sizes, id2label=labels, pad_token_id=tokenizer.pad_token_id)
    LlamaForSequenceClassification(config).save_pretrained(folder / "nli")
    for name in ("model", "nli"):
        tokenizer.save_pretrained(folder / name)
    conditions = ["system", {"condition": "icl", "name": "IDL", "role": "ours"}]
    about = {"title": "Ours", "about": "A trial.", "trained_on": TEST, "tests": [TEST], "columns": COLUMNS}
    scale = {
        "model_name_or_path": str(folder / "model"), "encoder": "offline", "max_prompt_tokens": 256,
        "max_new_tokens": 20, "dialogues_per_person": 1, "generated": 8,
        "nli_model": str(folder / "nli"),
    }  # fmt: skip
    (folder / "small.yaml").write_text(yaml.safe_dump(scale))
    (folder / "trial.yaml").write_text(yaml.safe_dump({**about, "conditions": conditions}))
    what = ["--experiment", str(folder / "trial.yaml"), "--scale", str(folder / "small.yaml")]
    where = ["--data_dirs", json.dumps({TEST: str(sample_data)})]
    kept = ["--output_dir", str(folder / "runs"), "--runs_dir", str(folder / "kept")]
    assert main(["evaluate", *what, *where, *kept]) == 0
    (file,) = folder.glob("runs/*/report.json")
    return file.parent


def told(folder: Path) -> dict:
    return json.loads((folder / "report.json").read_text(encoding="utf-8"))


def lines_of(folder: Path) -> dict[str, dict]:
    (table,) = told(folder)["tables"]
    return {line["name"]: line for line in table["lines"]}


def replies_of(ours: Path) -> dict[str, list[dict]]:
    """The lines of the files of replies by what the report calls their line."""
    files = told(ours)["settings"]["tests"][TEST]["replies"]
    return {name: list(map(json.loads, (ours / file).read_text().splitlines())) for name, file in files.items()}


def write(path: Path, replies: list[dict]) -> Path:
    path.write_text("".join(json.dumps(reply) + "\n" for reply in replies))
    return path


def score(file: Path, output: Path, *more: str) -> int:
    data = [] if "--data_dir" in more else ["--data_dir", str(SAMPLE_DATA)]
    return main(["score", "--replies", str(file), "--output_dir", str(output), *data, *more])


def test_our_own_replies_get_the_line_that_they_have_to_the_last_digit(ours, tmp_path):
    file = ours / told(ours)["settings"]["tests"][TEST]["replies"]["IDL"]
    assert score(file, tmp_path / "out", "--report", str(ours), "--name", "again") == 0
    line, again = lines_of(ours)["IDL"], lines_of(tmp_path / "out")["again"]
    assert line["values"].keys() == set(COLUMNS) - {"corpus_distinct_1"}
    assert again["values"] == {key: values for key, values in line["values"].items() if key != "nll"}
    assert again["whole"] == line["whole"] != {}
    assert set(again["rows"].values()) == {8}
    note = "again is a file of replies, which has no log-probs, so there is no NLL, persona gain and identification"
    assert any(note in text for text in told(tmp_path / "out")["notes"])


def test_what_a_report_calls_a_line_s_file_holds_what_it_replied_and_where(ours, sample_data):
    sessions = EvaluationData(f"idl_hf/{TEST}", str(sample_data)).sessions()
    turns = {(row["person_id"], row["dialogue_id"]): row["turns"] for row in sessions}
    examples = told(ours)["examples"]
    for name, replies in replies_of(ours).items():
        assert len(replies) == 8
        shown = {example["the person"]: example[name] for example in examples}
        golds = []
        for reply in replies:
            said = turns[reply["person_id"], reply["dialogue_id"]]
            assert said[reply["turn"]]["role"] == "self"
            golds.append(said[reply["turn"]]["text"])
            assert shown.get(golds[-1], reply["text"]) == reply["text"]
        assert set(shown) <= set(golds)


def test_the_persons_own_replies_are_better_than_ours_and_have_the_dagger(ours, sample_data, tmp_path):
    spoken = EvaluationData(f"idl_hf/{TEST}", str(sample_data)).spoken()
    texts = {(key.dialogue_id, reply.turn): reply.text for key, replies in spoken.items() for reply in replies}
    places = [(reply["dialogue_id"], reply["turn"]) for reply in next(iter(replies_of(ours).values()))]
    theirs = [{"dialogue_id": name, "turn": turn, "text": texts[name, turn]} for name, turn in reversed(places)]
    theirs[0]["text"] += " indeed"
    assert score(write(tmp_path / "gold.jsonl", theirs), tmp_path / "out", "--report", str(ours)) == 0
    assert not any(str(tmp_path) in (tmp_path / "out" / name).read_text() for name in ("report.json", "report.md"))
    (table,) = told(tmp_path / "out")["tables"]
    before = lines_of(ours)
    assert [line["name"] for line in table["lines"]] == [*before, "gold"]
    assert table["lines"][2]["role"] == "theirs"
    for key in ("bleu_1", "rouge_l"):
        assert sorted(table["lines"][2]["values"][key].values())[1:] == [1.0] * 3
    assert table["lines"][2]["values"]["author"] == table["lines"][2]["values"]["author_ceiling"]
    tests = {entry["line"]: entry["test"] for entry in table["results"] if entry["column"] == "bleu_1"}
    assert tests["gold"]["against"] == list(before)[1]
    assert tests["gold"]["dagger"]
    assert tests[list(before)[1]]["against"] == "gold"
    assert tests[next(iter(before))] is None
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert names == {"report.html", "report.md", "report.json", "places", "replies", "measured.sqlite"}
    # ... and beside these two others
    other = write(tmp_path / "other.jsonl", [{**reply, "text": "hm ."} for reply in theirs])
    assert score(other, tmp_path / "more", "--report", str(tmp_path / "out")) == 0
    assert list(lines_of(tmp_path / "more")) == [*before, "gold", "other"]
    assert lines_of(tmp_path / "more")["gold"] == lines_of(tmp_path / "out")["gold"]


def test_a_report_that_is_published_without_texts_says_where_to_reply(ours, tmp_path):
    """As --texts false writes it."""

    def silent(report):
        report["settings"]["tests"][TEST]["replies"] = {}

    published = copied(ours, tmp_path / "published", silent)
    shutil.rmtree(published / "replies")
    places = list(map(json.loads, (published / "places" / f"{TEST}.jsonl").read_text().splitlines()))
    assert places == [
        {key: value for key, value in reply.items() if key != "text"} for reply in replies_of(ours)["IDL"]
    ]
    file = ours / "replies" / "IDL.jsonl"
    assert score(file, tmp_path / "out", "--report", str(published), "--name", "again") == 0
    assert lines_of(tmp_path / "out")["again"]["values"]["p_co"] == lines_of(ours)["IDL"]["values"]["p_co"]
    assert {name for example in told(tmp_path / "out")["examples"] for name in example} == {
        "partner", "the person", "again",
    }  # fmt: skip


def test_what_is_wrong_with_a_file_is_told_by_line_at_once(ours, tmp_path, capsys):
    good = [
        {key: reply[key] for key in ("dialogue_id", "turn", "text")} for reply in next(iter(replies_of(ours).values()))
    ]
    foreign = [{**good[0], "turn": good[0]["turn"] + 1}, {**good[0], "dialogue_id": "nobody's"}]
    file = write(tmp_path / "r.jsonl", [*good[2:], *foreign, good[3], {**good[4], "text": "other"}])
    assert score(file, tmp_path / "out", "--report", str(ours)) == 1
    problem = capsys.readouterr().err
    first, second = (f"turn {reply['turn']} of '{reply['dialogue_id']}'" for reply in good[:2])
    assert f"in 8 places. 2 are missing: {first}, {second}. " in problem
    assert re.search(
        r"2 are double, to what an earlier line replies to: turn .* \(line 9\), turn .* \(line 10\)\. ", problem
    )
    assert re.search(
        r"2 are to no reply of a person in the split: turn .* \(line 7\), turn 1 of 'nobody's' \(line 8\)", problem
    )
    assert "empty" not in problem
    assert not (tmp_path / "out").exists()


def test_empty_replies_are_scored_and_told_by_line_unless_all_are(ours, tmp_path, capsys):
    good = next(iter(replies_of(ours).values()))
    some = [{**reply, "text": " " if place < 4 else reply["text"]} for place, reply in enumerate(good)]
    assert score(write(tmp_path / "some.jsonl", some), tmp_path / "out", "--report", str(ours)) == 0
    notes = told(tmp_path / "out")["notes"]
    assert any(
        re.match(r"some.jsonl: 4 are empty, and scored as such: turn .* \(line 3\), 1 more\.$", note) for note in notes
    )
    assert "4 of 8 replies are empty, and scored as such: some." in notes
    values = lines_of(tmp_path / "out")["some"]["values"]
    assert values["rouge_l"].keys() == next(iter(lines_of(ours).values()))["values"]["rouge_l"].keys()
    none = write(tmp_path / "none.jsonl", [{**reply, "text": ""} for reply in good])
    capsys.readouterr()
    assert score(none, tmp_path / "none", "--report", str(ours)) == 1
    assert re.search(r"8 are empty, which is all of them: .* \(line 3\), 5 more\.", capsys.readouterr().err)


def test_a_file_that_replies_to_all_of_the_split_serves_any_report(ours, sample_data, tmp_path):
    spoken = EvaluationData(f"idl_hf/{TEST}", str(sample_data)).spoken()
    all_of_it = [
        {"dialogue_id": key.dialogue_id, "turn": reply.turn, "text": f"well , {reply.turn} ."}
        for key, replies in spoken.items()
        for reply in replies
    ]
    file = write(tmp_path / "all.jsonl", all_of_it)
    assert score(file, tmp_path / "out", "--report", str(ours)) == 0
    note = f"all.jsonl: {len(all_of_it) - 8} more replies are in places that are not asked for, and are not scored."
    assert note in told(tmp_path / "out")["notes"]
    where = ["--dataset_name", f"idl_hf/{TEST}", "--data_dir", str(sample_data), "--encoder", "offline"]
    assert score(file, tmp_path / "alone", *where, "--name", "they") == 0
    (line,) = lines_of(tmp_path / "alone").values()
    assert line["rows"]["bleu_1"] == len(all_of_it)
    assert len(line["values"]["bleu_1"]) == 4
    assert score(file, tmp_path / "eight", *where, "--generated_replies", "8") == 0
    assert lines_of(tmp_path / "eight")["all"]["rows"]["bleu_1"] == 8


def test_nothing_is_written_over_and_no_line_has_the_name_of_another(ours, tmp_path, capsys):
    file = next(ours.glob("replies/*IDL*"))
    before = (ours / "report.json").read_bytes()
    assert score(file, ours, "--report", str(ours)) == 1
    assert "holds a report, which would be lost. Pass another --output_dir." in capsys.readouterr().err
    name = next(iter(lines_of(ours)))
    assert score(file, tmp_path / "out", "--report", str(ours), "--name", name) == 1
    assert f"The report has a line '{name}'. Pass --name" in capsys.readouterr().err
    assert (ours / "report.json").read_bytes() == before


def copied(ours: Path, folder: Path, change) -> Path:
    """Return a copy of a report in which something is changed."""
    shutil.copytree(ours, folder, ignore=shutil.ignore_patterns("*.sqlite"))
    content = told(folder)
    change(content)
    (folder / "report.json").write_text(json.dumps(content))
    return folder


def test_replies_get_a_line_in_each_group_and_at_each_position(ours, tmp_path):
    file = next(ours.glob("replies/*IDL*"))

    def grouped(report):
        for line in report["tables"][0]["lines"]:
            line["group"] = "near" if line["role"] == "ours" else "far"

    def on_curves(report):
        for x, line in enumerate(report["tables"][0]["lines"]):
            line |= {"x": x, "group": "IDL"}

    groups, curves = copied(ours, tmp_path / "groups", grouped), copied(ours, tmp_path / "curves", on_curves)
    assert score(file, tmp_path / "1", "--report", str(groups), "--name", "they") == 0
    lines = told(tmp_path / "1")["tables"][0]["lines"]
    assert [(line["name"], line["group"]) for line in lines[2:]] == [("they", "far"), ("they", "near")]
    assert score(file, tmp_path / "2", "--report", str(curves), "--name", "they") == 0
    lines = told(tmp_path / "2")["tables"][0]["lines"]
    assert [(line["name"], line["group"], line["x"]) for line in lines[2:]] == [
        ("they, 0", "they", 0),
        ("they, 1", "they", 1),
    ]


def test_a_third_system_is_scored_beside_one_whose_replies_are_all_that_a_curve_shows(ours, tmp_path):
    def published(report):
        report["settings"]["tests"][TEST]["replies"] = {}
        for x, line in enumerate(report["tables"][0]["lines"]):
            line |= {"x": x, "group": "IDL"}

    file, curves = ours / "replies" / "IDL.jsonl", copied(ours, tmp_path / "curves", published)
    assert score(file, tmp_path / "1", "--report", str(curves), "--name", "they") == 0
    assert score(file, tmp_path / "2", "--report", str(tmp_path / "1"), "--name", "more") == 0
    assert [line["name"] for line in told(tmp_path / "2")["tables"][0]["lines"]][4:] == ["more, 0", "more, 1"]


def test_a_report_on_several_corpora_is_asked_which(ours, tmp_path, capsys):
    def doubled(report):
        report["settings"]["tests"] = {"movie_idl": report["settings"]["tests"][TEST], **report["settings"]["tests"]}
        report["tables"].insert(0, {**report["tables"][0], "title": "another"})

    both, file = copied(ours, tmp_path / "both", doubled), next(ours.glob("replies/*IDL*"))
    assert score(file, tmp_path / "out", "--report", str(both), "--name", "they") == 1
    assert (
        f"The report has replies on movie_idl, {TEST}. Pass one of them as --dataset_name." in capsys.readouterr().err
    )
    assert (
        score(file, tmp_path / "out", "--report", str(both), "--name", "they", "--dataset_name", f"idl_hf/{TEST}") == 0
    )
    assert [table["title"] for table in told(tmp_path / "out")["tables"]] == [told(ours)["tables"][0]["title"]]


def test_other_dialogues_than_the_report_s_are_refused(ours, sample_data, tmp_path, capsys):
    (tmp_path / "data").mkdir()
    for name in ("train", "validation"):
        text = (sample_data / f"{name}.jsonl").read_text(encoding="utf-8")
        (tmp_path / "data" / f"{name}.jsonl").write_text(text.replace("the", "teh"), encoding="utf-8")
    file = next(ours.glob("replies/*IDL*"))
    more = ["--report", str(ours), "--name", "they", "--data_dir", str(tmp_path / "data")]
    assert score(file, tmp_path / "out", *more) == 1
    assert "was made of other dialogues than these. Pass --data_dir with" in capsys.readouterr().err


def test_replies_that_do_not_score_as_their_report_says_are_refused(ours, tmp_path, capsys):
    changed = copied(ours, tmp_path / "changed", lambda report: None)
    first, *others = replies_of(ours)["System"]
    write(changed / "replies" / "System.jsonl", [{**first, "text": "I did it on the ridge."}, *others])
    file = ours / "replies" / "IDL.jsonl"
    assert score(file, tmp_path / "out", "--report", str(changed), "--name", "they") == 1
    assert "do not score as its report says: they were changed, or scored by another" in capsys.readouterr().err
    write(changed / "replies" / "System.jsonl", others)
    assert score(file, tmp_path / "out", "--report", str(changed), "--name", "they") == 1
    assert "do not score as its report says" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("more", "problem"),
    [
        (["--report", "nowhere"], "There is no report.json in 'nowhere'"),
        (["--report", "nowhere", "--split", "test"], "--split cannot be combined with --report"),
        (["--generated_replies", "0"], "--generated_replies must be 1 or more, found 0"),
        (["--replies", "nothing.jsonl"], "There is no file of replies 'nothing.jsonl'."),
    ],
)
def test_a_wrong_word_is_answered_in_a_sentence(more, problem, ours, tmp_path, capsys):
    assert score(next(ours.glob("replies/*IDL*")), tmp_path / "out", *more) == 1
    assert problem in capsys.readouterr().err


def test_a_report_without_replies_or_of_another_kind_is_refused(ours, tmp_path, capsys):
    file = next(ours.glob("replies/*IDL*"))

    def without(report):
        report["settings"]["tests"][TEST] |= {"places": None, "replies": {}}

    for number, change in enumerate((without, lambda report: report["settings"].pop("tests"))):
        bare = copied(ours, tmp_path / str(number), change)
        assert score(file, tmp_path / "out", "--report", str(bare), "--name", "they") == 1
        assert "holds no replies to compare with. Run `idl-hf evaluate` again" in capsys.readouterr().err
    strange = copied(ours, tmp_path / "strange", lambda report: report.pop("tables"))
    assert score(file, tmp_path / "out", "--report", str(strange), "--name", "they") == 1
    assert "Expected a report.json of this version of idl_hf" in capsys.readouterr().err
