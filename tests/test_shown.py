"""What reaches a terminal, a card or a page: no control character, no path of this machine."""

import contextlib
import io
import json
import logging
import unicodedata
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from datasets import Dataset, DatasetDict, DatasetInfo
from huggingface_hub import DatasetCard, ModelCard
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from idl_hf import cli
from idl_hf.chat import terminal
from idl_hf.dpoc.card import append_section
from idl_hf.explore.charts import bars, histogram
from idl_hf.hub.cards import complete_adapter_card, complete_dataset_card, name_in_report
from idl_hf.models.generation import GenerationSettings
from idl_hf.report.html import render
from idl_hf.report.markdown import plain
from idl_hf.report.page_frame import frame
from idl_hf.shown import is_path, path_from_here, visible, without_paths
from tests.report.handmade import report as handmade_report

NASTY = [
    "\x1b[2J",
    "\x1b]0;title\x07",
    "\x9b31m",
    "\x00",
    "\r",
    "\x08",
    "\x7f",
    "\u202e",
    "\u2066",
    "\u200f",
    "\ud800",
]
texts = st.text(st.characters() | st.sampled_from("\x1b\x9b\x07\u202e\u2068"), max_size=30) | st.sampled_from(NASTY)


def steers(text: str) -> str:
    """What of a text would steer a terminal, or turn the writing."""
    bidirectional = {"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"}
    return "".join(
        character
        for character in text
        if (unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp") and character not in "\n\t")
        or unicodedata.bidirectional(character) in bidirectional
    )


# Terminals


@given(texts)
@example("".join(NASTY))
def test_no_text_steers_a_terminal_and_none_is_lost(text):
    assert steers(visible(text)) == ""
    assert json.loads(visible(json.dumps(text, ensure_ascii=False))) == text
    assert "".join(map(visible, text)) == visible(text)  # piece by piece, as a reply is streamed


@given(texts)
@settings(max_examples=50)
def test_neither_an_error_nor_a_log_of_a_verb_steers_the_terminal(text):
    def fail(name, words):
        logging.getLogger("idl_hf.rows").warning(f"left out 1 x {text}")
        raise ValueError(text)

    said, root = io.StringIO(), logging.getLogger()
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stderr(said):
        patch.setattr(cli, "_run", fail)
        patch.setattr(root, "handlers", [])
        assert cli.main(["stats"]) == 1
    assert said.getvalue().count(visible(text)) >= 2
    assert steers(said.getvalue()) == ""


def write_logs(folder: Path, text: str) -> Path:
    said = [("dogs", "any pets ?"), ("sons", "and you ?"), ("bikes", "how do you get about ?")]
    folder.mkdir()
    for split in ("train", "validation"):
        lines = []
        for i, (own, asked) in enumerate(said):
            turns = [{"role": "partner", "text": asked + text}, {"role": "self", "text": f"my {split} {own} {text}"}]
            lines.append({"person_id": f"ann{text}", "dialogue_id": f"{i}{text}", "turns": turns})
        (folder / f"{split}.jsonl").write_text("\n".join(map(json.dumps, lines)))
    return folder / "train.jsonl"


@pytest.mark.parametrize("verb", ["show", "stats", "extract", "person", "sentence"])
def test_what_people_wrote_does_not_steer_the_terminal(verb, tmp_path, capfd):
    nasty = "".join(NASTY[:3] + NASTY[5:-1])
    file = write_logs(tmp_path / "logs", nasty)
    options = json.dumps({"encoder": "offline"})
    dataset = ["--dataset_name", "idl_hf/dialogues_idl", "--data_dir", str(file.parent), "--dataset_options", options]
    words = {
        "show": ["show", *dataset, "--target", f"0{nasty}"],
        "stats": ["stats", *dataset, "--configs", "sessions"],
        "extract": ["extract", str(file)],
        "person": ["show", *dataset, "--person", "nobody"],
        "sentence": ["extract", str(tmp_path / f"gone{nasty}")],
    }[verb]
    assert cli.main(words) == int(verb in ("person", "sentence"))
    said = "".join(capfd.readouterr())
    assert verb == "stats" or "\\u001b[2J" in said
    assert steers(said.replace("\r", "")) == ""  # progress bars go back to the start of their line


def test_a_chat_does_not_steer_the_terminal(tmp_path, monkeypatch, capsys):
    class Chat:
        """Says what nobody should print, one character at a time."""

        from_pretrained = classmethod(lambda cls, *_, **__: cls())
        generation, dialogues, references, dropped_references = GenerationSettings(), [], [], 0
        stream = lambda self, text: (character for character in "".join(NASTY))  # noqa: E731

        def with_person(self, person):
            self.person_id, self.dialogues = person.person_id, list(person.dialogues)
            self.references = self.dialogues
            return self

    lines = iter(["hello", "/references", "/forget", f"/{NASTY[0]}"])
    monkeypatch.setattr("idl_hf.chat.persona_chat.PersonaChat", Chat)
    monkeypatch.setattr("builtins.input", lambda _: next(lines, "/quit"))
    terminal.chat_in_terminal(terminal.ChatArguments("model", str(write_logs(tmp_path / "logs", NASTY[0]))))
    said = capsys.readouterr().out
    assert said.count("ann\\u001b[2J") >= 3
    assert steers(said) == ""


# Paths

names = st.from_regex(r"[A-Za-z][A-Za-z0-9_]{0,8}", fullmatch=True)
FORMS = [
    "/{parent}/{secret}/{name}", "~/{secret}/{name}", "~{secret}/{name}", "./{secret}/{name}", "../{secret}/{name}",
    "{secret}/{parent}/{name}", "C:\\{parent}\\{secret}\\{name}", "D:/{secret}/{name}",
    "\\\\{secret}\\{parent}\\{name}", "{secret}\\{name}", "file:///{secret}/{name}", "/{parent}/{secret}/{name}/",
]  # fmt: skip
paths = st.builds(
    lambda form, parent, name: form.format(parent=parent, secret="SECRETuser", name=name),
    st.sampled_from(FORMS),
    names,
    names,
)
begun = paths.filter(lambda path: not path.startswith(("S", "~S")))
spaced = begun.map(lambda path: path.replace("SECRETuser", "SECRET user"))


def dataset_card(description: str) -> str:
    rows = DatasetDict(train=Dataset.from_dict({"turns": ["hi"]}, info=DatasetInfo(description=description)))
    made = DatasetCard("---\nconfigs:\n- config_name: sessions\n---\n")
    complete_dataset_card(made, "ruth/rows", {"sessions": rows}, "")
    return str(made)


def adapter_card(text: str, trained_from: str, report: str) -> str:
    made = ModelCard(text)
    complete_adapter_card(made, "ruth/adapter", "ruth/base", trained_from, report)
    return str(made)


def training_card(folder: Path, text: str, values: dict) -> str:
    file = folder / "README.md"
    file.write_text(text, encoding="utf-8")
    append_section(file, "Rows", values)
    return file.read_text(encoding="utf-8")


@given(path=paths | spaced)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=100)
def test_no_card_holds_a_path_of_this_machine(path, tmp_path):
    last = without_paths(path)
    assert is_path(path)
    assert "user" not in last
    options = {"encoder": path, "inner": [path, {"x": path}], "text": json.dumps({"encoder": path})}
    report = f"| {plain(path)} (ours) | 3.0 |\n| option | {plain(json.dumps(options))} |\n| x | {plain(path)} |\n"
    front = yaml.safe_dump({"datasets": [path], "base_model": path})
    cards = [
        dataset_card(f"Talk.\n\nMade with: encoder={path!r}, extractor={path!r}, seed=0"),
        training_card(tmp_path, "# Card\n", {"dataset_name": path, "dataset_options": options}),
        adapter_card(f"---\n{front}---\n# Card\nmodel: '{path}'\n", path, name_in_report(report, tmp_path, "ruth/a")),
    ]
    for card in cards:
        assert "user" not in card
        assert last in card.replace("\\_", "_")
        assert "seed=0" in card or "# Card" in card


