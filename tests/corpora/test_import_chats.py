"""`idl-hf import`, as a user types it: what is written, what is counted, what is said of anything else."""

import contextlib
import io
import json
import os
import random
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
from datasets import load_dataset
from hypothesis import given, settings
from hypothesis import strategies as st
from trl import TrlParser

from idl_hf.chat.terminal import find_person
from idl_hf.cli import main
from idl_hf.command_line import parse
from idl_hf.corpora.exports.formats import formats, options_of
from idl_hf.corpora.import_chats import ImportArguments, import_chats, import_in_memory
from idl_hf.corpora.jsonl import read_dialogues
from idl_hf.fitting.fit import FitSettings
from tests.corpora.damage import overwritten
from tests.corpora.exports.samples import SAMPLES
from tests.corpora.exports.test_csv import IMAZING
from tests.corpora.exports.test_whatsapp import LOCALES

SEED, INPUTS = 0, 20_000
TEXTS = {
    **{f"whatsapp {name}": ("whatsapp", {"WhatsApp Chat with Ben.txt": text}) for name, (text, _) in LOCALES.items()},
    "csv": ("csv", {"messages.csv": IMAZING + IMAZING.partition("\n")[2] * 3}),
    **{name: (name, files) for name, files in SAMPLES.items()},
}
PIECES = [
    *(b"\n", b"\r", b"\0", b"\xff", b": ", b" - ", b"] ", b"[", b'"', b",", b";", b"\xe2\x80\x8e", b"\xe2\x80\xaf"),
    *(b"13/01/24, 21:05 - ", b"99/99/99, 99:99 - ", b"9" * 5000, b"<", b">", b"{", b"PM", b"\xd9\xa3", b"a" * 300),
    *(b"\xef\xbb\xbf", b"null", b"-1", b"\\ud800", b'""', b"PK\x03\x04"),
]


@pytest.fixture
def chat(tmp_path):
    """A chat of Ann and Ben over ten days, of which each evening is a session."""
    lines = [
        "13/01/24, 20:00 - Messages and calls are end-to-end encrypted. No one outside of this chat can read them."
    ]
    for day in range(10):
        date = f"{13 + day}/01/24"
        lines += [f"{date}, 21:05 - Ben: how was day {day}?", f"{date}, 21:06 - Ann: day {day} was fine"]
        lines += [f"{date}, 21:07 - Ann: really", f"{date}, 21:08 - Ben: <Media omitted>"]
    lines += ["30/01/24, 21:05 - Ben: anybody?", "31/01/24, 21:05 - Ben: This message was deleted"]
    path = tmp_path / "WhatsApp Chat with Ben.txt"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def lines_of(folder: Path, split: str) -> list[dict]:
    path = folder / f"{split}.jsonl"
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.exists() else []


def report_of(folder: Path) -> dict:
    return json.loads((folder / "import_report.json").read_text(encoding="utf-8"))


def test_a_chat_becomes_dialogues_a_report_and_the_next_command(chat, tmp_path, capsys):
    out = tmp_path / "my chats"
    assert main(["import", "auto", str(chat), "--me", "Ann", "--output_dir", str(out)]) == 0
    assert report_of(out) == {
        "format": "whatsapp", "messages": 43, "in_dialogues": 30,
        "dropped": {
            "deleted": 1, "media": 10, "message of a session in which one side is silent": 1, "system line": 1,
        },
        "dialogues": 10, "people": 1,
    }  # fmt: skip
    assert [line["dialogue_id"] for line in lines_of(out, "train")] == [f"Ben {i}" for i in range(1, 9)]
    assert [line["dialogue_id"] for line in lines_of(out, "validation")] == ["Ben 9", "Ben 10"]
    assert lines_of(out, "train")[0] == {
        "person_id": "Ann", "dialogue_id": "Ben 1", "partner_id": "Ben",
        "turns": [
            {"role": "partner", "text": "how was day 0?", "time": "2024-01-13T21:05:00"},
            {"role": "self", "text": "day 0 was fine\nreally", "time": "2024-01-13T21:06:00"},
        ],
    }  # fmt: skip
    said = capsys.readouterr().out
    assert "whatsapp (detected)" in said
    assert re.search(r"messages +43\nin dialogues +30\nleft out: media +10\n", said)
    assert said.count("Ann with Ben, 2024-01-") == 3
    assert said.endswith(f"  idl-hf fit '{out}' --person=Ann --output_dir '{out}'/fit\n")


