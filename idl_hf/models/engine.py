"""Replies to many prompts at once: what prompts begin with in common is computed once and kept, and each forward pass
is one packed row of the next tokens of all replies and of parts of prompts that are new.

    pass 1   prompt A: 256 tokens                      a long prompt goes through in parts, so that replies that are
    pass 2   prompt A: rest | reply A: 1 token         being written wait for a part at most
    pass 3   reply A: 1 | prompt B: 31 (all that A's prompt has not) | reply B: 1

Keys and values lie in the nodes of a `PrefixTree`; the attention reads them there, each node once for all replies that
go through it, and nothing is copied or padded. The tokens of a prompt but its last are nodes of the tree; the last and
the reply are a node of the reply's own, which joins the tree at its end, for the next turn of the conversation.
"""

import logging
import threading
from collections import deque
from collections.abc import Callable, Collection, Iterator, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from queue import SimpleQueue
from time import monotonic
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor
from transformers import AttentionInterface, PreTrainedModel

from idl_hf.models.prefix_tree import Node, PrefixTree
from idl_hf.models.tree_decoding import base_model, out_of_sight, reading_obstacle
from idl_hf.packing.attention import refuse_extras

logger = logging.getLogger(__name__)
ATTENTION = "idl_hf_engine"
CHUNK = 256  # new tokens of prompts in one forward pass
TILE = 128  # queries of one prompt that are attended for at once; bounds the scores in memory
_FEW_ROWS = 32  # of a product
Draw = Callable[[Sequence[int], Tensor], int]  # (tokens of the reply so far, logits of shape (vocabulary,)) -> token
End = Literal["stop", "length"]


class EngineStoppedError(Exception):
    """The engine ends, and with it what it has not written yet."""


class EngineState(NamedTuple):
    """Replies that are being written and that wait; tokens that are kept, that there is room for, and that were
    evicted."""

    running: int
    waiting: int
    cached_tokens: int
    room_tokens: int
    evicted_tokens: int


@dataclass(eq=False)
class Reply:
    """A reply that is asked for or being written.

    emit: is called in the engine's thread with each token, and once with how it ended, or with what went wrong.
    computed: how many of the prompt's tokens had to be computed for it.
    """

    prompt: list[int]
    max_new_tokens: int
    draw: Draw
    emit: Callable[[int | End | Exception], None]
    written: list[int] = field(default_factory=list)
    computed: int = 0
    cancelled: bool = False
    own: Node = field(default_factory=Node)

    @property
    def room(self) -> int:
        """Return how many tokens of its own it may come to."""
        return self.max_new_tokens + 1


@dataclass(frozen=True)
class _Segment:
    """Tokens of a node that a pass computes, in the row from `row` on."""

    node: Node
    start: int
    stop: int
    row: int


@dataclass(frozen=True)
class _Read:
    """The first `count` tokens of a node, which the queries from `first` to `last` of a tile attend to."""

    node: Node
    count: int
    first: int
    last: int


@dataclass
class _Tile:
    """Queries that are attended for at once, from `row` on in the row. Column i of their scores is position i."""

    row: int
    positions: Tensor
    reads: list[_Read]
    hidden: dict[int | None, Tensor] = field(default_factory=dict)  # by window

    def mask(self, window: int | None) -> Tensor:
        """Return which columns each query does not see, bool (queries, width)."""
        if window not in self.hidden:
            columns = torch.arange(int(self.positions.max()) + 1, device=self.positions.device)
            self.hidden[window] = out_of_sight(self.positions[:, None] - columns, window)
        return self.hidden[window]


@dataclass(frozen=True)
class _Pass:
    """One forward pass: what it computes, and how its queries are attended for."""

    segments: list[_Segment]
    tiles: list[_Tile]


_current: ContextVar[_Pass] = ContextVar("pass")


