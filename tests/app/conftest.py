"""A port that nobody listens on, and a page that is drawn."""

import socket

import pytest


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture
def unused_port() -> int:
    return free_port()


STREAMS = ("/heartbeat/", "/queue/data")  # which go on


def watch(page) -> None:
    """Know what a page is loading, from before it is opened."""
    page.loading = set()
    page.on("request", lambda asked: None if any(part in asked.url for part in STREAMS) else page.loading.add(asked))
    for end in ("requestfinished", "requestfailed"):
        page.on(end, lambda asked: page.loading.discard(asked))


def drawn(page) -> None:
    """Wait until a page that is watched loads and draws nothing more: Gradio draws a tab or a fold anew once its code
    is there, and takes away what a program, quicker than anybody, has put into its fields before."""
    quiet = 0
    while quiet < 4:
        page.wait_for_timeout(100)
        page.evaluate("new Promise(go => requestIdleCallback(() => go(), { timeout: 5000 }))")
        quiet = 0 if page.loading else quiet + 1