def test_what_is_written_loads_with_times_and_partner(chat, tmp_path):
    main(["import", "whatsapp", str(chat), "--person", "Ann", "--output_dir", str(tmp_path / "out")])
    rows = load_dataset("idl_hf/dialogues_idl", "sessions", data_dir=str(tmp_path / "out"))
    assert {split: len(rows[split]) for split in rows} == {"train": 8, "validation": 2}
    assert rows["train"][0]["partner_id"] == "Ben"
    assert rows["train"][0]["turns"][1]["time"] == "2024-01-13T21:06:00"


def test_everybody_can_be_learnt(chat, tmp_path):
    main(["import", "auto", str(chat), "--person", "all", "--output_dir", str(tmp_path), "--validation", "0"])
    report = report_of(tmp_path)
    assert (report["people"], report["dialogues"], report["in_dialogues"]) == (2, 20, 30)
    assert {line["person_id"] for line in lines_of(tmp_path, "train")} == {"Ann", "Ben"}
    assert not (tmp_path / "validation.jsonl").exists()


def test_in_a_group_the_speakers_are_kept_and_the_group_is_the_partner(tmp_path):
    path = tmp_path / "WhatsApp Chat with Lake trip.txt"
    path.write_text("".join(f"13/01/24, 21:0{i} - {name}: hi {i}\n" for i, name in enumerate(("Ann", "Ben", "Cy"))))
    main(["import", "auto", str(path), "--person", "ben", "--output_dir", str(tmp_path / "out")])
    (line,) = lines_of(tmp_path / "out", "train")
    assert (line["person_id"], line["partner_id"]) == ("Ben", "Lake trip")
    assert [(turn["role"], turn.get("speaker")) for turn in line["turns"]] == [
        ("partner", "Ann"), ("self", None), ("partner", "Cy"),
    ]  # fmt: skip


def test_a_second_import_replaces_the_first_whole(chat, tmp_path, capsys):
    out = str(tmp_path / "out")
    main(["import", "auto", str(chat), "--me", "Ann", "--output_dir", out])
    assert "Written to" in capsys.readouterr().out
    assert main(["import", "auto", str(chat), "--me", "Ben", "--output_dir", out, "--validation", "0"]) == 0
    assert "Replaced the import in" in capsys.readouterr().out
    assert {line["person_id"] for line in lines_of(tmp_path / "out", "train")} == {"Ben"}
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["import_report.json", "train.jsonl"]


def test_files_that_no_import_wrote_are_left_alone(chat, tmp_path, capsys):
    (tmp_path / "train.jsonl").write_text("mine")
    assert main(["import", "auto", str(chat), "--me", "Ann", "--output_dir", str(tmp_path)]) == 1
    assert "holds files that no import wrote (train.jsonl)" in capsys.readouterr().err
    assert (tmp_path / "train.jsonl").read_text() == "mine"


def test_a_dry_run_writes_nothing(chat, tmp_path, capsys):
    out = tmp_path / "out"
    assert main(["import", "auto", str(chat), "--me", "Ann", "--output_dir", str(out), "--dry_run"]) == 0
    assert not out.exists()
    said = capsys.readouterr().out
    assert "in validation.jsonl" in said
    assert said.endswith("Nothing was written (--dry_run).\n")


