"""The metrics p_co and p_f1: worked numbers, what must hold for every input, and the ways `evaluate` calls them."""

import doctest
import json
import math
import multiprocessing
import re
from pathlib import Path

import evaluate
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

ROOT = Path(__file__).parents[2]
VECTORS = Path(__file__).parents[3] / "shared" / "ground_truth" / "vectors" / "metrics.json"
METRICS = ("p_co", "p_f1")
METHODS = ("cosine", "tfidf", "cover_msp", "cover_dhap", "cover_song")

FARMER = [
    "i love my two dogs .",
    "i work as a farmer in texas .",
    "do you like country music ?",
    "my dogs love country music .",
]
OTHERS = ["i am a nurse .", "do you have pets ?", "i live in texas ."]
RESPONSES = ["i love my dogs and country music .", "my farmer dogs love texas", "i am a nurse in ohio ."]
STOP_WORDS = ["i", "a", "the", "my", "is", "and", "to", "in", "of", "you", ".", ",", "?", "am"]

words = st.sampled_from(["dogs", "cats", "i", "love", ".", "my", "farmer", "Texas"])
texts = st.lists(words, max_size=6).map(" ".join)
histories_of_one = st.lists(texts, max_size=5)


def load(name: str) -> evaluate.Metric:
    return evaluate.load(str(ROOT / "metrics" / name), keep_in_memory=True)


@pytest.fixture(scope="module")
def p_co():
    return load("p_co")


@pytest.fixture(scope="module")
def p_f1():
    return load("p_f1")


@pytest.fixture(params=METRICS)
def metric(request, p_co, p_f1):
    return {"p_co": p_co, "p_f1": p_f1}[request.param]


@pytest.fixture(scope="module")
def vectors():
    if not VECTORS.is_file():
        pytest.skip(f"The worked numbers are not beside this checkout: {VECTORS} does not exist.")
    return json.loads(VECTORS.read_text(encoding="utf-8"))["persona"]


def one(metric, response: str, history: list[str], **options) -> dict[str, float]:
    return metric.compute(predictions=[response], histories=[history], **options)


# The worked numbers


@pytest.mark.parametrize(
    ("method", "expected"),
    [
        ("cosine", (0.799502686333539, 0.5393598899705937, 0.3988620176087328)),
        ("tfidf", (0.7355407006142344, 0.5913366752158238, 0.15619049630997253)),
        ("cover_msp", (0.8250358848872567, 0.7516577810972208, 0.48594485164962453)),
        ("cover_dhap", (3.7534179752515073, 2.772588722239781, 3.753417975251507)),
        ("cover_song", (0.4765053580405043, 0.5335607335950727, 0.42360801430051964)),
    ],
)
def test_p_co_worked_numbers(p_co, method, expected):
    table = p_co.idf_table(FARMER + OTHERS, method) if method in ("tfidf", "cover_msp", "cover_song") else None
    for response, value in zip(RESPONSES, expected, strict=True):
        assert one(p_co, response, FARMER, method=method, idf=table)["p_co"] == pytest.approx(value, abs=1e-9)


def test_p_co_by_hand(p_co):
    # "dogs" is in 2 of 7 utterances, and counts 3 times in a response of 3 tokens.
    table = p_co.idf_table(FARMER + OTHERS)
    value = one(p_co, "dogs dogs dogs", FARMER, method="cover_msp", idf=table)["p_co"]
    assert value == pytest.approx(math.log(7 / 2) / 3, abs=1e-12)
    # "dogs" is in 2 of the farmer's own 4 utterances.
    assert one(p_co, "dogs", FARMER, method="cover_dhap")["p_co"] == pytest.approx(math.log(2), abs=1e-12)
    # Counts: response (a 1, b 1), history (a 2, c 1).
    assert one(p_co, "a b", ["a c", "a"])["p_co"] == pytest.approx(2 / math.sqrt(2 * 5), abs=1e-12)


@pytest.mark.parametrize(
    ("stop_words", "expected"),
    [(STOP_WORDS, (8 / 15, 8 / 15, 0.0)), ([], (7 / 13, 10 / 23, 8 / 25))],
)
def test_p_f1_worked_numbers(p_f1, stop_words, expected):
    for response, value in zip(RESPONSES, expected, strict=True):
        assert one(p_f1, response, FARMER, stop_words=stop_words)["p_f1"] == pytest.approx(value, abs=1e-9)


def test_p_f1_by_hand(p_f1):
    results = one(p_f1, RESPONSES[0], FARMER, stop_words=STOP_WORDS)
    assert results == {
        "p_f1": pytest.approx(8 / 15),
        "precision": pytest.approx(4 / 4),
        "recall": pytest.approx(4 / 11),
        "n_without_history": 0,
    }


