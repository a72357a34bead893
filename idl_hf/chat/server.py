"""`idl-hf serve`: people behind an OpenAI-compatible API."""

import ipaddress
import math
import signal
import socket
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import FrameType
from typing import TYPE_CHECKING, NamedTuple

import psutil

from idl_hf.arguments import option, required
from idl_hf.models.known_templates import CHAT_TEMPLATE_HELP
from idl_hf.shown import visible

if TYPE_CHECKING:
    from fastapi import FastAPI
    from transformers import PretrainedConfig, PreTrainedTokenizerBase

    from idl_hf.chat.answers import Answer
    from idl_hf.chat.api import Service
    from idl_hf.chat.api_request import Asked
    from idl_hf.chat.persons import Persons
    from idl_hf.chat.recipe import Recipe
    from idl_hf.models.generation import GenerationSettings
    from idl_hf.models.loading import LoadedModel
    from idl_hf.schema import Message, Person

_GRACE = 3.0  # seconds that a reply has to end in once the server is asked to
_NEEDS = "`idl-hf serve` needs {name}, which is not installed. Install it with `pip install fastapi uvicorn`."


@dataclass
class ServeArguments:
    """Who is served, and where."""

    model: str = required("Adapter or model: a Hub id, a folder, or 'offline'.")
    data_dir: str = required("Folder with train.jsonl, validation.jsonl or test.jsonl: the people of all are served.")
    host: str = option("127.0.0.1", "Address to listen at; one that other machines reach needs --api_key.")
    engine: str | None = option(
        None,
        "URL of an OpenAI-compatible server, such as vLLM with the adapter, that writes the replies to the prompts "
        "made here; then --model says by whose tokenizer these are cut to length, and $IDL_HF_ENGINE_KEY is its key.",
    )
    engine_model: str | None = option(None, "Of --engine: what that server calls the model; default: --model.")
    port: int = option(8000, "Port to listen at; 0: any that is free.")
    api_key: str | None = option(None, "Key that clients must send; default: any is taken.")
    encoder: str | None = option(None, "Sentence encoder, or 'offline'; default that of the adapter's training.")
    references: int | None = option(None, "How many past dialogues a prompt shows; default as in training.")
    max_prompt_tokens: int | None = option(None, "Longer ones lose whole reference dialogues; default as in training.")
    chat_template: str | None = option(None, CHAT_TEMPLATE_HELP)
    max_running: int = option(32, "Replies that are written at once.")
    max_queued: int = option(64, "Requests that may wait besides; further ones are refused with status 429.")
    cache_gib: float | None = option(
        None, "GiB for kept keys and values of prompts and replies; default: a quarter of the memory that is free."
    )

    def __post_init__(self) -> None:
        for name, low, high in (("port", 0, 65535), ("max_running", 1, 4096), ("max_queued", 0, 10**6)):
            if not low <= getattr(self, name) <= high:
                raise ValueError(f"--{name} must be from {low} to {high}, found {getattr(self, name)}.")
        if self.cache_gib is not None and not 0 < self.cache_gib < math.inf:
            raise ValueError(f"--cache_gib must be a number above 0, found {self.cache_gib}.")
        if self.engine is None and self.engine_model is not None:
            raise ValueError("--engine_model is of --engine: a model that is loaded here has one name. Leave it out.")
        if self.api_key is not None and (not self.api_key.isascii() or not self.api_key.strip()):
            raise ValueError("--api_key must be a text of ASCII characters that is not empty.")
        if self.api_key is None and not is_loopback(self.host):
            raise ValueError(
                f"--host {self.host} can be reached from other machines, where anybody could talk to these people. "
                "Pass an --api_key too, or leave --host at 127.0.0.1."
            )