def test_masks_reach_texts_speakers_and_ids(tmp_path):
    path = tmp_path / "WhatsApp Chat with +49 170 1234567.txt"
    path.write_text(
        "13/01/24, 21:05 - +49 170 1234567: mail ben@example.org, Ann\n13/01/24, 21:06 - Ann: ok ben@example.org\n"
    )
    out = tmp_path / "out"
    main(["import", "auto", str(path), "--me", "Ann", "--output_dir", str(out), "--mask", "--hide", "Ann"])
    (line,) = lines_of(out, "train")
    assert (line["person_id"], line["partner_id"], line["dialogue_id"]) == ("[name 1]", "[phone 1]", "[phone 1] 1")
    assert [turn["text"] for turn in line["turns"]] == ["mail [mail 1], [name 1]", "ok [mail 1]"]
    assert "1234567" not in (out / "train.jsonl").read_text()


def test_people_of_one_placeholder_have_dialogues_with_ids_of_their_own(tmp_path):
    path = tmp_path / "messages.csv"
    path.write_text("sender,text,chat\n" + "".join(f"{name},hi,{chat}\n" for chat in "12" for name in ("Ann", "ANN")))
    main(["import", "csv", str(path), "--me", "all", "--output_dir", str(tmp_path / "out"), "--mask", "--hide", "ann"])
    (dialogues,) = [list(read_dialogues(tmp_path / "out" / "train.jsonl"))]
    assert {dialogue.person_id for dialogue in dialogues} == {"[name 1]"}
    assert [dialogue.dialogue_id for dialogue in dialogues] == [f"[name 1] {i}" for i in (1, 2, 3, 4)]


def test_rows_that_are_malformed_are_counted_and_shown(tmp_path, capsys):
    path = tmp_path / "messages.csv"
    path.write_text("sender,text\nAnn,hi\nAnn,hi,there,you\nBen,hello\n")
    assert main(["import", "csv", str(path), "--me", "Ann", "--output_dir", str(tmp_path / "out")]) == 0
    report = report_of(tmp_path / "out")
    assert (report["messages"], report["in_dialogues"], report["dropped"]) == (3, 2, {"malformed": 1})
    assert f"malformed: {path}:3: Expected 2 columns" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("table", "account"),
    [
        ("time,sender,text\nnever,Ann,hi\nsoon,Ben,no\n", "holds no text of anybody. Of its 2 messages 0 are in"),
        ("time,sender,text\n,Ann,hi\nnever,Ben,no\n", "holds no session with a turn of each side. Of its 2 messages"),
    ],
)
def test_the_first_malformed_row_is_shown_where_nothing_is_left(tmp_path, capsys, table, account):
    path = tmp_path / "messages.csv"
    path.write_text(table)
    assert main(["import", "csv", str(path), "--me", "all", "--output_dir", str(tmp_path / "out")]) == 1
    said = capsys.readouterr().err
    assert account in said
    line = table.splitlines().index("never,Ann,hi" if "soon" in table else "never,Ben,no") + 1
    assert said.endswith(f"The first that is malformed: {path}:{line}: Expected a time, found 'never'.\n")


def test_text_messages_of_two_contacts_are_two_dialogues_of_mine(tmp_path):
    path, out = tmp_path / "sms.csv", tmp_path / "out"
    rows = ["Mo,1705179930000,1,hi", "Mo,1705179931000,2,yes", "Ida,1705179932000,1,hey", "Ida,1705179933000,2,no"]
    path.write_text("\n".join(["address,date,type,body", *rows, ""]))
    assert main(["import", "auto", str(path), "--me", "me", "--output_dir", str(out)]) == 0
    assert [(line["partner_id"], [turn["text"] for turn in line["turns"]]) for line in lines_of(out, "train")] == [
        ("Mo", ["hi", "yes"]), ("Ida", ["hey", "no"]),
    ]  # fmt: skip


def test_of_two_people_with_one_name_the_first_has_it_and_the_other_is_mentioned(tmp_path, capsys):
    chats = [
        {"name": f"chat {number}", "type": "personal_chat", "id": number, "messages": [
            {"type": "message", "date": "", "from": name, "from_id": identity, "text": f"{identity} here"}
            for name, identity in (("Ben", "user3"), ("Anna", f"user{number}"))
        ]} for number in (1, 2)
    ]  # fmt: skip
    path = tmp_path / "result.json"
    path.write_text(json.dumps({"about": "x", "chats": {"list": chats}}))
    for person, said, noted in (("Anna", "user1 here", True), ("Anna (user2)", "user2 here", False)):
        out = tmp_path / person
        assert main(["import", "auto", str(path), "--person", person, "--output_dir", str(out)]) == 0
        (line,) = lines_of(out, "train")
        assert (line["person_id"], line["turns"][1]["text"]) == (person, said)
        note = "1 x message of 'Anna (user2)', who is told apart from 'Anna': --person takes either"
        assert (note in capsys.readouterr().out) == noted


