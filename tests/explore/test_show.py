"""What `idl-hf show` prints of a person is what the rows hold."""

import json
import re
from html import unescape

import pytest
from datasets import load_dataset
from trl import TrlParser

from idl_hf.conved import pairwise_conved
from idl_hf.corpora.errors import CorpusError
from idl_hf.explore.show import ShowArguments, describe, load_person, show_person
from idl_hf.persona import patterns, triples
from idl_hf.prompting import PROFILE_PROMPT, SILENCE, fit_to_budget
from idl_hf.registration import dataset_names
from tests.report.html_elements import Elements

DATASET = "idl_hf/dialogues_idl"
CORPORA = {"convai2_idl": "convai2", "light_idl": "light", "movie_idl": "cornell", "msc_idl": "msc"}


@pytest.fixture(scope="module")
def arguments(sample_data):
    """ShowArguments of the sample data with the offline encoder."""

    def make(**changes) -> ShowArguments:
        return ShowArguments(
            **({"dataset_name": DATASET, "data_dir": str(sample_data), "encoder": "offline"} | changes)
        )

    return make


@pytest.fixture
def shown(arguments, capsys):
    """The lines that are printed."""

    def call(**changes) -> list[str]:
        show_person(arguments(**changes))
        return capsys.readouterr().out.splitlines()

    return call


@pytest.fixture
def folder(tmp_path):
    """ann opens her dialogues herself; bob has one dialogue, and cy says nothing in one and the same in two."""
    ann = [("self", "i have two dogs ."), ("partner", "nice !"), ("self", "\x1b[2J they are old ."), ("partner", "oh")]
    said = [
        *(("ann", [*ann, ("self", f"number {number} says bye .")]) for number in range(3)),
        ("bob", [("partner", "hi"), ("self", "i live in maine .")]),
        ("cy", [("partner", "hi"), ("self", "hello")]),
        ("cy", [("partner", "hi"), ("self", "hello")]),
        ("cy", [("partner", "hi")]),
        ("cy", [("partner", "pets ?"), ("self", "i have a cat .")]),
    ]
    records = [
        {
            "person_id": who,
            "dialogue_id": f"{who}-{i}",
            "turns": [{"role": role, "text": text} for role, text in turns],
        }
        for i, (who, turns) in enumerate(said)
    ]
    (tmp_path / "train.jsonl").write_text("\n".join(map(json.dumps, records)))
    return tmp_path


@pytest.fixture(scope="module")
def row(sample_data):
    """A row of the built dataset with several references."""
    options = {"data_dir": str(sample_data), "encoder": "offline", "targets": "all"}
    rows = load_dataset(DATASET, "msl", split="validation", **options)
    return max(rows, key=lambda row: len(row["reference_ids"]))


def numbered(lines: list[str]) -> list[list[str]]:
    """The lines of references: [name, convED to the one before, convED to the context]."""
    return [line.split()[1:] for line in lines if re.match(r"  \d+\. ", line)]


def test_the_order_shown_is_that_of_the_row(shown, row):
    lines = numbered(shown(person=row["person_id"], target=row["dialogue_id"]))
    assert len(lines) >= 3
    assert [name for name, _, _ in lines] == row["reference_ids"]


@pytest.mark.parametrize(
    "options", [{}, {"reply": "all", "order": "random"}, {"preset": "release"}, {"conditioning": "random", "seed": 3}]
)
def test_a_person_alone_has_the_rows_that_the_whole_dataset_has(arguments, sample_data, options):
    view = load_person(arguments(index=2, dataset_options=json.dumps(options)))
    everything = {"data_dir": str(sample_data), "encoder": "offline", **options, "targets": "all"}
    built = load_dataset(DATASET, "msl", split="validation", **everything)
    assert list(view.rows.values()) == [row for row in built if row["person_id"] == view.person.person_id]