@pytest.mark.parametrize(
    ("method", "key"),
    [
        ("cosine", "cos_tf_pooled"),
        ("tfidf", "cos_tfidf_pooled"),
        ("cover_msp", "p_cover_msp"),
        ("cover_dhap", "p_cover_dhap"),
        ("cover_song", "p_cover_song2019"),
    ],
)
def test_p_co_vectors(p_co, vectors, method, key):
    history = vectors["history_of_target_user"]
    table = None
    if method in ("tfidf", "cover_msp", "cover_song"):
        table = p_co.idf_table(vectors["global_idf_corpus"], method)
    for case in vectors["cases"]:
        value = one(p_co, case["response"], history, method=method, idf=table)["p_co"]
        assert value == pytest.approx(case[key], abs=1e-9), case["response"]
    responses = [case["response"] for case in vectors["cases"]]
    mean = p_co.compute(predictions=responses, histories=[history] * len(responses), method=method, idf=table)["p_co"]
    assert mean == pytest.approx(vectors["mean"][key], abs=1e-9)


def test_idf_table_vectors(p_co, vectors):
    assert p_co.idf_table(vectors["global_idf_corpus"]) == pytest.approx(vectors["idf_global"], abs=1e-9)


@pytest.mark.parametrize("key", ["p_f1_msp_stop", "p_f1_no_stop"])
def test_p_f1_vectors(p_f1, vectors, key):
    stop_words = vectors["stop_words"] if key == "p_f1_msp_stop" else []
    history = vectors["history_of_target_user"]
    for case in vectors["cases"]:
        results = one(p_f1, case["response"], history, stop_words=stop_words)["p_f1"]
        assert results == pytest.approx(case[key], abs=1e-9), case["response"]
    responses = [case["response"] for case in vectors["cases"]]
    results = p_f1.compute(predictions=responses, histories=[history] * len(responses), stop_words=stop_words)
    assert results["p_f1"] == pytest.approx(vectors["mean"][key], abs=1e-9)


# What must hold for every input


@settings(max_examples=40, deadline=None)
@given(response=texts, history=histories_of_one, method=st.sampled_from(METHODS))
def test_p_co_bounds(p_co, response, history, method):
    value = one(p_co, response, history, method=method)["p_co"]
    assert value >= 0
    if method in ("cosine", "tfidf", "cover_song"):
        assert value <= 1
    if not response.split() or not "".join(history).split():
        assert value == 0


@settings(max_examples=40, deadline=None)
@given(response=texts, history=histories_of_one)
def test_p_f1_bounds(p_f1, response, history):
    results = one(p_f1, response, history, stop_words=[])
    assert 0 <= results["p_f1"] <= 1
    assert min(results["precision"], results["recall"]) - 1e-12 <= results["p_f1"]
    assert results["p_f1"] <= max(results["precision"], results["recall"]) + 1e-12
    if not response.split() or not "".join(history).split():
        assert results["p_f1"] == results["precision"] == results["recall"] == 0


@settings(max_examples=40, deadline=None)
@given(response=texts, history=histories_of_one.flatmap(lambda h: st.tuples(st.just(h), st.permutations(h))))
def test_order_of_the_history_does_not_matter(p_co, p_f1, response, history):
    before, after = history
    for method in METHODS:
        both = [
            p_co.compute(predictions=[response, "i love my dogs"], histories=[h, before], method=method)
            for h in (before, after)
        ]
        assert both[0] == both[1]
    assert one(p_f1, response, before) == one(p_f1, response, after)


@settings(max_examples=40, deadline=None)
@given(response=texts, history=histories_of_one)
def test_p_f1_counts_types(p_f1, response, history):
    results = one(p_f1, response, history)
    assert results == one(p_f1, f"{response} {response}", history)
    assert results == one(p_f1, response, history + history)


@settings(max_examples=20, deadline=None)
@given(left=texts, right=texts)
def test_p_f1_is_symmetric(p_f1, left, right):
    forth, back = one(p_f1, left, [right]), one(p_f1, right, [left])
    assert forth["p_f1"] == pytest.approx(back["p_f1"])
    assert (forth["precision"], forth["recall"]) == (back["recall"], back["precision"])


def test_a_response_equal_to_the_history_has_cosine_one(p_co):
    for method in ("cosine", "tfidf"):
        both = p_co.compute(predictions=[FARMER[0], OTHERS[0]], histories=[FARMER[:1], OTHERS[:1]], method=method)
        assert both["p_co"] == 1.0


def test_case_does_not_matter(p_co, p_f1):
    assert one(p_co, "DOGS Love", FARMER) == one(p_co, "dogs love", FARMER)
    assert one(p_f1, "DOGS I", FARMER, stop_words=["I"]) == one(p_f1, "dogs", FARMER, stop_words=["i"])


# The table of word weights