@pytest.mark.parametrize("name", ["-x", "--mask", "Ann\u200f", "it's Ann", "A\u202enn Lee"])
def test_the_printed_command_finds_the_person(tmp_path, capsys, name):
    path, out = tmp_path / "messages.csv", tmp_path / "out"
    path.write_text(f"sender,text\nBen,hi\n{name},yes\nBen,so\nann,no\n", encoding="utf-8")
    assert main(["import", "csv", str(path), f"--person={name}", "--output_dir", str(out)]) == 0
    program, verb, folder, *rest = shlex.split(capsys.readouterr().out.splitlines()[-1])
    assert (program, verb, folder) == ("idl-hf", "fit", str(out))
    (settings,) = parse(TrlParser(FitSettings), ["--data_dir", folder, *rest])
    assert find_person(out, settings.person).person_id == name


def test_a_name_as_a_terminal_shows_it_is_the_name(tmp_path):
    path, out = tmp_path / "messages.csv", tmp_path / "out"
    path.write_text("sender,text\nAnn,hi\nAnn\u200f,yes\n", encoding="utf-8")
    assert main(["import", "csv", str(path), "--me", r"Ann\u200f", "--output_dir", str(out)]) == 0
    assert {line["person_id"] for line in lines_of(out, "train")} == {"Ann\u200f"}


@pytest.mark.parametrize("place", [0, 1, 2])
def test_an_import_that_was_killed_can_be_run_again(chat, tmp_path, monkeypatch, place):
    """Of the three files only so many take their places."""
    out, replaced = tmp_path / "out", []

    def replace(partial, target):
        if len(replaced) == place:
            raise KeyboardInterrupt
        replaced.append(os.replace(partial, target))

    words = ["import", "auto", str(chat), "--me", "Ann", "--output_dir", str(out)]
    with monkeypatch.context() as patched:
        patched.setattr(Path, "replace", replace)
        with pytest.raises(KeyboardInterrupt):
            import_chats(ImportArguments("auto", str(chat), "Ann", str(out)))
    assert len(list(out.iterdir())) == place
    assert main(words) == 0
    assert {path.name for path in out.iterdir()} == {"train.jsonl", "validation.jsonl", "import_report.json"}


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (
            ["--me", "Anna"],
            "Nobody in 'FILE' is called 'Anna'. --person takes all or one of: 'Ann' (20 messages), 'Ben' (11",
        ),
        (["--me", "Ann", "--burst", "soon"], "--burst must be a duration such as 30s, 5m, 6h or 2d, found 'soon'."),
        (["--me", "Ann", "--max_turns", "1"], "--max_turns must be at least 2"),
        (["--me", "Ann", "--validation", "1"], "--validation must be a share"),
        (["--me", "Ann", "--text_column", "x"], "The format whatsapp has no use for --text_column."),
        (["--me", "Ann", "--hide", "Ben"], "Pass --mask too."),
        (["--me", "Ann", "--pause", "0s", "--burst", "0s"], "holds no session with a turn of each side. Of its 43"),
    ],
)
def test_what_cannot_be_done_is_told_and_nothing_is_written(chat, tmp_path, capsys, words, problem):
    assert main(["import", "auto", str(chat), "--output_dir", str(tmp_path / "out"), *words]) == 1
    assert problem in capsys.readouterr().err.replace(str(chat), "FILE")
    assert not (tmp_path / "out").exists()