def test_the_distances_shown_are_conved(shown, row, sample_data, encoder):
    lines = numbered(shown(person=row["person_id"], target=row["dialogue_id"], dataset_options={"scale": 2.5}))
    sessions = load_dataset(DATASET, "sessions", split="validation", data_dir=str(sample_data))
    turns = {session["dialogue_id"]: session["turns"] for session in sessions}
    last_reply = max(i for i, turn in enumerate(turns[row["dialogue_id"]]) if turn["role"] == "self")
    dialogues = [*(turns[name] for name, _, _ in lines), turns[row["dialogue_id"]][:last_reply]]
    texts = [([turn["role"] for turn in of], encoder.encode([turn["text"] for turn in of])) for of in dialogues]
    expected = pairwise_conved(texts, scale=2.5)
    neighbours = ["-", *(f"{expected[i - 1, i]:.3f}" for i in range(1, len(lines)))]
    assert [before for _, before, _ in lines] == neighbours
    assert [context for _, _, context in lines] == [f"{value:.3f}" for value in expected[:-1, -1]]


def test_what_a_budget_drops_is_marked_and_the_rest_is_the_prompt_that_fits(shown, row):
    def words(messages):
        return sum(len(message["content"].split()) for message in messages)

    budget = words(row["prompt"]) // 2
    kept, dropped = fit_to_budget(row["prompt"], row["dialogue_starts"], budget, words)
    assert 0 < dropped < len(row["reference_ids"])
    lines = shown(person=row["person_id"], target=row["dialogue_id"], max_prompt_tokens=budget)
    prompt = lines[
        next(i for i, line in enumerate(lines) if line.startswith("Prompt")) : lines.index("Reply to predict")
    ]
    marked = [re.search(r"reference (\S+), dropped", line)[1] for line in prompt if line.endswith("dropped]")]
    assert marked == row["reference_ids"][:dropped]
    spoken = [line.split(maxsplit=1) for line in prompt if re.match(r"  (user|assistant) ", line)]
    assert [{"role": role, "content": text} for role, text in spoken] == kept
    assert not any(line.startswith("-") for line in shown(person=row["person_id"], target=row["dialogue_id"]))


def test_tokens_are_counted_where_a_model_is_named(shown, row, whole_tokenizer):
    lines = shown(person=row["person_id"], target=row["dialogue_id"], model_name_or_path="offline")
    text = whole_tokenizer.apply_chat_template(row["prompt"], tokenize=False, add_generation_prompt=True)
    assert f"Prompt: {len(whole_tokenizer(text)['input_ids'])} tokens (offline)" in lines


def test_silence_is_shown_where_the_first_reference_kept_opens_with_the_person(shown, folder):
    where = {"data_dir": str(folder), "split": "train", "target": "ann-0", "dataset_options": {"clusters": 1}}
    words = next(int(line.split()[1]) for line in shown(**where) if line.startswith("Prompt: "))
    lines = shown(**where, max_prompt_tokens=words - 1)
    assert sum(line.endswith("dropped]") for line in lines) == 1
    kept = next(i for i, line in enumerate(lines) if line.startswith("  [reference "))
    assert lines[kept + 1].split() == ["user", SILENCE]
    assert lines[kept + 2].split(maxsplit=1) == ["assistant", "i have two dogs ."]


def test_a_current_dialogue_over_the_budget_is_kept_whole(shown, folder):
    lines = shown(data_dir=str(folder), split="train", target="ann-0", max_prompt_tokens=1)
    assert "exceeds the budget by itself" in "\n".join(lines)
    assert sum(line.endswith("dropped]") for line in lines) == 2
    current = lines[lines.index("  [current dialogue ann-0]") + 1 : lines.index("Reply to predict")]
    assert [line.split()[0] for line in current] == ["user", "assistant", "user", "assistant", "user"]


def test_the_clusters_hold_each_dialogue_once_and_the_references_are_of_the_target_s(arguments, row):
    view = load_person(arguments(person=row["person_id"]))
    assert set(view.clusters(list(view.rows))) == {dialogue.dialogue_id for dialogue in view.person.dialogues}
    others = [name for name in view.rows if name != row["dialogue_id"]]
    clusters = view.clusters(others)
    assert len(set(clusters.values())) > 1
    assert {clusters[name] for name in row["reference_ids"]} == {row["cluster"]}


