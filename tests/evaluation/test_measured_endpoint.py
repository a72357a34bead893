"""`idl-hf evaluate --engine`: replies of a model behind a URL are scored as its own, and no likelihood is made up."""

import json

import pytest

from idl_hf.cache import Cache
from idl_hf.cli import main
from idl_hf.evaluation.measured_endpoint import MeasuredEndpoint
from idl_hf.machine import PRECISION_VARIABLE, fast_precision
from idl_hf.models.endpoint import Endpoint, EndpointError
from idl_hf.models.replies import generate_reply
from tests.models.engine import Answer, Engine

PROMPTS = [[{"role": "user", "content": f"number {n}"}] for n in range(4)]


@pytest.fixture
def exact(monkeypatch):
    """float32, in which replies do not depend on what else is in a batch."""
    monkeypatch.setenv(PRECISION_VARIABLE, "float32")
    fast_precision.cache_clear()
    yield
    fast_precision.cache_clear()


@pytest.fixture
def engine():
    with Engine(lambda messages: f"to {messages[-1]['content']}") as engine:
        yield engine


@pytest.fixture
def command(sample_data):
    where = ["--dataset_name", "idl_hf/dialogues_idl", "--data_dir", str(sample_data), "--encoder", "offline"]
    sizes = ["--dialogues_per_person", "1", "--generated_replies", "3", "--max_prompt_tokens", "256"]
    return ["evaluate", *where, *sizes, "--output_dir"]


def test_words_are_scored_and_no_likelihood_is_made_up(engine, command, tmp_path):
    behind = ["--engine", engine.url, "--tokenizer", "offline", "--models", "leroy", "ruth"]
    assert main([*command, str(tmp_path), *behind]) == 0
    found = json.loads((tmp_path / "report.json").read_text())
    asked = [asked.body for asked in engine.asked if asked.body]
    assert [body["model"] for body in asked] == ["leroy"] * 3 + ["ruth"] * 3
    assert {body["temperature"] for body in asked} == {0}
    last = sorted(f"to {body['messages'][-1]['content']}" for body in asked[:3])
    assert sorted(example["leroy"] for example in found["examples"]) == last
    for line in found["tables"][0]["lines"]:
        assert {"bleu_1", "rouge_l", "distinct_1", "p_f1", "p_co"} < set(line["values"])
        assert not {"nll", "nll_other", "nll_none", "gain"} & set(line["values"])
    assert sum("gives no log-probs of given ones" in note for note in found["notes"]) == 1


@pytest.mark.slow
def test_a_model_behind_an_engine_scores_as_the_model_itself(tiny_llama, tokenizer, command, tmp_path, exact):
    model = tiny_llama(seed=1, tie_word_embeddings=False)
    model.save_pretrained(tmp_path / "tiny")
    tokenizer.save_pretrained(tmp_path / "tiny")
    assert main([*command, str(tmp_path / "here"), "--models", str(tmp_path / "tiny")]) == 0

    def reply(messages):
        return generate_reply(model, tokenizer, messages, max_new_tokens=40)

    with Engine(reply, ["as-served", "other"]) as engine:
        behind = ["--engine", engine.url, "--tokenizer", str(tmp_path / "tiny"), "--models", "as-served"]
        assert main([*command, str(tmp_path / "there"), *behind]) == 0
    here, there = (json.loads((tmp_path / name / "report.json").read_text()) for name in ("here", "there"))
    (here_line,), (there_line,) = here["tables"][0]["lines"], there["tables"][0]["lines"]
    assert there_line["values"] == {key: here_line["values"][key] for key in there_line["values"]}
    assert [example["as-served"] for example in there["examples"]] == [
        example[str(tmp_path / "tiny")] for example in here["examples"]
    ]


def test_a_reply_is_kept_by_url_name_messages_and_length(engine, tmp_path):
    cache = Cache(tmp_path / "measured.sqlite")

    def asked_for(url, name, prompts, length=20):
        before = len(engine.asked)
        replies = MeasuredEndpoint(Endpoint(url, name), "none", cache).replies(prompts, length, "line")
        assert replies == [f"to {prompt[-1]['content']}" for prompt in prompts]
        return len(engine.asked) - before

    assert asked_for(engine.url, "ruth", PROMPTS) == 4
    assert asked_for(engine.url, "ruth", PROMPTS[::-1]) == 0
    assert asked_for(engine.url, "ruth", [[*PROMPTS[0], *PROMPTS[1]]]) == 1
    assert asked_for(engine.url, "ruth", PROMPTS, 21) == 4
    assert asked_for(engine.url, "leroy", PROMPTS) == 4
    assert asked_for(engine.url.replace("127.0.0.1", "localhost"), "ruth", PROMPTS) == 4


def test_what_was_answered_before_a_failure_is_not_asked_for_again(engine, tmp_path):
    model = MeasuredEndpoint(Endpoint(engine.url, "ruth", at_once=1), "none", Cache(tmp_path / "measured.sqlite"))
    engine.reply = lambda messages: (
        (engine.answers.append(Answer(500)) if "1" in messages[-1]["content"] else 0) or "a"
    )
    with pytest.raises(EndpointError):
        model.replies(PROMPTS, 20, "line")
    engine.asked.clear()
    model.replies(PROMPTS, 20, "line")
    assert len(engine.asked) == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--models", "rut", "--generated_replies", "3"], "has no model 'rut'. Its models are: ruth, leroy."),
        (["--models", "ruth", "--generated_replies", "3"], "Pass --tokenizer with the model or adapter behind"),
        (["--models", "ruth"], "gives replies and no log-probs, and no reply is to be generated"),
        (["--experiment", "table1"], "--engine cannot be combined with --experiment, only with --models"),
    ],
)
def test_a_wrong_word_is_answered_in_a_sentence(engine, arguments, message, capsys):
    assert main(["evaluate", *arguments, "--engine", engine.url]) == 1
    assert message in capsys.readouterr().err


def test_a_tokenizer_without_an_engine_is_refused(capsys):
    assert main(["evaluate", "--models", "ruth", "--tokenizer", "offline"]) == 1
    assert "--tokenizer is of --engine" in capsys.readouterr().err