def test_the_formats_are_told_where_a_file_is_of_none(chat, tmp_path, capsys):
    strange = tmp_path / "strange.bin"
    strange.write_bytes(bytes(range(256)) * 9)
    rest = ["--me", "Ann", "--output_dir", str(tmp_path / "out")]
    listed = ", ".join(formats())
    for words, problem in (
        (["auto", str(strange)], f"'{strange}' is in none of the formats that are known: {listed}."),
        (
            ["auto", str(tmp_path / "none")],
            f"'{tmp_path / 'none'}' does not exist. Expected a chat export; the formats",
        ),
        (["whatsap", str(chat)], f"Unknown format 'whatsap'. Did you mean whatsapp? The formats are: auto, {listed}."),
        ([str(chat), "auto"], f"Unknown format '{chat}'. The format comes before the file. The formats are"),
    ):
        assert main(["import", *words, *rest]) == 1
        assert problem in capsys.readouterr().err


def test_each_format_is_found_in_its_samples_and_in_no_other(tmp_path):
    assert {name for name, _ in TEXTS.values()} == set(formats())
    for number, (name, files) in enumerate(TEXTS.values()):
        path = written(tmp_path / str(number), {file: text.encode() for file, text in files.items()})
        made = imported("auto", path, tmp_path / f"out {number}")
        assert made["format"] == name


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("half.zip", b"PK\x03\x04 and no more", "found: File is not a zip file"),
        ("chat.txt", "13/01/24, 21:05 - Ann: hi\n".encode("utf-16"), "found UTF-16"),
        ("table.csv", b"from,text\nJos\xe9,hi\n", "Expected UTF-8 text, found the byte 0xe9"),
        ("table.csv", b"who,what\nAnn,hi\n", "--text_column and --speaker_column"),
    ],
)
def test_why_a_file_is_of_none_is_told(tmp_path, capsys, name, content, reason):
    (tmp_path / name).write_bytes(content)
    words = ["import", "auto", str(tmp_path / name), "--person", "all", "--output_dir", str(tmp_path / "out")]
    assert main(words) == 1
    assert reason in capsys.readouterr().err


def test_who_sent_something_by_a_bot_is_there(tmp_path):
    said = [("Ann", {}), ("Ben", {}), ("Cem", {"via_bot": "@gif"}), ("Ann", {})]
    messages = [
        {
            "id": i,
            "type": "message",
            "date": f"2024-03-09T21:0{i}:00",
            "from": name,
            "from_id": name,
            "text": "hi",
            **more,
        }
        for i, (name, more) in enumerate(said)
    ]
    path = tmp_path / "result.json"
    path.write_text(json.dumps({"name": "Trio", "type": "private_group", "id": 1, "messages": messages}))
    (dialogue,) = import_in_memory(ImportArguments("telegram", str(path), "Ben", "")).dialogues
    assert dialogue.partner_id == "Trio"


@pytest.mark.parametrize("role", ["tool", "function"])
def test_a_tool_makes_no_group_of_two(tmp_path, role):
    said = [{"role": "user", "content": "hi"}, {"role": role, "content": "{}"}, {"role": "assistant", "content": "yo"}]
    path = tmp_path / "chats.jsonl"
    path.write_text(json.dumps({"messages": said}) + "\n")
    (dialogue,) = import_in_memory(ImportArguments("openai", str(path), "user", "")).dialogues
    assert dialogue.partner_id == "assistant"


def test_what_is_written_is_for_its_owner_and_remains_are_removed(chat, tmp_path):
    folder = tmp_path / "out"
    assert main(["import", "whatsapp", str(chat), "--person", "Ann", "--output_dir", str(folder)]) == 0
    remains = folder / ".train.jsonl.999999999-12345678.partial"  # of a process that was killed
    ours = folder / f".train.jsonl.{os.getpid()}-12345678.partial"
    for file in (remains, ours):
        file.write_text("secret")
    assert main(["import", "whatsapp", str(chat), "--person", "Ann", "--output_dir", str(folder)]) == 0
    assert [file.exists() for file in (remains, ours)] == [False, True]
    ours.unlink()
    remains = folder / ".validation.jsonl.999999999-12345678.partial"
    remains.write_text("secret")
    words = ["import", "whatsapp", str(chat), "--person", "Ann", "--output_dir", str(folder), "--validation", "0"]
    assert main(words) == 0
    assert not remains.exists()
    assert {oct(file.stat().st_mode & 0o777) for file in folder.iterdir()} == {"0o600"}