def test_the_clusters_that_a_target_falls_into_are_without_it(shown, row):
    lines = shown(person=row["person_id"], target=row["dialogue_id"])
    section = lines[next(i for i, line in enumerate(lines) if line.startswith("Target ")) :]
    named = {line.split(",")[0]: line.split(": ")[1].split(", ") for line in section if line.startswith("cluster ")}
    assert set(row["reference_ids"]) <= set(named[f"cluster {row['cluster']}"])
    clustered = [name for names in named.values() for name in names]
    assert len(clustered) == 5
    assert row["dialogue_id"] not in clustered


def test_a_star_marks_the_persona_utterances(shown, arguments):
    dialogues = load_person(arguments()).person.dialogues
    expected = []
    for dialogue in dialogues:
        own = dialogue.texts("self")
        facts = [triple for found in patterns.extract(own) for triple in found]
        expected += [own[i] for i in triples.persona_utterances(own, facts)]
    marked = [re.sub(r"  <.*", "", line.split(maxsplit=2)[2]) for line in shown() if line.startswith("* ")]
    assert marked == expected
    assert 0 < len(marked) < sum(len(dialogue.texts("self")) for dialogue in dialogues)


def test_what_is_left_out_is_shown_with_its_reason(shown, folder):
    lines = shown(data_dir=str(folder), split="train", person="cy")
    left_out = [line for line in lines if line.startswith("left out: ")]
    assert len(left_out) == 2
    assert [line.split()[0] for line in lines if "(left out," in line] == ["cy-5", "cy-6"]


def test_a_person_with_one_dialogue_has_no_target(shown, arguments, folder):
    assert shown(data_dir=str(folder), split="train", person="bob")[0] == "bob: 1 dialogues"
    with pytest.raises(ValueError, match=r"'bob' has no dialogue 'bob-3' with a reply to predict.*are: none"):
        list(describe(arguments(data_dir=str(folder), split="train", person="bob", target="bob-3")))


def test_a_profile_is_shown_as_the_system_message_it_becomes(shown, row):
    lines = shown(person=row["person_id"], target=row["dialogue_id"], dataset_options={"conditioning": "profile"})
    assert any(line.strip().startswith(f"system    {PROFILE_PROMPT[:30]}") for line in lines)
    assert not numbered(lines)


def words_of(text: str) -> list[str]:
    return [word.rstrip(".") for word in re.sub(r"[*\[\],:;()-]", " ", text).split()]


def test_the_page_says_what_the_terminal_says(arguments, shown, row, tmp_path):
    where = {"person": row["person_id"], "target": row["dialogue_id"], "max_prompt_tokens": 200}
    file = tmp_path / "new" / "person.html"
    assert shown(**where, html=str(file)) == [f"The page is in {file}."]
    elements = Elements(file.read_text(encoding="utf-8"))
    of_page = words_of(unescape(re.sub("<[^>]*>", " ", file.read_text(encoding="utf-8").replace("</", " </"))))
    assert set(words_of("\n".join(shown(**where)))) - set(of_page) <= {"A", "marks"}
    classes = [attributes.get("class") for tag, attributes in elements.found if tag == "dd"]
    assert classes.count("dropped") == sum(line.startswith("- ") for line in shown(**where)) - sum(
        line.endswith("dropped]") for line in shown(**where)
    )
    assert [tag for tag, _ in elements.found].count("mark") == sum(line.startswith("* ") for line in shown(**where))
    assert len(list(file.parent.iterdir())) == 1


