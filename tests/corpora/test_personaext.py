"""PersonaExt: its sentences with their facts, samples stacked of them, and the example that writes these."""

import hashlib
import importlib.util
import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from datasets import load_dataset
from hypothesis import given
from hypothesis import strategies as st

from idl_hf.corpora.convai2 import read_dialogues as convai2_reader
from idl_hf.corpora.errors import MALFORMED, CorpusError, ErrorLog
from idl_hf.corpora.personaext import Sentence, is_plainly_no_statement, read_sentences, split_sentences, stack
from idl_hf.persona.triples import format_prompt, format_sample, parse_sample
from idl_hf.schema import Triple

ROOT = Path(__file__).parents[2]
SENTENCES = [Sentence(f"i have {n} dogs .", Triple("i", "have_pet", f"{n} dogs")) for n in range(400)]
NEGATIVES = [f"do you have {n} cats ?" for n in range(300)]


def line(text: str = "i have two dogs .", head=(0,), tail=(2, 3), label="have_pet", **others) -> str:
    fields = {"tokens": text.split(), "head": head, "tail": tail, "label": label, "raw": "", "score": 0.0}
    return json.dumps({"triplets": [fields | others]}) + "\n"


@pytest.fixture
def file(tmp_path):
    """Writes a file and returns its path."""

    def write(content: str | bytes, name: str = "train.jsonl") -> Path:
        path = tmp_path / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    return write


@pytest.fixture(scope="session")
def real(shared) -> Path:
    return shared / "data" / "personaext" / "train.jsonl"


@pytest.fixture(scope="session")
def example():
    spec = importlib.util.spec_from_file_location("prepare_personaext", ROOT / "examples" / "prepare_personaext.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


# The real sentences


def test_every_real_line_is_read(real):
    log = ErrorLog()
    sentences = read_sentences(real, log)
    assert len(sentences) == len(real.read_bytes().splitlines()) == 16_921
    assert not log.drops
    assert len({sentence.triple.relation for sentence in sentences}) == 76
    digest = hashlib.sha256(repr(sentences[:20]).encode()).hexdigest()
    assert digest[:16] == "349d973b2f7a5e59"


def test_every_real_fact_is_taken_from_its_sentence_and_survives_being_written(real):
    sentences = read_sentences(real)
    facts = [[sentence.triple] for sentence in sentences]
    assert parse_sample(format_sample(facts), len(facts)) == facts
    for sentence in sentences:
        words = set(f"{sentence.triple.subject} {sentence.triple.object}".split())
        assert words <= set(sentence.text.split())


# Lines


def test_subject_and_object_are_the_words_at_head_and_tail(file):
    (sentence,) = read_sentences(file(line("my wife has two dogs", head=[0, 1], tail=[3, 4])))
    assert sentence == Sentence("my wife has two dogs", Triple("my wife", "have_pet", "two dogs"))


def test_indices_are_taken_in_their_order(file):
    (sentence,) = read_sentences(file(line("dogs , two , have i", head=[5], tail=[2, 0])))
    assert sentence.triple.object == "two dogs"


@pytest.mark.parametrize(
    "change",
    [
        lambda content: b"\xef\xbb\xbf" + content,
        lambda content: content.replace(b"\n", b"\r\n\n"),
        lambda content: content.rstrip(b"\n"),
    ],
    ids=["byte order mark", "CRLF and blank lines", "no end"],
)
def test_how_lines_end_changes_nothing(file, change):
    content = line() + line("i have a cat .")
    assert read_sentences(file(change(content.encode()))) == read_sentences(file(content))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "Expected one JSON object on this line"),
        ("[" * 100_000, "Expected one JSON object on this line"),
        (b"\xff", "Expected UTF-8 text, found the byte 0xff"),
        ("[1]", 'Expected a JSON object with a list "triplets"'),
        ('{"triplets": {}}', 'Expected a JSON object with a list "triplets"'),
        ('{"triplets": []}', "Expected one object in triplets"),
        ('{"triplets": [1]}', "Expected one object in triplets"),
        ('{"triplets": [{}, {}]}', "Expected one object in triplets"),
        ('{"triplets": [{}]}', "Expected tokens to be a list of words"),
        (line(tokens=[]), "Expected tokens to be a list of words"),
        (line(tokens=["i", "", "am", "it"]), "Expected tokens to be a list of words"),
        (line(tokens=["i", "two words", "am", "it"]), "Expected tokens to be a list of words"),
        (line(tokens=["i", "\ud800", "am", "it"]), "Expected tokens to be a list of words"),
        (line(label=None), "Expected label to be a word"),
        (line(label=" "), "Expected label to be a word"),
        (line(head=[]), "Expected head to be a list of indices of the 5 tokens"),
        (line(head=0), "Expected head to be a list of indices of the 5 tokens"),
        (line(tail=[5]), "Expected tail to be a list of indices of the 5 tokens"),
        (line(tail=[-1]), "Expected tail to be a list of indices of the 5 tokens"),
        (line(tail=[True]), "Expected tail to be a list of indices of the 5 tokens"),
        (line(tail=[1.0]), "Expected tail to be a list of indices of the 5 tokens"),
    ],
)
def test_a_malformed_line_is_reported_with_its_place_or_left_out_and_counted(file, content, message):
    content = content.encode() if isinstance(content, str) else content
    path = file(line().encode() + content.rstrip(b"\n") + b"\n" + line("i have a cat .").encode())
    with pytest.raises(CorpusError) as raised:
        read_sentences(path)
    assert f"{path}:2: {message}" in str(raised.value)
    log = ErrorLog("skip")
    assert len(read_sentences(path, log)) == 2
    assert log.drops == {MALFORMED: 1}