def test_the_options_of_readers_are_options_of_the_verb():
    known = set(ImportArguments.__dataclass_fields__)
    assert all(set(options_of(name)) <= known for name in formats())


# Anything at all


def written(folder: Path, files: dict[str, bytes]) -> Path:
    for file, content in files.items():
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / file).write_bytes(content)
    return folder if len(files) > 1 else folder / next(iter(files))


def imported(name: str, path: Path, out: Path) -> dict:
    """Import for everybody, check that all messages are accounted for and that the lines are read; the report."""
    order = "dmy" if "date_order" in options_of(name if name != "auto" else "csv") and name != "auto" else None
    with contextlib.redirect_stdout(io.StringIO()):
        import_chats(ImportArguments(name, str(path), "all", str(out), date_order=order))
    report = report_of(out)
    assert set(report) == {"format", "messages", "in_dialogues", "dropped", "dialogues", "people"}
    assert report["messages"] == report["in_dialogues"] + sum(report["dropped"].values())
    files = [out / f"{split}.jsonl" for split in ("train", "validation")]
    dialogues = [dialogue for file in files if file.exists() for dialogue in read_dialogues(file)]
    assert len(dialogues) == report["dialogues"] > 0
    assert len({dialogue.person_id for dialogue in dialogues}) <= report["people"]
    assert all({turn.role for turn in dialogue.turns} == {"self", "partner"} for dialogue in dialogues)
    return report


def one_input(sample: str, folder: Path, rng: random.Random) -> str:
    """Import an export that was changed at random; return whether it gave rows or a sentence."""
    name, texts = TEXTS[sample]
    files = {file: text.encode() for file, text in texts.items()}
    file = rng.choice(list(files))
    path = written(folder / "export", files | {file: overwritten(files[file], rng, PIECES)})
    try:
        imported(name, path, folder / "out")
    except ValueError as error:
        sentence = str(error)
        assert sentence.endswith("."), sentence
        assert len(sentence) < 1000
        assert "\n" not in sentence
        return "sentence"
    return "rows"


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> Iterator[dict[str, Path]]:
    return {sample: tmp_path_factory.mktemp("import") for sample in TEXTS}


@pytest.mark.parametrize("sample", TEXTS)
@given(st.integers(0, 2**32))
@settings(max_examples=40, deadline=None)
def test_a_changed_export_gives_rows_or_a_sentence(folders, sample, seed):
    one_input(sample, folders[sample], random.Random(seed))


@pytest.mark.slow
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("name", formats())
def test_twenty_thousand_changed_exports_give_rows_or_a_sentence(folders, name):
    rng, samples = random.Random(f"{SEED} {name}"), [sample for sample in TEXTS if TEXTS[sample][0] == name]
    outcomes = [one_input(samples[i % len(samples)], folders[samples[i % len(samples)]], rng) for i in range(INPUTS)]
    counts = {outcome: outcomes.count(outcome) for outcome in sorted(set(outcomes))}
    print(f"\n{name}, seed {SEED}: {counts}")
    assert counts["rows"] > INPUTS / 100


def test_in_memory_it_is_what_would_be_written(chat, tmp_path, capsys):
    args = ImportArguments("auto", str(chat), "all", str(tmp_path / "out"), validation=0.5)
    import_chats(args)
    printed = capsys.readouterr().out
    imported = import_in_memory(args)
    files = [tmp_path / "out" / f"{split}.jsonl" for split in ("train", "validation")]
    written = {own.dialogue_id + own.person_id: own.turns for file in files for own in read_dialogues(file)}
    assert {own.dialogue_id + own.person_id: own.turns for own in imported.dialogues} == written
    assert [line for line in imported.account.lines() if line not in printed.splitlines()] == []
    assert imported.account.numbers["dialogues"] == len(written) > 0
