"""What chat, app and serve are given: a template for a model that has none, and how long a prompt may be."""

import copy

import pytest

from idl_hf import PersonaChat
from idl_hf.app import launch
from idl_hf.app.launch import AppArguments
from idl_hf.chat import server, terminal
from idl_hf.chat.server import ServeArguments
from idl_hf.chat.terminal import ChatArguments
from idl_hf.chat_template import PLAIN_TEMPLATE
from tests.models.engine import Engine


@pytest.fixture(scope="module")
def bare(tiny_llama, tokenizer, tmp_path_factory):
    """A folder with a model that has no chat template."""
    folder = tmp_path_factory.mktemp("bare")
    tiny_llama().save_pretrained(folder)
    without = copy.deepcopy(tokenizer)
    without.chat_template = None
    without.save_pretrained(folder)
    return str(folder)


def chat(model, logs, monkeypatch, **template):
    talks = []
    monkeypatch.setattr(terminal, "_converse", talks.append)
    terminal.chat_in_terminal(ChatArguments(model, logs, person="ambrose", encoder="offline", **template))
    return talks[0].chat._model.tokenizer


def chat_as_saved(model, logs, monkeypatch, **template):
    known = PersonaChat.from_pretrained(model, encoder="offline", chat_template="plain")
    known.add_dialogue([("partner", "any plans?"), ("self", "mending nets.")])
    known.save(f"{model}/saved")
    talks = []
    monkeypatch.setattr(terminal, "_converse", talks.append)
    terminal.chat_in_terminal(ChatArguments(model, f"{model}/saved", **template))
    return talks[0].chat._model.tokenizer


def app(model, logs, monkeypatch, **template):
    return launch._load(AppArguments(model, logs, encoder="offline", **template), model).chat._model.tokenizer


def serve(model, logs, monkeypatch, **template):
    seen = []
    monkeypatch.setattr(server, "serve_model", lambda args, people, recipe, loaded: seen.append(loaded))
    server._load(ServeArguments(model, logs, encoder="offline", **template))
    return seen[0].tokenizer


def serve_another(model, logs, monkeypatch, **template):
    with Engine(lambda messages: "hi") as engine:
        args = ServeArguments(model, logs, encoder="offline", engine=engine.url, engine_model="ruth", **template)
        served = server._load(args)
    served.stop(0)
    return served.service.persons._tokenizer


WAYS = [chat, chat_as_saved, app, serve, serve_another]


@pytest.mark.parametrize("way", WAYS)
def test_a_template_that_is_given_is_taken(way, bare, sample_data, monkeypatch):
    assert way(bare, str(sample_data), monkeypatch, chat_template="plain").chat_template == PLAIN_TEMPLATE


@pytest.mark.parametrize("way", WAYS)
def test_without_one_the_sentence_says_how_to_give_it(way, bare, sample_data, monkeypatch):
    with pytest.raises(ValueError, match=r"has no chat template.*--chat_template"):
        way(bare, str(sample_data), monkeypatch)


@pytest.mark.parametrize("way", [chat, app, serve, serve_another])
def test_a_prompt_has_at_least_one_token(way, bare, sample_data, monkeypatch):
    with pytest.raises(ValueError, match=r"--max_prompt_tokens must be 1 or more, found 0\."):
        way(bare, str(sample_data), monkeypatch, chat_template="plain", max_prompt_tokens=0)
