"""The metric persona_triples: worked numbers, the functions it must agree with, and the ways `evaluate` calls it."""

import doctest
import multiprocessing
import re
from pathlib import Path

import evaluate
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from idl_hf.persona.triples import object_f1, parse_triples, precision_recall_f1, sample_accuracy, triple_accuracy

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "metrics" / "persona_triples"
RIGHT = "<apple, have, i>\n<texas, live_in_general, i>"
NAMES = ["sample_accuracy", "triple_accuracy", "precision", "recall", "f1", "object_f1"]

triples = st.tuples(st.sampled_from(["a", "b", "a, b"]), st.just("r"), st.sampled_from("xy"))
texts = st.lists(triples.map(lambda triple: f"<{', '.join(triple)}>"), max_size=4).map("\n".join)
rows = st.lists(st.tuples(texts, texts), min_size=1, max_size=4)


def load() -> evaluate.Metric:
    return evaluate.load(str(FOLDER), keep_in_memory=True)


@pytest.fixture(scope="module")
def metric():
    return load()


def test_worked_accuracies(metric, vectors):
    cases = vectors("extractor")["accuracy"]
    assert len(cases) == 7
    for case in cases:
        right = "\n".join(f"<{', '.join(triple)}>" for triple in case["gold"])
        results = metric.compute(predictions=[case["pred_text"]], references=[right])
        worked = [float(case["sample_correct"])]
        worked += [case[name] for name in ("positional_triple_accuracy", "triple_precision", "triple_recall")]
        assert list(results) == NAMES
        assert [results[name] for name in NAMES[:4]] == pytest.approx(worked, abs=1e-9), case["name"]


def test_worked_texts_are_parsed_strictly(metric, vectors):
    cases = vectors("extractor")["parse"]
    assert len(cases) == 9
    for case in cases:
        right = "\n".join(f"<{', '.join(triple)}>" for triple in case["strict_parsed"])
        assert metric.compute(predictions=[case["text"]], references=[right])["sample_accuracy"] == 1, case["name"]


def test_samples_together_by_hand(metric):
    predictions = [RIGHT, "<apple, own, i> <apple, own, i> <ohio, live_in_general, i>", "hi !"]
    results = metric.compute(predictions=predictions, references=[RIGHT, "<apple, have, i>", "<>"])
    assert results == {
        "sample_accuracy": pytest.approx(2 / 3),
        "triple_accuracy": pytest.approx(2 / 3),
        "precision": pytest.approx(2 / 4),  # twice the same counts once
        "recall": pytest.approx(2 / 3),
        "f1": pytest.approx(2 * 2 / (4 + 3)),
        "object_f1": pytest.approx(2 * 3 / (4 + 3)),
    }


@settings(max_examples=40, deadline=None)
@given(rows)
def test_it_agrees_with_the_functions_of_the_package(metric, rows):
    predictions, references = map(list, zip(*rows, strict=True))
    sides = [[parse_triples(text) for text in column] for column in (predictions, references)]
    expected = [sample_accuracy(*sides), triple_accuracy(*sides), *precision_recall_f1(*sides), object_f1(*sides)]
    assert list(metric.compute(predictions=predictions, references=references).values()) == expected


def test_triples_are_read_whatever_their_apostrophes(metric):
    found = metric.compute(
        predictions=["<mom\u2019s dog, have_pet, i>"], references=["<mom's do\u200bg, have_pet, i>"]
    )
    assert found["sample_accuracy"] == found["object_f1"] == 1


@pytest.mark.parametrize(
    "text",
    ["", "<", "<a, b", "<a, b, c", "< , , >", "a, b, c", "<a\n, b, c>", "\0", "<" + "a, " * 100_000, "犬を飼う <犬>"],
)
def test_a_prediction_without_a_triple_is_nothing(metric, text):
    results = metric.compute(predictions=[text, text], references=[RIGHT, "<>"])
    assert results["sample_accuracy"] == 0.5
    assert (results["precision"], results["recall"]) == (0, 0)


# Wrong inputs