def test_nothing_on_the_page_is_fetched_or_run_whatever_a_dialogue_holds(arguments, tmp_path):
    hostile = "<script>alert(1)</script><img src=https://example.org/x.png onerror='alert(2)'>"
    turns = [{"role": "partner", "text": hostile}, {"role": "self", "text": f"i have two dogs . {hostile}"}]
    records = [{"person_id": hostile, "dialogue_id": f"{hostile}{i}", "turns": turns} for i in range(2)]
    records[1]["turns"] = [*turns, {"role": "self", "text": "bye ."}]
    (tmp_path / "train.jsonl").write_text("\n".join(map(json.dumps, records)))
    file = tmp_path / "person.html"
    show_person(arguments(data_dir=str(tmp_path), split="train", target=f"{hostile}1", html=str(file)))
    elements = Elements(file.read_text(encoding="utf-8"))
    assert elements.text.count(hostile) > 10
    assert not {"script", "img", "link", "iframe", "object"} & {tag for tag, _ in elements.found}
    assert not any(name.startswith("on") or name in ("src", "href") for _, of in elements.found for name in of)


def test_whom_there_is_not_leaves_the_page_before(arguments, tmp_path):
    file = tmp_path / "person.html"
    file.write_text("before")
    with pytest.raises(ValueError, match="has no dialogue 'kit-1'"):
        show_person(arguments(person="leroy", target="kit-1", html=str(file)))
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("person.html", "before")]


def test_colours_are_for_terminals_and_a_dialogue_cannot_steer_one(shown, arguments, folder):
    args = arguments(data_dir=str(folder), split="train")
    assert "\033[1;32m" in "\n".join(describe(args))
    assert "\033[2J" not in "\n".join(describe(args))
    plain = "\n".join(shown(data_dir=str(folder), split="train"))
    assert "\033" not in plain
    assert r"\u001b[2J they are old ." in plain


def test_a_person_may_be_written_otherwise(arguments):
    assert load_person(arguments(person="LEROY\u200f")).person == load_person(arguments(person="leroy")).person


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"person": "nobody"}, "no person 'nobody'. The 4 people in it are: tomasz, .*, leroy"),
        ({"index": 4}, "has 4 people, so --index must be 0 to 3, found 4"),
        ({"index": -1}, "found -1"),
        ({"person": "leroy", "index": 0}, "either --person or --index"),
        ({"split": "test"}, "has no split 'test', only: train, validation. Pass --split"),
        ({"person": "leroy", "target": "kit-1"}, "'leroy' has no dialogue 'kit-1'.*leroy-1, leroy-2"),
        ({"dataset_options": {"conditioning": "other_person"}}, "somebody else"),
        ({"dataset_options": {"refrences": 3}}, "Unknown option refrences"),
        ({"dataset_options": "{"}, "must be a JSON object"),
        ({"dataset_name": "idl_hf/nothing_idl"}, "no built-in dataset"),
    ],
)  # fmt: skip
def test_what_cannot_be_shown_is_said(arguments, changes, message):
    with pytest.raises(ValueError, match=message):
        list(describe(arguments(**changes)))


def test_a_folder_that_is_not_there_is_said(arguments, tmp_path):
    with pytest.raises(CorpusError, match="does not exist"):
        list(describe(arguments(data_dir=str(tmp_path / "nowhere"))))


def test_arguments_are_read_off_the_command_line():
    command = ["--person", "ruth", "--dataset_options", '{"scale": 2}', "--max_prompt_tokens", "9"]
    args = TrlParser((ShowArguments,)).parse_args_and_config(command)[0]
    assert (args.person, args.index, args.max_prompt_tokens) == ("ruth", None, 9)
    assert args.dataset_options == {"scale": 2}


@pytest.mark.parametrize("name", [name for name in dataset_names() if name in CORPORA])
def test_real_corpora_are_shown(shown, shared, name):
    folder = str(shared / "data" / CORPORA[name])
    # The folders hold parts of the corpora, so that lines are missing
    sessions = load_dataset(f"idl_hf/{name}", "sessions", data_dir=folder, on_error="skip")
    split, rows = next(iter(sessions.items()))
    talkative = max(set(rows["person_id"]), key=rows["person_id"][:].count)
    own = {row["dialogue_id"] for row in rows if row["person_id"] == talkative}
    where = {
        "dataset_name": f"idl_hf/{name}",
        "data_dir": folder,
        "split": split,
        "dataset_options": {"on_error": "skip"},
    }
    lines = shown(**where, person=talkative)
    assert lines[0] == f"{talkative}: {len(own)} dialogues"