@pytest.mark.parametrize("method", ["tfidf", "cover_msp", "cover_song"])
def test_without_a_table_all_histories_of_the_call_make_one(p_co, method):
    predictions, histories = [*RESPONSES, "i have pets"], [FARMER, FARMER[::-1], FARMER, OTHERS]
    table = p_co.idf_table(FARMER + OTHERS, method)
    results = p_co.compute(predictions=predictions, histories=histories, method=method)
    assert results == p_co.compute(predictions=predictions, histories=histories, method=method, idf=table)


def test_words_missing_from_the_table(p_co):
    table = {"dogs": 2.0}
    assert one(p_co, "my dogs", FARMER, method="cover_msp", idf=table)["p_co"] == 2.0 / 2
    assert one(p_co, "my dogs", FARMER, method="cover_song", idf={"dogs": 0.5})["p_co"] == (1.0 + 0.5) / 2
    assert one(p_co, "my", FARMER, method="tfidf", idf=table)["p_co"] == 0


# Stop words


def test_default_stop_words_are_the_english_ones(p_f1):
    default = one(p_f1, RESPONSES[0], FARMER)
    assert default == one(p_f1, RESPONSES[0], FARMER, stop_words=None)
    assert default == one(p_f1, RESPONSES[0], FARMER, stop_words="english")
    assert default != one(p_f1, RESPONSES[0], FARMER, stop_words=[])
    assert one(p_f1, "i am the one , don't you ?", ["i am the one , don't you ?"])["p_f1"] == 0


# Empty histories


def test_rows_without_history_are_counted(metric):
    results = metric.compute(predictions=["dogs", "dogs", "dogs"], histories=[["dogs", "cats"], [], [" ", ""]])
    assert results["n_without_history"] == 2
    assert results[metric.name] == pytest.approx(one(metric, "dogs", ["dogs", "cats"])[metric.name] / 3)


# Wrong inputs


