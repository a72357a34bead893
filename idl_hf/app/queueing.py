"""How the events of the page wait for each other."""

from typing import Literal, TypedDict


class Queueing(TypedDict):
    """What an event of Gradio takes: how many of a name run at once, and who may call it but the page."""

    concurrency_limit: int
    concurrency_id: str
    api_visibility: Literal["private"]


# A model writes one reply at a time, whoever asked for it
ONE_AT_A_TIME = Queueing(concurrency_limit=1, concurrency_id="model", api_visibility="private")