@given(paths.filter(lambda path: path[0] not in "S\\"))  # words with slashes and backslashes stand in any text
def test_no_report_holds_a_bare_path(path):
    report = name_in_report(f"- references: {plain(path)}; 5 of them, see ({plain(path)}).\n", Path(), "ruth/a")
    assert "SECRET" not in report


def test_a_folder_that_is_there_is_a_path_whatever_it_is_called(tmp_path, monkeypatch):
    (tmp_path / "runs" / "encoder").mkdir(parents=True)
    assert not is_path("runs/encoder")
    monkeypatch.chdir(tmp_path)
    assert without_paths({"encoder": "runs/encoder"}) == {"encoder": "encoder"}


@pytest.mark.parametrize(
    "text",
    [
        "sentence-transformers/all-mpnet-base-v2", "offline", "idl_hf/convai2_idl", "https://arxiv.org/abs/2403.03102",
        "train[:10]", "[In](https://arxiv.org/abs/2403.03102) and/or <br/> 3/4 of 5 / 6.\nIt's 'so' :/", "| a\\_b |",
        "`idl-hf msl --output_dir runs/msl`", "x = \"a\"; y = 'b/c'", "e.g. **bold** w/o a _line_",
    ],
)  # fmt: skip
def test_what_is_no_path_stays(text):
    assert without_paths(text) == text


# Pages and plots


def test_a_path_is_called_as_it_is_from_the_current_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert path_from_here(str(tmp_path / "runs" / "mia")) == "runs/mia"
    assert path_from_here(f"{tmp_path}-other/mia") == f"{tmp_path}-other/mia"
    assert [path_from_here(name) for name in ("offline", "ruth/mia")] == ["offline", "ruth/mia"]


LABELS = ["$", "$x_{$", "a$b^c_", "\\frac{", "_left", "^", "$$", "\\$", *NASTY, "<b>", "&"]


@pytest.mark.parametrize("label", LABELS)
def test_any_label_makes_a_plot(label):
    series = [label, "other"]
    plots = [histogram({name: [1, 2, 3] for name in series}, label), bars({label: dict.fromkeys(series, 2)}, label)]
    if len(label) < 8 and label.isprintable() and label not in ("<b>", "&"):
        assert plots[0].replace(">\xa0", ">").count(f">{label}<") == 2  # legend and caption
    assert_is_a_page(frame(label, plots))


@pytest.mark.parametrize("labels", [LABELS[start::7] for start in range(7)], ids=str)
def test_any_labels_make_a_report(labels):
    given_report = handmade_report()
    tables = [relabelled(table, label) for table, label in zip(given_report.tables, labels, strict=True)]
    assert_is_a_page(render(replace(given_report, title=labels[0], tables=tables))["report.html"])


def assert_is_a_page(page):
    assert "\x00" not in page
    assert not steers(page.encode().decode()).strip("\r\u202e\u2066")


def relabelled(table, label):
    columns = [replace(column, label=f"{column.label}{label}") for column in table.columns]
    lines = [replace(line, name=f"{line.name}{label}", group=f"{label}{line.group}") for line in table.lines]
    return replace(
        table, title=f"{table.title}{label}", columns=columns, lines=lines, x_label=f"{table.x_label}{label}"
    )
