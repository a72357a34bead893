"""Requests a second and the time to the first token of `idl-hf serve`, and of another OpenAI server beside it.

    python benchmarks/serve.py                                       # the offline model, the sample people
    python benchmarks/serve.py --peer http://127.0.0.1:8080/v1 --peer_model NAME
    python benchmarks/serve.py --quick                               # one conversation at a time, for the test suite

A request is the second turn of a conversation, so many conversations at once, streamed. "kept": the first turn was
answered before, so that the prompt but the new message is known. "new": the same with an instruction of its own before
everything, so that nothing of the prompt is known. The peer gets the same prompts, rendered to messages. The ways take
turns; each number is the median of the turns, with the least and the most.
"""

import argparse
import itertools
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from typing import NamedTuple

import openai

from common import arguments, head, progress, row, spread
from idl_hf.chat.persons import Persons, read_all_people
from idl_hf.demo import SAMPLE_DATA
from idl_hf.encoding import SentenceEncoder
from idl_hf.models.loading import load_config, load_tokenizer
from idl_hf.rows.options import RowOptions
from idl_hf.schema import Message, Turn

ROUNDS = itertools.count()


class Conversation(NamedTuple):
    """Who is talked to, and what has been said up to the second message."""

    person: str
    first: str
    reply: str
    second: str

    def turns(self, count: int) -> list[Turn]:
        """Return the first turns of it, 1 or 3."""
        said = (Turn("partner", self.first), Turn("self", self.reply), Turn("partner", self.second))
        return list(said[:count])


class Load(NamedTuple):
    """Requests a second, and the seconds to the first token of each request."""

    rate: float
    first: list[float]


def conversations(data_dir: str, count: int) -> list[Conversation]:
    """Return conversations with all people in turn, each another one as far as the dialogues go."""
    found: list[list[Conversation]] = []
    for person in read_all_people(data_dir).values():
        own = []
        for dialogue in person.dialogues:
            texts = {role: [turn.text for turn in dialogue.turns if turn.role == role] for role in ("partner", "self")}
            if len(texts["partner"]) > 1 and texts["self"]:
                own.append(Conversation(person.person_id, texts["partner"][0], texts["self"][0], texts["partner"][1]))
        found.append(own)
    mixed = [talk for talks in itertools.zip_longest(*found) for talk in talks if talk is not None]
    return list(itertools.islice(itertools.cycle(mixed), count))


@contextmanager
def serving(args: argparse.Namespace) -> Iterator[str]:
    """Yield the URL of a server of ours."""
    words = ["serve", "--model", args.model, "--data_dir", args.data_dir, "--encoder", "offline", "--port", "0"]
    options = ["--max_running", "50", "--max_queued", "200", "--references", str(args.references)]
    command = [sys.executable, "-m", "idl_hf.cli", *words, *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            line = next((line for line in server.stdout if line.startswith("Serving")), "")
            if not line:
                raise SystemExit("The server did not start; see above.")
            yield line.split(" at ")[1].split()[0]
        finally:
            server.terminate()


def send(client: openai.OpenAI, model: str, messages: Sequence[Message], length: int) -> float:
    """Have a reply streamed to its end and return the seconds to its first text."""
    start, first = time.perf_counter(), None
    asked = {"model": model, "messages": list(messages), "max_tokens": length, "temperature": 0, "stream": True}
    for chunk in client.chat.completions.create(**asked):  # type: ignore[call-overload]
        if first is None and chunk.choices and chunk.choices[0].delta.content:
            first = time.perf_counter() - start
    return time.perf_counter() - start if first is None else first


def load(ask: Callable[[Conversation, int, str], float], talks: Sequence[Conversation], kept: bool) -> Load:
    """Return what a server does under so many conversations at once."""
    if kept:
        for talk in talks:
            ask(talk, 1, "")
    together = threading.Barrier(len(talks) + 1)

    def talk_at_once(talk: Conversation) -> float:
        number = next(ROUNDS)
        talk = talk._replace(second=f"{talk.second} ({number})")  # which no turn before has computed
        together.wait()
        return ask(talk, 3, "" if kept else f"Conversation {number}.")

    with ThreadPoolExecutor(len(talks)) as pool:
        asked = [pool.submit(talk_at_once, talk) for talk in talks]
        together.wait()
        start = time.perf_counter()
        first = [request.result() for request in asked]
        return Load(len(talks) / (time.perf_counter() - start), first)


def main() -> None:
    """Measure and print a table."""
    args = arguments(
        __doc__,
        {"at_once": [1], "turns": 1, "max_tokens": 4},
        model="offline",
        data_dir=str(SAMPLE_DATA),
        references=5,
        at_once=[1, 8, 50],
        max_tokens=24,
        turns=3,
        peer="",
        peer_model="",
    )
    tokenizer = load_tokenizer(args.model)
    options = RowOptions(encoder="offline", references=args.references)
    people, encoder = read_all_people(args.data_dir), SentenceEncoder("offline", show_progress=False)
    persons = Persons(people, encoder, options, tokenizer, load_config(args.model), 2048)
    with serving(args) as url:
        ours = openai.OpenAI(base_url=url, api_key="none", timeout=3600, max_retries=0)

        def ask_ours(talk: Conversation, turns: int, system: str) -> float:
            roles = {"partner": "user", "self": "assistant"}
            messages = [{"role": roles[turn.role], "content": turn.text} for turn in talk.turns(turns)]
            before = [{"role": "system", "content": system}] if system else []
            return send(ours, talk.person, before + messages, args.max_tokens if turns > 1 else 1)

        servers = {"idl-hf serve": ask_ours}
        if args.peer:
            peer = openai.OpenAI(base_url=args.peer, api_key="none", timeout=3600, max_retries=0)

            def ask_peer(talk: Conversation, turns: int, system: str) -> float:
                length = args.max_tokens if turns > 1 else 1
                messages = persons.prompt(talk.person, talk.turns(turns), system, length)
                return send(peer, args.peer_model, messages, length)

            servers["the peer"] = ask_peer
        measure(servers, args)


def measure(servers: dict[str, Callable[[Conversation, int, str], float]], args: argparse.Namespace) -> None:
    """Print the load figures of all servers, with what they keep and without, in turns."""
    print(head("conversations", "server", "prompt", "requests a second", "first token, s (median)", "(slowest)"))
    for count in args.at_once:
        talks = conversations(args.data_dir, count)
        ways = {
            (name, kept): partial(load, ask, talks, kept) for name, ask in servers.items() for kept in (True, False)
        }
        loads: dict[tuple[str, bool], list[Load]] = {way: [] for way in ways}
        for turn in range(args.turns):
            for way in [*ways][turn % len(ways) :] + [*ways][: turn % len(ways)]:  # none always follows the same one
                loads[way].append(ways[way]())
                progress(f"{count} conversations, {way}, turn {turn + 1}: {loads[way][-1].rate:.2f} requests a second")
        for (name, kept), taken in loads.items():
            rates = spread([each.rate for each in taken])
            middle = spread([statistics.median(each.first) for each in taken])
            slowest = spread([max(each.first) for each in taken])
            print(row(count, name, "kept" if kept else "new", rates, middle, slowest), flush=True)


if __name__ == "__main__":
    main()
