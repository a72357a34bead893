"""`idl-hf app`: the browser app on this machine alone."""

import os
import signal
import socket
import tempfile
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

from idl_hf.arguments import option
from idl_hf.evaluation.judging import JudgeArguments, open_ratings
from idl_hf.models.known_templates import CHAT_TEMPLATE_HELP

if TYPE_CHECKING:
    from idl_hf.app.visitors import Shared
    from idl_hf.evaluation.ratings_file import RatingsFile

ADDRESS = "127.0.0.1"


@dataclass
class AppArguments:
    """What answers, and where the page is."""

    model: str | None = option(None, "Adapter or model: a Hub id, a folder, or 'offline'. Not needed to judge.")
    data_dir: str | None = option(None, "Folder with train.jsonl, as `idl-hf import` writes it; default: nobody yet.")
    port: int = option(7860, "Port of the page on this machine, 127.0.0.1.")
    encoder: str | None = option(None, "Sentence encoder, or 'offline'; default that of the adapter's training.")
    references: int | None = option(None, "How many past dialogues the model is shown; default as in training.")
    max_prompt_tokens: int | None = option(None, "Longer ones lose whole reference dialogues; default as in training.")
    chat_template: str | None = option(None, CHAT_TEMPLATE_HELP)


def open_app(args: AppArguments, judge: JudgeArguments) -> None:
    """Serve the page until Ctrl-C or SIGTERM: with a model to talk to a person, with ratings to judge.

    Raises ImportError where Gradio is not installed, ValueError and OSError where the options, the model or the folder
    cannot be used.
    """
    if args.model is None and judge.ratings is None:
        raise ValueError("Pass --model to talk to a person, or --ratings with two systems to judge their replies.")
    _check_port(args.port)
    signal.signal(signal.SIGTERM, _interrupt)  # so that the copies of files go in any case
    with tempfile.TemporaryDirectory(prefix="idl_hf-app-") as copies:
        # Before Gradio is imported; a proxy would be asked for this machine's own page
        os.environ.update(GRADIO_ANALYTICS_ENABLED="False", GRADIO_TEMP_DIR=copies, HF_HUB_DISABLE_TELEMETRY="1")
        proxied = os.environ.get("NO_PROXY") or os.environ.get("no_proxy")
        os.environ["NO_PROXY"] = os.environ["no_proxy"] = ",".join(filter(None, (proxied, ADDRESS)))
        try:
            import gradio  # noqa: F401
        except ImportError as error:
            raise ImportError(
                "The browser app needs the package 'gradio', which is not installed. Run: pip install gradio"
            ) from error
        ratings = open_ratings(judge, args.data_dir, args.encoder, args.chat_template)
        _serve(None if args.model is None else _load(args, args.model), ratings, args.port)


def _load(args: AppArguments, model: str) -> "Shared":
    """Return the model and the people of the folder."""
    from idl_hf.app.visitors import Shared, read_people  # here, since `app --help` would pay for torch
    from idl_hf.chat.persona_chat import PersonaChat
    from idl_hf.models.generation import as_in_chat

    people = [] if args.data_dir is None else read_people(args.data_dir)  # first, since its mistakes cost no wait
    chat = PersonaChat.from_pretrained(
        model,
        encoder=args.encoder,
        references=args.references,
        max_prompt_tokens=args.max_prompt_tokens,
        chat_template=args.chat_template,
    )
    chat.generation = as_in_chat(chat.generation)
    return Shared(chat, people, Path(args.data_dir).expanduser().resolve() if args.data_dir else None)


def _check_port(port: int) -> None:
    if not 1 <= port <= 65535:
        raise ValueError(f"--port must be a number from 1 to 65535, found {port}.")
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((ADDRESS, port))
        except OSError as error:
            raise OSError(
                f"The port {port} of {ADDRESS} cannot be used: {error.strerror}. Pass another --port."
            ) from error


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _serve(shared: "Shared | None", ratings: "RatingsFile | None", port: int) -> None:
    from starlette.middleware import Middleware
    from starlette.middleware.trustedhost import TrustedHostMiddleware

    from idl_hf.app.page import STYLE, OwnAddressOnly, build_page, theme
    from idl_hf.app.queueing import KEPT_STREAMS

    page = build_page(shared, ratings)
    # A page of elsewhere whose name leads to this machine is answered nothing
    hosts = Middleware(TrustedHostMiddleware, allowed_hosts=[ADDRESS, "localhost"])
    page.launch(
        server_name=ADDRESS,
        server_port=port,
        share=False,
        inbrowser=False,
        quiet=True,
        ssr_mode=False,
        pwa=False,
        enable_monitoring=False,
        prevent_thread_lock=True,
        footer_links=[],
        theme=theme(),
        css=STYLE,
        head=KEPT_STREAMS,
        app_kwargs={"middleware": [hosts, Middleware(OwnAddressOnly)]},
    )
    print(f"Open http://{ADDRESS}:{port} in a browser. Nothing leaves this machine; Ctrl-C ends.", flush=True)
    page.block_thread()