def test_what_cannot_be_used_is_left_out_and_counted(file):
    log = ErrorLog()
    lines = [line(), line(), line("i like <3 hearts", tail=[2, 3]), line(label="like,love", text="i have a big cat")]
    assert len(read_sentences(file("".join(lines)), log)) == 1
    assert log.drops == {
        "sentence that was there before": 1,
        "fact with a bracket, or with a comma outside the object, which its text cannot hold": 2,
    }


def test_a_file_without_a_sentence_is_refused(file):
    with pytest.raises(CorpusError, match=r"train\.jsonl: Expected at least one sentence in the file"):
        read_sentences(file("\n\n"))


values = st.one_of(st.none(), st.booleans(), st.integers(-2, 6), st.floats(), st.text(max_size=4))
values |= st.lists(values, max_size=3) | st.dictionaries(st.text(max_size=3), values, max_size=2)
fuzzed = st.one_of(
    st.binary(max_size=30).map(lambda raw: raw.replace(b"\n", b"")),
    st.dictionaries(st.sampled_from(["tokens", "head", "tail", "label"]), values).map(
        lambda fields: line(**fields).strip().encode("utf-8", "surrogatepass")
    ),
    st.sampled_from(["a", "b"]).map(lambda word: line(f"i am {word} c d").strip().encode()),
)


@given(st.lists(fuzzed, max_size=6))
def test_every_line_is_read_or_counted_whatever_it_holds(tmp_path_factory, lines):
    path = tmp_path_factory.mktemp("fuzzed") / "train.jsonl"
    path.write_bytes(b"\n".join([line().strip().encode(), *lines]))
    log = ErrorLog("skip")
    sentences = read_sentences(path, log)
    assert len(sentences) + log.drops.total() == 1 + sum(bool(raw.strip()) for raw in lines)


# The split


def test_the_split_keeps_every_sentence_on_one_side():
    train, held_out = split_sentences(SENTENCES).values()
    assert (len(train), len(held_out)) == (360, 40)
    assert Counter(train + held_out) == Counter(SENTENCES)


def test_a_seed_gives_one_split_and_another_seed_another():
    assert split_sentences(SENTENCES, seed=3) == split_sentences(SENTENCES, seed=3)
    assert split_sentences(SENTENCES, seed=3) != split_sentences(SENTENCES, seed=4)


@pytest.mark.parametrize("held_out", [0, 1, -0.1, 1.5])
def test_a_share_to_hold_out_lies_between_none_and_all(held_out):
    with pytest.raises(ValueError, match="is no share to hold out"):
        split_sentences(SENTENCES, held_out=held_out)


# Samples


def test_every_sentence_is_in_one_sample_with_its_fact():
    rows = [
        row for sample in stack(SENTENCES, NEGATIVES) for row in zip(sample.sentences, sample.triples, strict=True)
    ]
    stated = [(text, own) for text, own in rows if own]
    assert Counter(stated) == Counter((sentence.text, (sentence.triple,)) for sentence in SENTENCES)
    silent = [text for text, own in rows if not own]
    assert len(silent) == len(set(silent)) == round(400 * 0.3 / 0.7)
    assert set(silent) <= set(NEGATIVES)


@given(st.integers(6, 60), st.integers(0, 5))
def test_samples_have_six_to_twelve_sentences(count, seed):
    samples = stack(SENTENCES[:count], [], 0, seed)
    assert all(6 <= len(sample.sentences) <= 12 for sample in samples)
    assert sum(len(sample.sentences) for sample in samples) == count


def test_samples_have_the_papers_mean():
    many = [Sentence(f"i am {n}", Triple("i", "other", str(n))) for n in range(35_000)]
    assert len(stack(many, [], 0)) == pytest.approx(4_000, rel=0.02)