@pytest.mark.parametrize(
    ("predictions", "histories", "message"),
    [
        (["a", "b"], [["a"]], "one history for each prediction, but found 2 predictions and 1 histories"),
        ([], [], "at least one prediction, but found none"),
        (["a", "b"], ["a", "b"], "history 0 to be a list of utterances, but found str"),
        (["a", "b"], [["a"], None], "history 1 to be a list of utterances, but found NoneType"),
        (["a", "b"], [["a"], [["b"]]], "utterances of history 1 to be strings, but found list"),
        (["a", 3], [["a"], ["b"]], "prediction 1 to be a string, but found int"),
        ("ab", [["a"], ["b"]], "`predictions` to be a list with one entry per response, but found str"),
        (None, [["a"]], "`predictions` to be a list with one entry per response, but found NoneType"),
    ],
)
def test_wrong_rows(metric, predictions, histories, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        metric.compute(predictions=predictions, histories=histories)
    assert one(metric, "dogs", ["dogs"])[metric.name] == 1.0, "an error must leave nothing behind"


def test_missing_histories(metric):
    with pytest.raises(ValueError, match="histories"):
        metric.compute(predictions=["a"])


def test_wrong_method(p_co):
    with pytest.raises(ValueError, match=r"'bm25'.*cosine, tfidf, cover_msp, cover_dhap, cover_song"):
        one(p_co, "a", ["a"], method="bm25")
    with pytest.raises(ValueError, match="'cover_dhap'"):
        p_co.idf_table(FARMER, "cover_dhap")


@pytest.mark.parametrize("method", ["cosine", "cover_dhap"])
def test_a_table_the_method_does_not_read(p_co, method):
    with pytest.raises(ValueError, match=r"does not read one.*tfidf, cover_msp, cover_song"):
        one(p_co, "a", ["a"], method=method, idf={"a": 1.0})


def test_wrong_table(p_co):
    with pytest.raises(ValueError, match="dict from word to weight, but found list"):
        one(p_co, "a", ["a"], method="tfidf", idf=["a"])


@pytest.mark.parametrize("weight", [math.nan, math.inf, "x", None, True])
def test_wrong_weights(p_co, weight):
    with pytest.raises(ValueError, match=rf"weight of 'cats' in `idf` to be a finite number, but found {weight!r}\."):
        one(p_co, "a", ["a"], method="tfidf", idf={"a": np.float32(1), "cats": weight})


@pytest.mark.parametrize(
    ("utterances", "message"),
    [
        ("abc", "`utterances` to be a list of utterances, but found str"),
        (5, "`utterances` to be a list of utterances, but found int"),
        (iter(["abc"]), "`utterances` to be a list of utterances, but found list_iterator"),
        (["a", ["b"]], "utterance 1 to be a string, but found list"),
    ],
)
def test_wrong_utterances_of_a_table(p_co, utterances, message):
    with pytest.raises(ValueError, match=f"^p_co expected {re.escape(message)}"):
        p_co.idf_table(utterances)


@pytest.mark.parametrize("stop_words", ["german", 3, [3]])
def test_wrong_stop_words(p_f1, stop_words):
    with pytest.raises(ValueError, match="p_f1 expected `stop_words`"):
        one(p_f1, "a", ["a"], stop_words=stop_words)


# The ways `evaluate` calls a metric


def test_add_and_add_batch_equal_compute(metric):
    histories = [FARMER, [], OTHERS]
    expected = metric.compute(predictions=RESPONSES, histories=histories)
    for response, history in zip(RESPONSES, histories, strict=True):
        metric.add(prediction=response, histories=history)
    assert metric.compute() == expected
    metric.add_batch(predictions=RESPONSES[:2], histories=histories[:2])
    metric.add_batch(predictions=RESPONSES[2:], histories=histories[2:])
    assert metric.compute() == expected


def test_add_refuses_wrong_rows(metric):
    with pytest.raises(ValueError, match="expected history 0 to be a list of utterances, but found str"):
        metric.add(prediction="a", histories="b")


def test_combine(p_co, p_f1):
    results = evaluate.combine([load(name) for name in METRICS]).compute(predictions=RESPONSES, histories=[FARMER] * 3)
    assert results["p_co"] == p_co.compute(predictions=RESPONSES, histories=[FARMER] * 3)["p_co"]
    assert results["p_f1"] == p_f1.compute(predictions=RESPONSES, histories=[FARMER] * 3)["p_f1"]


def compute_in_process(process_id: int, name: str, cache_dir: str, results) -> None:
    metric = evaluate.load(
        str(ROOT / "metrics" / name), num_process=2, process_id=process_id, experiment_id="two", cache_dir=cache_dir
    )
    rows = slice(process_id, None, 2)
    results.put((process_id, metric.compute(predictions=RESPONSES[rows], histories=[FARMER, [], OTHERS][rows])))


@pytest.mark.slow
@pytest.mark.parametrize("name", METRICS)
def test_two_processes_equal_one(name, tmp_path):
    context = multiprocessing.get_context("spawn")
    results = context.Queue()
    processes = [context.Process(target=compute_in_process, args=(i, name, str(tmp_path), results)) for i in range(2)]
    for process in processes:
        process.start()
    computed = dict(results.get(timeout=120) for _ in processes)
    for process in processes:
        process.join()
    expected = load(name).compute(predictions=RESPONSES, histories=[FARMER, [], OTHERS])
    assert computed == {0: pytest.approx(expected), 1: None}


# Examples and files


def run_examples(source: str, text: str) -> None:
    example = doctest.DocTestParser().get_doctest(text, {}, source, source, 0)
    outcome = doctest.DocTestRunner().run(example)
    assert outcome.attempted > 0
    assert outcome.failed == 0


def by_path(text: str, name: str) -> str:
    """Return the same example for a machine where idl_hf is not installed."""
    path = ROOT / "metrics" / name
    return text.replace("import idl_hf", "import evaluate").replace(f'load("{name}")', f"load({str(path)!r})")


@pytest.mark.parametrize("name", METRICS)
def test_example_of_the_docstring(name):
    pytest.importorskip("idl_hf.registration", reason="idl_hf registers the short metric names")
    run_examples(f"{name}.py", load(name).inputs_description)


@pytest.mark.parametrize("name", METRICS)
def test_examples_by_path(name):
    run_examples(f"{name}.py", by_path(load(name).inputs_description, name))
    card = (ROOT / "metrics" / name / "README.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```python\n(.*?)```", card, flags=re.DOTALL)
    assert blocks
    for number, block in enumerate(blocks):
        run_examples(f"{name}/README.md, example {number}", by_path(block, name))


@pytest.mark.parametrize("name", METRICS)
def test_space_files(name):
    folder = ROOT / "metrics" / name
    assert {"README.md", "app.py", "requirements.txt", f"{name}.py"} <= {path.name for path in folder.iterdir()}
    front_matter = (folder / "README.md").read_text(encoding="utf-8").split("---")[1]
    for line in ("sdk: gradio", "app_file: app.py", "- evaluate", "- metric"):
        assert line in front_matter.splitlines()
    source = (folder / f"{name}.py").read_text(encoding="utf-8")
    imported = re.findall(r"^(?:import|from) (\w+)", source, flags=re.MULTILINE)
    assert set(imported) <= {"math", "collections", "numbers", "datasets", "evaluate"}


@pytest.mark.parametrize("name", METRICS)
def test_name_and_public_texts(name):
    metric = load(name)
    assert metric.name == name
    for label in ("2403.03102", "ma2021one", "zhong2022less"):
        assert label in metric.citation
    assert metric.description