class Engine:
    """Writes replies in a thread of its own, `max_running` at once; others wait for their turn."""

    def __init__(self, model: PreTrainedModel, ends: Collection[int], cache_bytes: int, max_running: int = 32) -> None:
        """Take the model, which is the engine's alone from now on, and the tokens that end a reply.

        cache_bytes: what keys and values may take. Raises ValueError where the model cannot run packed rows.
        """
        if (reason := reading_obstacle(model)) is not None:
            raise ValueError(f"Conversations of this model cannot be computed together: {reason}.")
        self._model: Any = model
        self._ends = set(ends)
        base_model(model).set_attn_implementation(ATTENTION)
        self.tree = PrefixTree(cache_bytes // self._token_bytes())
        self._max_running = max_running
        self._waiting: deque[Reply] = deque()
        self._running: list[Reply] = []
        self._changed = threading.Condition()
        self._deadline: float | None = None  # set once it stops
        self._thread = threading.Thread(target=self._work, name="engine", daemon=True)
        self._thread.start()

    def state(self) -> EngineState:
        """Return how much there is to do, and what is kept. Raises EngineStoppedError where nothing is written any
        more."""
        self._check_alive()
        tree = self.tree
        return EngineState(len(self._running), len(self._waiting), tree.tokens, tree.limit, tree.evicted)

    def submit(self, reply: Reply) -> None:
        """Have a reply written. Raises ValueError for one that the memory has no room for, even alone, and
        EngineStoppedError."""
        needed = len(reply.prompt) - 1 + reply.room
        if not reply.prompt or needed > self.tree.limit:
            raise ValueError(
                f"The prompt and its reply take up to {needed} tokens, and the memory for keys and values has room "
                f"for {self.tree.limit}. Ask for fewer, or serve with a larger --cache_gib."
            )
        with self._changed:
            if self._deadline is not None:
                raise EngineStoppedError("The server is shutting down.")
            self._check_alive()
            self._waiting.append(reply)
            self._changed.notify()

    def cancel(self, reply: Reply) -> None:
        """Stop a reply that nobody wants any more; one that has ended is left as it is."""
        with self._changed:
            reply.cancelled = True
            self._changed.notify()

    def stop(self, grace: float = 0.0) -> None:
        """Refuse what waits and what comes, and end what is being written `grace` seconds from now. Returns at once.
        Safe to call from a signal handler."""
        self._deadline = monotonic() + grace

    def join(self) -> None:
        """Wait for the end of a stopped engine."""
        with self._changed:
            self._changed.notify()
        self._thread.join()

    def tokens(self, prompt: Sequence[int], draw: Draw, max_new_tokens: int) -> Iterator[int]:
        """Yield the tokens of a reply, with the one that ends it. Raises what went wrong."""
        events: SimpleQueue[int | End | Exception] = SimpleQueue()
        reply = Reply(list(prompt), max_new_tokens, draw, events.put)
        self.submit(reply)
        try:
            while isinstance(event := events.get(), int):
                yield event
            if isinstance(event, Exception):
                raise event
        finally:
            self.cancel(reply)

    def _check_alive(self) -> None:
        """Raise EngineStoppedError where the thread has ended, and whoever waited for it would wait for ever."""
        if not self._thread.is_alive():
            raise EngineStoppedError("The engine has ended and writes no more replies. Start the server again.")

    def _work(self) -> None:
        with torch.inference_mode():
            while self._wait():
                try:
                    self._drop_cancelled()
                    self._admit()
                    self._step()
                except Exception as error:  # such as no memory left: these replies fail, others are still served
                    logger.exception("A forward pass failed")
                    for reply in list(self._running):
                        self._end(reply, RuntimeError(f"The forward pass failed: {error}"))

    def _wait(self) -> bool:
        """Wait until there is something to do, and tell whether there ever will be."""
        with self._changed:
            while not (self._waiting or self._running):
                if self._deadline is not None:
                    return False
                self._changed.wait(timeout=0.2)  # a signal handler may not notify
            if self._deadline is None:
                return True
            refused = list(self._waiting)
            self._waiting.clear()
        if monotonic() >= self._deadline:
            for reply in list(self._running):
                self._end(reply, EngineStoppedError("The server is shutting down; the reply is cut off."))
        for reply in refused:
            _tell(reply, EngineStoppedError("The server is shutting down."))
        return True

    def _drop_cancelled(self) -> None:
        with self._changed:
            self._waiting = deque(reply for reply in self._waiting if not reply.cancelled)
        for reply in [reply for reply in self._running if reply.cancelled]:
            self._end(reply, None)

    def _admit(self) -> None:
        """Take in those that wait longest, as far as there is room for all that they may come to."""
        while self._waiting and len(self._running) < self._max_running:
            reply = self._waiting[0]
            try:
                leaf = self.tree.enter(reply.prompt[:-1])
            except Exception as error:  # such as no memory left to cut a node in two
                logger.exception("A reply could not be begun")
                self._waiting.popleft()
                _tell(reply, RuntimeError(f"The reply could not be begun: {error}"))
                continue
            if not self.tree.make_room(reply.room + sum(other.room for other in self._running)):
                self.tree.leave(leaf)
                return
            self._waiting.popleft()
            reply.own = Node(reply.prompt[-1:], leaf, len(reply.prompt) - 1)
            self._running.append(reply)

    def _end(self, reply: Reply, event: End | Exception | None) -> None:
        """Take a reply out and tell how it ended, whatever goes wrong; of one that failed nothing of its own is kept,
        for that takes memory, and there may be none."""
        self._running.remove(reply)
        leaf = reply.own.parent
        assert leaf is not None
        try:
            self.tree.leave(leaf)
            if reply.own.filled and not isinstance(event, Exception):
                self.tree.adopt(reply.own)
        except Exception:
            logger.exception("What was computed for a reply could not be kept")
        if event is not None:
            _tell(reply, event)

    def _step(self) -> None:
        """Compute what is next of all replies, and draw a token for each whose prompt is done."""
        segments, ready = self._plan()
        if not segments:
            return
        logits = self._forward(segments, len(ready))
        for segment in segments:
            segment.node.filled = segment.stop
        for reply, scores in zip(ready, logits, strict=False):
            try:
                token = reply.draw(reply.written, scores)
                reply.written.append(token)
                reply.own.ids.append(token)
                reply.emit(token)
            except Exception as error:  # of this reply alone, such as logits that are not finite
                self._end(reply, error)
                continue
            if token in self._ends:
                self._end(reply, "stop")
            elif len(reply.written) >= reply.max_new_tokens:
                self._end(reply, "length")

    def _plan(self) -> tuple[list[_Segment], list[Reply]]:
        """Return what the next pass computes, first a token of each of the replies that are returned too.

        Earlier replies go before later ones, and a node is computed for all that go through it.
        """
        filled: dict[Node, int] = {}  # once the pass is done
        parts: list[tuple[Node, int, int]] = []
        ready: list[tuple[list[int], Reply]] = []
        budget = CHUNK
        for reply in self._running:
            path = reply.own.path()
            for node in path[:-1]:
                start = filled.get(node, node.filled)
                if start == len(node.ids):
                    continue
                if not budget:
                    break
                filled[node] = min(len(node.ids), start + budget)
                budget -= filled[node] - start
                reply.computed += filled[node] - start
                parts.append((node, start, filled[node]))
                if filled[node] < len(node.ids):
                    break
            else:
                reply.computed += not reply.written
                ready.append(([node.number for node in path], reply))
        ready.sort(key=lambda entry: entry[0])  # so that those who share a node stand side by side
        own = [reply.own for _, reply in ready]
        segments = [_Segment(node, node.filled, node.filled + 1, row) for row, node in enumerate(own)]
        row = len(segments)
        for node, start, stop in parts:
            segments.append(_Segment(node, start, stop, row))
            row += stop - start
        return segments, [reply for _, reply in ready]

    def _forward(self, segments: Sequence[_Segment], ready: int) -> Tensor:
        """Return the logits after the first `ready` tokens of the row, (ready, vocabulary), at least one."""
        device = self._model.device
        ids = torch.tensor([token for part in segments for token in part.node.ids[part.start : part.stop]])
        positions = torch.tensor([part.node.start + i for part in segments for i in range(part.start, part.stop)])
        ids, positions = ids.to(device), positions.to(device)
        kept = torch.arange(max(1, ready), device=device)
        _current.set(_Pass(list(segments), _tiles(segments, ready, positions)))
        # A mask of four dimensions is handed on as it is, and the attention below needs none
        mask = torch.zeros(1, 1, 1, 1, dtype=torch.int32, device=device)
        state = {"attention_mask": mask, "use_cache": False, "logits_to_keep": kept}
        return self._model(input_ids=ids[None], position_ids=positions[None], **state).logits[0]

    def _token_bytes(self) -> int:
        """Return what the keys and values of one token take, by computing one."""
        node = Node([0], Node())
        with torch.inference_mode():
            self._forward([_Segment(node, 0, 1, 0)], 1)
        return sum(states.nbytes for kept in (node.keys, node.values) for states in kept.values())


def _tell(reply: Reply, event: End | Exception) -> None:
    """Hand on how a reply ended; an error of whoever takes it must not end the others."""
    try:
        reply.emit(event)
    except Exception:
        logger.exception("Nobody took the end of a reply")


def _tiles(segments: Sequence[_Segment], ready: int, positions: Tensor) -> list[_Tile]:
    """Return how the queries of a row are attended for: those of replies together, each prompt for itself."""
    reads: dict[Node, _Read] = {}
    for row, segment in enumerate(segments[:ready]):
        for node in segment.node.path():
            first = reads[node].first if node in reads else row
            reads[node] = _Read(node, segment.stop if node is segment.node else len(node.ids), first, row + 1)
    tiles = [_Tile(0, positions[:ready], list(reads.values()))] if ready else []
    for segment in segments[ready:]:
        *before, own = segment.node.path()
        for start in range(segment.start, segment.stop, TILE):
            stop = min(segment.stop, start + TILE)
            seen = [(node, len(node.ids)) for node in before] + [(own, stop)]
            row = segment.row + start - segment.start
            whole = [_Read(node, count, 0, stop - start) for node, count in seen]
            tiles.append(_Tile(row, positions[row : row + stop - start], whole))
    return tiles


def engine_attention(
    module: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor,
    scaling: float | None = None,
    sliding_window: int | None = None,
    **options: Any,
) -> tuple[Tensor, None]:
    """Return the exact attention of the current pass, (1, n, heads, d), once its keys and values are in their nodes.

    query: (1, heads, n, d); key, value: (1, key heads, n, d). Heads that share keys are one product.
    """
    refuse_extras(module, options, "the engine")
    current, layer = _current.get(), module.layer_idx
    for segment in current.segments:
        rows = slice(segment.row, segment.row + segment.stop - segment.start)
        segment.node.write(layer, segment.start, key[0, :, rows], value[0, :, rows])
    _, heads, length, width = query.shape
    key_heads, group = key.shape[1], heads // key.shape[1]
    query = query[0] * (width**-0.5 if scaling is None else scaling)
    query = query.view(key_heads, group, length, width).transpose(1, 2).reshape(key_heads, length * group, width)
    output = query.new_zeros(key_heads, length * group, value.shape[-1])
    for tile in current.tiles:
        span = slice(tile.row * group, (tile.row + len(tile.positions)) * group)
        _attend(query[:, span], output[:, span], tile, layer, group, sliding_window)
    output = output.view(key_heads, length, group, -1).transpose(0, 1).reshape(1, length, heads, -1)
    return output, None


def _attend(query: Tensor, output: Tensor, tile: _Tile, layer: int, group: int, window: int | None) -> None:
    """Add to `output`, (key heads, queries * group, d), what the queries of a tile attend to."""
    hidden = tile.mask(window)
    exact = torch.promote_types(query.dtype, torch.float32)
    scores = query.new_empty(query.shape[0], query.shape[1], hidden.shape[1], dtype=exact)
    for read in tile.reads:
        rows, start = slice(read.first * group, read.last * group), read.node.start
        keys = read.node.keys[layer][:, : read.count]
        scores[:, rows, start : start + read.count] = _product(query[:, rows], keys.transpose(1, 2))
    scores.view(len(scores), -1, group, scores.shape[2]).masked_fill_(hidden[:, None], -torch.inf)
    probs = scores.softmax(-1).to(query.dtype)
    for read in tile.reads:
        rows, start = slice(read.first * group, read.last * group), read.node.start
        values = read.node.values[layer][:, : read.count]
        output[:, rows] += _product(probs[:, rows, start : start + read.count], values)


def _product(a: Tensor, b: Tensor) -> Tensor:
    """Return a @ b, (batch, rows, columns).

    Of few rows on a CPU in float32: in half precision each product takes over 100 microseconds to begin.
    """
    if a.device.type == "cpu" and a.dtype in (torch.bfloat16, torch.float16) and a.shape[1] <= _FEW_ROWS:
        a, b = a.float(), b.float()
    return torch.bmm(a, b)


AttentionInterface.register(ATTENTION, engine_attention)