def test_facts_and_silence_are_mixed():
    mixed = [
        sample for sample in stack(SENTENCES, NEGATIVES) if 0 < sum(map(bool, sample.triples)) < len(sample.triples)
    ]
    assert len(mixed) > 0.8 * len(stack(SENTENCES, NEGATIVES))


def test_fewer_than_six_sentences_are_one_sample():
    (sample,) = stack(SENTENCES[:3], [], 0)
    assert len(sample.sentences) == 3


def test_a_seed_gives_one_stack_and_another_seed_another():
    assert stack(SENTENCES, NEGATIVES, seed=3) == stack(SENTENCES, NEGATIVES, seed=3)
    assert stack(SENTENCES, NEGATIVES, seed=3) != stack(SENTENCES, NEGATIVES, seed=4)


def test_too_few_negatives_are_refused_with_the_share_they_are_enough_for():
    with pytest.raises(ValueError, match=r"at least 171 texts that state nothing.*found 100.*to 0\.2 for so many"):
        stack(SENTENCES, NEGATIVES[:100], 0.3)
    assert stack(SENTENCES, NEGATIVES[:100], 0.2)


@pytest.mark.parametrize("share", [-0.1, 1])
def test_some_sentences_must_state_something(share):
    with pytest.raises(ValueError, match="is no share"):
        stack(SENTENCES, NEGATIVES, share)


def test_nothing_to_stack_is_refused():
    with pytest.raises(ValueError, match="at least one sentence to stack, found none"):
        stack([], NEGATIVES)


# Turns that state nothing


@pytest.mark.parametrize(
    "text",
    [
        "hi , how are you today ?",
        "hello how are you",
        "wow !",
        "nice to meet you too .",
        "i am good , thanks .",
        "i'm so sorry to hear that .",
        "I’m great! How about you?",
        "i see . what do you do for a living ?",
        "oh , do you have any pets ?",
        "so do you like to cook",
        "that sounds like a lot of fun !",
        "you must be busy .",
        "yes , that's true .",
        "have a great day !",
        "what is your favorite color",
    ],
)
def test_courtesies_moods_questions_and_remarks_state_nothing(text):
    assert is_plainly_no_statement(text)


@pytest.mark.parametrize(
    "text",
    [
        "i have two dogs .",
        "my job is selling cars . do you like cars ?",  # a fact that the rules miss
        "i am a nurse , how about you ?",
        "that is nice , i collect stamps too .",
        "that is my favorite band !",
        "that is great but have no time for pets",  # a fact without "i"
        "manager at a gas station , you ?",
        "two dogs and a cat .",
        "do you want to meet my dog ?",
        "hi . good . just got in from feeding the horses .",
        "have two kids .",
        "she is a teacher .",
        "me too , we met in church .",
        "i'm happy that summer is here .",
        "ich habe zwei hunde .",
        "我有两只狗",
        ". . .",
        "",
    ],
)
def test_all_else_may_state_something(text):
    assert not is_plainly_no_statement(text)


def test_hardly_any_real_statement_is_taken_for_none(real):
    statements = [sentence.text for sentence in read_sentences(real)]
    assert sum(map(is_plainly_no_statement, statements)) <= 0.001 * len(statements)


def test_a_good_part_of_real_turns_plainly_states_nothing(convai2):
    dialogues = convai2_reader(convai2 / "valid_self_original_no_cands.txt")
    turns = {turn.text for dialogue in dialogues for turn in dialogue.turns}
    assert sum(map(is_plainly_no_statement, turns)) > 0.1 * len(turns)


# The example


DIALOGUE = {
    "person_id": "ruth",
    "dialogue_id": "1",
    "turns": [
        {"role": "partner", "text": "hi , how are you ?"},
        {"role": "self", "text": "i have two dogs ."},
        {"role": "partner", "text": "wow ! what do you feed them ?"},
        {"role": "self", "text": "that is a good question ."},
        {"role": "partner", "text": "wow ! what do you feed them ?"},
    ],
}


@pytest.fixture
def inputs(file):
    """The options that name 60 sentences, and a dialogue with three turns that state nothing."""
    texts = (line(f"i have {n} dogs .") for n in range(60))
    sentences = file("".join(texts), "sentences.jsonl")
    return {"personaext": str(sentences), "negatives": [str(file(json.dumps(DIALOGUE), "dialogues.jsonl"))]}


def rows(path: Path) -> list[dict]:
    return [json.loads(row) for row in path.read_text(encoding="utf-8").splitlines()]