@pytest.mark.parametrize(
    ("predictions", "references", "message"),
    [
        (["a", "b"], [RIGHT], "one reference for each prediction, but found 2 predictions and 1 references"),
        ([], [], "at least one prediction, but found none"),
        ([["a"]], [RIGHT], "row 0 of `predictions` to be a string, but found list"),
        (["a", "b"], [RIGHT, None], "row 1 of `references` to be a string, but found NoneType"),
        ("ab", [RIGHT], "`predictions` to be a list with one text per sample, but found str"),
        (None, [RIGHT], "`predictions` to be a list with one text per sample, but found NoneType"),
        (["a"], RIGHT, "`references` to be a list with one text per sample, but found str"),
        (["a", "b"], [RIGHT, "apple have i"], "reference 1 to hold nothing but triples"),
        (["a"], [f"{RIGHT}\n<texas, live_in_general>"], "reference 0 to hold nothing but triples"),
        (["a"], ["<, have, i>"], "reference 0 to hold nothing but triples"),
        (["a"], ["<apple, have, i"], "reference 0 to hold nothing but triples"),
    ],
)
def test_wrong_rows(metric, predictions, references, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        metric.compute(predictions=predictions, references=references)
    results = metric.compute(predictions=[RIGHT], references=[RIGHT])
    assert results["sample_accuracy"] == 1, "an error must leave nothing behind"


def test_missing_references(metric):
    with pytest.raises(ValueError, match="references"):
        metric.compute(predictions=["a"])


# The ways `evaluate` calls a metric


def test_add_and_add_batch_equal_compute(metric):
    predictions, references = [RIGHT, "", RIGHT], [RIGHT, "<>", "<apple, have, i>"]
    expected = metric.compute(predictions=predictions, references=references)
    for prediction, reference in zip(predictions, references, strict=True):
        metric.add(prediction=prediction, reference=reference)
    assert metric.compute() == expected
    metric.add_batch(predictions=predictions[:2], references=references[:2])
    metric.add_batch(predictions=predictions[2:], references=references[2:])
    assert metric.compute() == expected


def test_add_refuses_wrong_rows(metric):
    with pytest.raises(ValueError, match="row 0 of `references` to be a string, but found list"):
        metric.add(prediction="a", reference=["b"])


def compute_in_process(process_id: int, cache_dir: str, results) -> None:
    metric = evaluate.load(str(FOLDER), num_process=2, process_id=process_id, experiment_id="two", cache_dir=cache_dir)
    predictions, references = [RIGHT, "", RIGHT], [RIGHT, "<>", "<apple, have, i>"]
    own = slice(process_id, None, 2)
    results.put((process_id, metric.compute(predictions=predictions[own], references=references[own])))


@pytest.mark.slow
def test_two_processes_equal_one(metric, tmp_path):
    context = multiprocessing.get_context("spawn")
    results = context.Queue()
    processes = [context.Process(target=compute_in_process, args=(i, str(tmp_path), results)) for i in range(2)]
    for process in processes:
        process.start()
    computed = dict(results.get(timeout=120) for _ in processes)
    for process in processes:
        process.join()
    expected = metric.compute(predictions=[RIGHT, "", RIGHT], references=[RIGHT, "<>", "<apple, have, i>"])
    assert computed == {0: pytest.approx(expected), 1: None}


# Examples and files


def run_examples(source: str, text: str) -> None:
    example = doctest.DocTestParser().get_doctest(text, {}, source, source, 0)
    outcome = doctest.DocTestRunner().run(example)
    assert outcome.attempted > 0
    assert outcome.failed == 0


def by_path(text: str) -> str:
    """Return the same example for a machine where idl_hf is not installed."""
    return text.replace("import idl_hf", "import evaluate").replace(
        'load("persona_triples")', f"load({str(FOLDER)!r})"
    )


def test_example_of_the_docstring(metric):
    pytest.importorskip("idl_hf.registration", reason="idl_hf registers the short metric names")
    run_examples("persona_triples.py", metric.inputs_description)


def test_examples_by_path(metric):
    run_examples("persona_triples.py", by_path(metric.inputs_description))
    card = (FOLDER / "README.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```python\n(.*?)```", card, flags=re.DOTALL)
    assert len(blocks) == 2
    for number, block in enumerate(blocks):
        run_examples(f"README.md, example {number}", by_path(block))


def test_space_files():
    assert {"README.md", "app.py", "requirements.txt", "persona_triples.py"} <= {
        path.name for path in FOLDER.iterdir()
    }
    front_matter = (FOLDER / "README.md").read_text(encoding="utf-8").split("---")[1]
    for line in ("sdk: gradio", "app_file: app.py", "- evaluate", "- metric"):
        assert line in front_matter.splitlines()
    source = (FOLDER / "persona_triples.py").read_text(encoding="utf-8")
    imported = re.findall(r"^(?:import|from) (\w+)", source, flags=re.MULTILINE)
    assert set(imported) <= {"re", "collections", "datasets", "evaluate"}


def test_name_and_public_texts(metric):
    assert metric.name == "persona_triples"
    for label in ("2403.03102", "zhu2023paed"):
        assert label in metric.citation
    assert metric.description