def is_loopback(host: str) -> bool:
    """Tell whether an address is one that this machine alone reaches."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def serve(args: ServeArguments) -> None:
    """Answer requests until the process is told to end by SIGTERM or Ctrl-C."""
    for name in ("fastapi", "uvicorn"):
        try:
            __import__(name)
        except ImportError as error:
            raise ImportError(_NEEDS.format(name=name)) from error
    from idl_hf.chat.api import make_app

    try:
        listening = socket.create_server((args.host, args.port), family=_family(args.host))
    except OSError as error:
        reason = str(error.strerror or error).partition(" (while")[0]
        raise OSError(
            f"Cannot listen at {args.host} port {args.port}: {reason}. Pass another --port or --host."
        ) from error
    with listening:
        served = _load(args)
        port = listening.getsockname()[1]
        shown = f"[{args.host}]" if ":" in args.host else args.host
        people = len(served.service.persons.people)
        print(
            f"Serving {people} {'person' if people == 1 else 'people'} at http://{visible(shown)}:{port}/v1 "
            f"({visible(served.about)}). Ctrl-C ends.",
            flush=True,
        )
        _run(make_app(served.service), listening, served.stop)
        served.stop(0)
        served.join()


def _family(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET


class Served(NamedTuple):
    """What answers, what is said of it, how it is told to end within some seconds, and how to wait for that."""

    service: "Service"
    about: str
    stop: Callable[[float], None]
    join: Callable[[], None]


def _load(args: ServeArguments) -> Served:
    from idl_hf.chat.persons import read_all_people
    from idl_hf.chat.recipe import recipe_of
    from idl_hf.models.loading import load_model

    people = read_all_people(args.data_dir)
    if not people:
        raise ValueError(f"There are no dialogues in '{args.data_dir}', so there is nobody to serve.")
    recipe = recipe_of(
        args.model, encoder=args.encoder, references=args.references, max_prompt_tokens=args.max_prompt_tokens
    )
    if args.engine:
        return serve_endpoint(args, people, recipe)
    return serve_model(args, people, recipe, load_model(args.model, chat_template=args.chat_template))


def serve_model(
    args: ServeArguments, people: "Mapping[str, Person]", recipe: "Recipe", loaded: "LoadedModel"
) -> Served:
    """Return what answers for people by a model, which is the engine's alone from now on."""
    from idl_hf.chat.answers import LocalAnswer
    from idl_hf.models.engine import Engine
    from idl_hf.models.generation import as_in_chat
    from idl_hf.token_ids import end_ids

    model, tokenizer = loaded
    room = int(args.cache_gib * 2**30) if args.cache_gib is not None else _free_bytes(model.device.type) // 4
    engine = Engine(model, end_ids(tokenizer, model.generation_config), room, args.max_running)
    service = _service(
        args,
        _persons(people, recipe, tokenizer, model.config),
        as_in_chat(recipe.generation),
        lambda prompt, asked: LocalAnswer(engine, tokenizer, prompt, asked),
        lambda: engine.state()._asdict(),
    )
    return Served(service, f"room for {engine.tree.limit} tokens", engine.stop, engine.join)


def serve_endpoint(args: ServeArguments, people: "Mapping[str, Person]", recipe: "Recipe") -> Served:
    """Return what answers for people by another server."""
    from idl_hf.chat.remote_answers import RemoteAnswers
    from idl_hf.models.endpoint import Endpoint
    from idl_hf.models.generation import as_in_chat
    from idl_hf.models.loading import load_config, load_tokenizer

    assert args.engine is not None
    endpoint = Endpoint(args.engine, args.engine_model or args.model)
    tokenizer = load_tokenizer(args.model, chat_template=args.chat_template)
    if endpoint.model not in (names := endpoint.models()):
        raise ValueError(
            f"The engine at {endpoint.url} has no model '{endpoint.model}'. Its models are: "
            f"{', '.join(names) or 'none'}. Name one with --engine_model."
        )
    answers = RemoteAnswers(endpoint, tokenizer)
    persons = _persons(people, recipe, tokenizer, load_config(args.model))
    # Of another server the penalty is of the whole prompt: it would punish the person's own words
    defaults = replace(as_in_chat(recipe.generation), repetition_penalty=1.0)
    service = _service(args, persons, defaults, answers.answer, answers.state)
    return Served(service, f"replies by {endpoint.url}", answers.stop, lambda: None)


def _persons(
    people: "Mapping[str, Person]", recipe: "Recipe", tokenizer: "PreTrainedTokenizerBase", config: "PretrainedConfig"
) -> "Persons":
    from idl_hf.chat.persons import Persons
    from idl_hf.encoding import SentenceEncoder

    encoder = SentenceEncoder(recipe.options.encoder, show_progress=False)
    return Persons(people, encoder, recipe.options, tokenizer, config, recipe.max_prompt_tokens)


def _service(
    args: ServeArguments,
    persons: "Persons",
    defaults: "GenerationSettings",
    answer: "Callable[[Sequence[Message], Asked], Answer]",
    state: Callable[[], dict[str, int]],
) -> "Service":
    from idl_hf.chat.api import Service

    hosts = ["localhost", "127.0.0.1", "[::1]", args.host] if is_loopback(args.host) else ["*"]
    if ":" in args.host:
        # A Host header has such an address in brackets, and Starlette 0.40 reads no further than to the first ":"
        hosts += [f"[{args.host}]", f"[{args.host.partition(':')[0]}", "["]
    most = args.max_running + args.max_queued
    return Service(persons, answer, state, defaults, most, args.api_key, hosts)


def _free_bytes(device: str) -> int:
    import torch

    return torch.cuda.mem_get_info()[0] if device == "cuda" else psutil.virtual_memory().available


def _run(app: "FastAPI", listening: socket.socket, stop: Callable[[float], None]) -> None:
    """Serve until a signal, and call `stop` at the first."""
    import uvicorn

    class Server(uvicorn.Server):
        def handle_exit(self, sig: int, frame: FrameType | None) -> None:
            stop(_GRACE)
            super().handle_exit(sig, frame)

    # uvicorn raises the signal again once it has shut down; by then all is done that it asked for
    for name in (signal.SIGTERM, signal.SIGINT):
        signal.signal(name, lambda *_: None)
    config = uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=math.ceil(2 * _GRACE))
    Server(config).run(sockets=[listening])