def test_the_example_writes_what_an_extractor_trains_on(example, inputs, tmp_path, capsys):
    folder = tmp_path / "out"
    example.main(example.PrepareArguments(**inputs, output_dir=str(folder), negative_share=0.03))
    assert sorted(path.name for path in folder.iterdir()) == ["train.jsonl", "validation.jsonl"]
    made = {split: rows(folder / f"{split}.jsonl") for split in ("train", "validation")}
    for row in made["train"] + made["validation"]:
        facts = [[Triple(subject, relation, obj) for obj, relation, subject in own] for own in row["triples"]]
        assert row["prompt"] == format_prompt(row["sentences"])
        assert row["completion"] == format_sample(facts)
        assert parse_sample(row["completion"], len(row["sentences"])) == facts
    texts = {split: [text for row in found for text in row["sentences"]] for split, found in made.items()}
    assert (len(texts["train"]), len(texts["validation"])) == (54 + 2, 6)
    assert not set(texts["train"]) & set(texts["validation"])
    printed = capsys.readouterr().out
    assert "60 sentences" in printed
    assert "3 of 4 different turns state nothing, 3 plainly so" in printed
    assert "samples of 56 sentences, 2 of which state nothing" in printed


def test_turns_are_taught_with_what_the_rules_say_and_none_that_is_held_out(example, inputs, tmp_path):
    folder = tmp_path / "out"
    taught = {"negatives": [], "taught": inputs["negatives"], "negative_share": 0.0}
    example.main(example.PrepareArguments(**(inputs | taught), output_dir=str(folder)))
    found = {
        text: own
        for row in rows(folder / "train.jsonl")
        for text, own in zip(row["sentences"], row["triples"], strict=True)
        if "dogs" not in text or text == "i have two dogs ."
    }
    assert found.pop("i have two dogs .") == [["two dogs", "have_pet", "i"]]
    assert found == {
        text: [] for text in ("hi , how are you ?", "wow ! what do you feed them ?", "that is a good question .")
    }
    assert (
        example.taught(
            example.PrepareArguments(**(inputs | taught), output_dir=str(folder)), {*found, "i have two dogs ."}
        )
        == []
    )


def test_the_example_takes_no_turn_that_is_a_sentence_or_may_state_a_fact(example, inputs):
    known = {"wow ! what do you feed them ?"}
    found, _ = example.silent_turns(inputs["negatives"], known, "raise")
    assert found == ["hi , how are you ?", "that is a good question ."]


def test_the_example_takes_no_turn_in_which_the_rules_find_a_fact(example, inputs, monkeypatch):
    def extract(texts):
        return [[SENTENCES[0].triple] if "feed" in text else [] for text in texts]

    monkeypatch.setattr(example.patterns, "extract", extract)
    found, _ = example.silent_turns(inputs["negatives"], set(), "raise")
    assert found == ["hi , how are you ?", "that is a good question ."]


def test_the_example_takes_turns_of_the_train_split_only(example, convai2, tmp_path):
    train = {turn.text for d in convai2_reader(convai2 / "train_self_original_no_cands.txt") for turn in d.turns}
    found, _ = example.silent_turns([str(convai2)], set(), "raise")
    assert len(found) > 100
    assert set(found) <= set(map(example.spelled_apart, train))
    (tmp_path / "valid_self_original.txt").write_text("1 hi\thello\n")
    with pytest.raises(CorpusError, match="Expected ConvAI2's train split"):
        example.silent_turns([str(tmp_path)], set(), "raise")


def test_texts_are_spelled_as_the_sentences_are(example):
    assert example.spelled_apart("Well, I'm fine!  And you?") == "well , i'm fine ! and you ?"


def test_a_run_that_fails_leaves_the_files_of_the_last_one(example, inputs, tmp_path):
    options = inputs | {"output_dir": str(tmp_path / "out")}
    example.main(example.PrepareArguments(**options, negative_share=0.0))
    before = {path: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    with pytest.raises(ValueError, match="texts that state nothing"):
        example.main(example.PrepareArguments(**options, negative_share=0.9))
    assert {path: path.read_bytes() for path in (tmp_path / "out").iterdir()} == before


def test_the_example_runs_as_a_command_and_says_what_is_wrong(inputs, tmp_path):
    command = [sys.executable, "examples/prepare_personaext.py", "--personaext", inputs["personaext"]]
    command += ["--output_dir", str(tmp_path / "out"), "--held_out", "0.2"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    assert "No negatives: " in done.stdout
    files = {split: str(tmp_path / "out" / f"{split}.jsonl") for split in ("train", "validation")}
    made = load_dataset("json", data_files=files, cache_dir=str(tmp_path / "cache"))
    assert {split: sum(map(len, made[split]["sentences"])) for split in made} == {"train": 48, "validation": 12}
    failed = subprocess.run([*command, "--negatives", *inputs["negatives"]], cwd=ROOT, capture_output=True, text=True)
    assert failed.returncode == 1
    assert failed.stderr.strip().splitlines()[-1].startswith("prepare_personaext: Expected at least 21 texts")
