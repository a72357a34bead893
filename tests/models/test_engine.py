"""Replies of the engine are those of each prompt alone, whatever is computed along with them, in bounded memory."""

import functools
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from queue import SimpleQueue

import pytest
import torch
from peft import LoraConfig, PrefixTuningConfig, get_peft_model

from idl_hf.models import engine as engines
from idl_hf.models.drawing import Drawer
from idl_hf.models.engine import Engine, EngineStoppedError, Reply
from idl_hf.models.generation import GenerationSettings
from tests.dpoc.models import NOT_SHARING, SHARING, tiny

NEW_TOKENS = 6
PATIENCE = 60  # seconds
# Two beginnings that fork at several places, one prompt twice, one that begins another, one of a single token
_A, _B = list(range(3, 43)), list(range(50, 62))
PROMPTS = [
    [*_A, 60, 61], [*_A, 62], [*_A[:17], 9, 9, 9], [*_A[:17], 9, 9, 8], [*_B, 7], [*_B, 7], [*_B, 7, 8, 9], _A[:30],
    [5],
]  # fmt: skip


class Recorder:
    """Draws the likeliest token and keeps the log-probs that it was drawn from."""

    def __init__(self):
        self.logprobs = []

    def __call__(self, written, logits):
        self.logprobs.append(logits.log_softmax(-1).clone())
        return int(logits.argmax())


@pytest.fixture
def start():
    """Starts engines, which end with the test."""
    started = []

    def begin(model, ends=(2,), room=4000, **options):
        engine = Engine(model, ends, 10**9, **options)
        engine.tree.limit = room
        started.append(engine)
        return engine

    yield begin
    for engine in started:
        engine.stop()
        engine.join()


def at_once(engine, prompts, length=NEW_TOKENS):
    """The tokens and the log-probs of replies to prompts that are asked for at the same time."""
    together = threading.Barrier(len(prompts))

    def write(prompt):
        draw = Recorder()
        together.wait()
        return list(engine.tokens(prompt, draw, length)), torch.stack(draw.logprobs)

    with ThreadPoolExecutor(len(prompts)) as pool:
        return list(pool.map(write, prompts))


def alone(model, prompt, length=NEW_TOKENS):
    ids = torch.tensor([prompt])
    settings = {"max_new_tokens": length, "do_sample": False, "eos_token_id": 2, "pad_token_id": 0}
    written = model.generate(input_ids=ids, attention_mask=torch.ones_like(ids), **settings)
    with torch.no_grad():
        logits = model(input_ids=written).logits[0, len(prompt) - 1 : -1]
    return written[0, len(prompt) :].tolist(), logits.log_softmax(-1)


@functools.cache
def expected_of(name, prompt):
    return alone(tiny(name).double(), list(prompt))


def check(name, written, prompts):
    for prompt, (tokens, logprobs) in zip(prompts, written, strict=True):
        expected, exact = expected_of(name, tuple(prompt))
        assert tokens == expected
        assert (logprobs - exact).abs().max() < 1e-9


# Between them they have windows in some layers and in all, heads that share keys, and norms of queries and keys
_ALWAYS = ("Llama", "Mistral", "Qwen3", "Gemma3")


@pytest.mark.parametrize(
    "name", [name if name in _ALWAYS else pytest.param(name, marks=pytest.mark.slow) for name in SHARING]
)
def test_replies_at_once_are_those_of_each_prompt_alone(start, name):
    engine = start(tiny(name).double())
    written = at_once(engine, PROMPTS)
    assert len({tuple(tokens) for tokens, _ in written}) > 3
    check(name, written, PROMPTS)
    check(name, [at_once(engine, [prompt])[0] for prompt in PROMPTS], PROMPTS)  # and once all is kept


def test_in_half_precision_replies_are_as_exact_as_the_models_own(start):
    model = tiny("Mistral").bfloat16()
    with torch.no_grad():
        own = [model(torch.tensor([prompt])).logits[0, -1].float().log_softmax(-1) for prompt in PROMPTS]
    written = at_once(start(model), PROMPTS)
    for prompt, (_, logprobs), usual in zip(PROMPTS, written, own, strict=True):
        exact = expected_of("Mistral", tuple(prompt))[1][0]
        assert (logprobs[0].float() - exact).abs().mean() < 1.5 * (usual - exact).abs().mean() + 0.01


@pytest.mark.parametrize(("chunk", "tile"), [(1, 1), (5, 2), (7, 128)])
def test_neither_the_size_of_chunks_nor_that_of_tiles_matters(start, monkeypatch, chunk, tile):
    monkeypatch.setattr(engines, "CHUNK", chunk)
    monkeypatch.setattr(engines, "TILE", tile)
    for name in ("Gemma3", "Llama"):
        check(name, at_once(start(tiny(name).double()), PROMPTS), PROMPTS)


def test_in_single_precision_the_greedy_tokens_are_the_same(start):
    written = at_once(start(tiny("Qwen3").float()), PROMPTS)
    assert [tokens for tokens, _ in written] == [alone(tiny("Qwen3").float(), prompt)[0] for prompt in PROMPTS]


def test_an_adapter_is_used_and_prompts_of_its_own_are_refused(start):
    def adapted():
        torch.manual_seed(0)
        model = get_peft_model(tiny("Llama"), LoraConfig(init_lora_weights=False)).double()
        return model.eval()

    [(tokens, logprobs)] = at_once(start(adapted()), PROMPTS[:1])
    expected, exact = alone(adapted(), PROMPTS[0])
    assert tokens == expected
    assert (logprobs - exact).abs().max() < 1e-9
    assert (logprobs[0] - expected_of("Llama", tuple(PROMPTS[0]))[1][0]).abs().max() > 0.1
    tuned = get_peft_model(tiny("Llama"), PrefixTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=2))
    with pytest.raises(ValueError, match="tokens of their own"):
        Engine(tuned, (2,), 10**6)


def test_a_model_that_cannot_is_refused_with_the_reason():
    with pytest.raises(ValueError, match=f"cannot be computed together: .*{NOT_SHARING['Bloom'][1]}"):
        Engine(tiny("Bloom"), (2,), 10**6)


@pytest.fixture
def counted(monkeypatch):
    """How many tokens each pass computes."""
    passes = []
    forward = Engine._forward

    def counting(self, segments, ready):
        passes.append(sum(segment.stop - segment.start for segment in segments))
        return forward(self, segments, ready)

    monkeypatch.setattr(Engine, "_forward", counting)
    return passes


def test_what_prompts_share_is_computed_once_though_they_come_together(start, counted):
    engine = start(tiny("Llama"))
    counted.clear()
    prompts = [[*_A, 60 + i, 70] for i in range(10)]
    at_once(engine, prompts, length=1)
    assert sum(counted) == len(_A) + 2 * len(prompts)


def test_a_second_turn_computes_its_new_tokens_only(start, counted):
    engine = start(tiny("Llama"), ends=())
    [(tokens, _)] = at_once(engine, [_A])
    counted.clear()
    at_once(engine, [[*_A, *tokens, 9, 9, 9]], length=1)
    assert sum(counted) == 4  # the last token of the reply was drawn and not computed


def test_what_was_computed_for_a_reply_is_counted(start):
    engine, events = start(tiny("Llama")), SimpleQueue()
    for computed, prompt in ((40, _A), (3, [*_A, 1, 2, 3])):
        reply = Reply(prompt, 1, Recorder(), events.put)
        engine.submit(reply)
        events.get(timeout=PATIENCE)
        assert events.get(timeout=PATIENCE) in ("stop", "length")
        assert reply.computed == computed


def test_a_reply_ends_at_an_end_or_at_its_length(start):
    model = tiny("Llama")
    expected, _ = alone(model, _A)
    for ends, length, shown, reason in ((expected[2], 8, 3, "stop"), (96, 2, 2, "length")):
        engine, events = start(tiny("Llama"), ends=(ends,)), SimpleQueue()
        engine.submit(Reply(_A, length, Recorder(), events.put))
        assert [events.get(timeout=PATIENCE) for _ in range(shown + 1)] == [*expected[:shown], reason]


def test_memory_is_bounded_and_replies_stay_right(start):
    room = 60
    engine = start(tiny("Mistral").double(), room=room)
    most = []
    step = engine._step

    def watched():
        step()
        most.append(engine.tree.tokens + sum(len(reply.own.ids) for reply in engine._running))

    engine._step = watched
    prompts = [[token, *prompt[:40]] for token in (3, 4, 5) for prompt in PROMPTS]
    check("Mistral", at_once(engine, prompts), prompts)
    assert engine.state().evicted_tokens > 100
    assert max(most) <= room
    with pytest.raises(ValueError, match="take up to 109 tokens, and the memory for keys and values has room for 60"):
        list(engine.tokens([5] * 101, Recorder(), 8))


def test_at_most_so_many_run_and_the_others_wait(start):
    engine = start(tiny("Llama"), ends=(), max_running=2)
    most = []
    step = engine._step

    def watched():
        most.append(engine.state().running)
        step()

    engine._step = watched
    assert len(at_once(engine, PROMPTS)) == len(PROMPTS)
    assert max(most) == 2


def test_a_reply_that_nobody_wants_frees_its_place(start):
    engine, events = start(tiny("Llama"), ends=(), max_running=1), SimpleQueue()
    endless = Reply(_A, 1000, Recorder(), events.put)
    engine.submit(endless)
    events.get(timeout=PATIENCE)
    waiting = Reply(_B, 5, Recorder(), lambda event: None)
    engine.submit(waiting)
    engine.cancel(waiting)
    engine.cancel(endless)
    assert len(list(engine.tokens(_B, Recorder(), 3))) == 3
    assert len(endless.written) < 1000
    assert not waiting.written
    wait_for(lambda: engine.state()[:2] == (0, 0))
    assert all(not node.users for node in engine.tree.nodes())


def wait_for(condition):
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_one_whose_prompt_is_being_computed_goes_and_another_that_waits_for_it_goes_on(start, monkeypatch):
    monkeypatch.setattr(engines, "CHUNK", 1)
    engine, events = start(tiny("Llama").double()), SimpleQueue()
    first = Reply([*_A, 60], 3, Recorder(), lambda event: None)
    draw = Recorder()
    second = Reply([*_A, 61], 3, draw, events.put)
    engine.submit(first)
    engine.submit(second)
    wait_for(lambda: first.computed + second.computed > 2)
    engine.cancel(first)
    expected, exact = alone(tiny("Llama").double(), [*_A, 61], 3)
    assert [events.get(timeout=PATIENCE) for _ in expected] == expected
    assert (torch.stack(draw.logprobs) - exact).abs().max() < 1e-9


def test_what_goes_wrong_with_one_reply_is_told_to_it_alone(start):
    engine = start(tiny("Llama"), ends=())

    def failing(written, logits):
        raise RuntimeError("no number")

    with ThreadPoolExecutor(1) as pool:
        other = pool.submit(lambda: list(engine.tokens(_B, Recorder(), 20)))
        with pytest.raises(RuntimeError, match="no number"):
            list(engine.tokens(_A, failing, 5))
        assert len(other.result()) == 20


def test_a_pass_that_fails_ends_its_replies_and_no_others(start, monkeypatch):
    engine = start(tiny("Llama").double())
    forward = Engine._forward

    def failing(self, segments, ready):
        forward(self, segments, ready)
        raise MemoryError("no room")

    monkeypatch.setattr(Engine, "_forward", failing)
    with pytest.raises(RuntimeError, match="The forward pass failed: no room"):
        list(engine.tokens(_A, Recorder(), 5))
    monkeypatch.setattr(Engine, "_forward", forward)
    check("Llama", at_once(engine, [_A]), [_A])


def failing_when(condition, function):
    """A function that raises instead, as long as a condition holds."""

    def failing(*arguments):
        if condition():
            raise MemoryError("no room")
        return function(*arguments)

    return failing


@pytest.mark.parametrize("name", ["leave", "adopt"])
def test_where_nothing_can_be_kept_of_what_failed_it_is_told_all_the_same(start, monkeypatch, name):
    engine, broken = start(tiny("Llama").double(), ends=()), threading.Event()
    monkeypatch.setattr(engine, "_forward", failing_when(broken.is_set, engine._forward))
    monkeypatch.setattr(engine.tree, name, failing_when(broken.is_set, getattr(engine.tree, name)))
    events = [SimpleQueue(), SimpleQueue()]
    for each in events:
        engine.submit(Reply(_A, 1500, Recorder(), each.put))
        assert isinstance(each.get(timeout=PATIENCE), int)
    broken.set()
    for each in events:
        while isinstance(event := each.get(timeout=PATIENCE), int):
            pass
        assert str(event) == "The forward pass failed: no room"
    broken.clear()
    assert len(list(engine.tokens(_A, Recorder(), 5))) == 5


def test_what_fails_as_a_reply_ends_or_goes_is_not_the_others_affair(start, monkeypatch):
    engine, broken = start(tiny("Llama").double(), ends=()), threading.Event()
    monkeypatch.setattr(engine.tree, "adopt", failing_when(broken.is_set, engine.tree.adopt))
    gone = Reply(_B, 3000, Recorder(), lambda event: None)
    engine.submit(gone)
    wait_for(lambda: gone.written)
    broken.set()
    engine.cancel(gone)
    for _ in range(2):
        assert len(list(engine.tokens(_B, Recorder(), 5))) == 5


def test_a_reply_that_cannot_be_begun_is_told_and_leaves_its_place(start, monkeypatch):
    engine, broken = start(tiny("Llama").double()), threading.Event()
    monkeypatch.setattr(engine.tree, "enter", failing_when(broken.is_set, engine.tree.enter))
    broken.set()
    events = SimpleQueue()
    engine.submit(Reply(_A, 5, Recorder(), events.put))
    assert str(events.get(timeout=PATIENCE)) == "The reply could not be begun: no room"
    broken.clear()
    check("Llama", at_once(engine, [_A]), [_A])


def test_one_who_does_not_take_their_reply_ends_it_alone(start):
    def lost(event):
        raise ValueError("nobody is there")

    engine, events = start(tiny("Llama").double(), ends=()), SimpleQueue()
    engine.submit(Reply(_A, 300, Recorder(), events.put))
    taken = [events.get(timeout=PATIENCE)]
    gone = Reply(_B, 5, Recorder(), lost)
    engine.submit(gone)
    while isinstance(taken[-1], int):
        taken.append(events.get(timeout=PATIENCE))
    assert gone.written
    assert (len(taken), taken[-1]) == (301, "length")
    wait_for(lambda: engine.state()[:2] == (0, 0))


def test_an_engine_whose_thread_has_ended_says_so(start, monkeypatch):
    monkeypatch.setattr(Engine, "_wait", lambda self: False)
    engine = start(tiny("Llama"))
    engine._thread.join(PATIENCE)
    for ask in (engine.state, lambda: engine.submit(Reply(_A, 5, Recorder(), print))):
        with pytest.raises(EngineStoppedError, match=r"has ended and writes no more replies\. Start the server again"):
            ask()


def test_a_stopped_engine_ends_what_runs_and_refuses_the_rest(start):
    engine, events = start(tiny("Llama"), ends=(), max_running=1), SimpleQueue()
    engine.submit(Reply(_A, 3000, Recorder(), events.put))
    assert isinstance(events.get(timeout=PATIENCE), int)
    waiting = SimpleQueue()
    engine.submit(Reply(_B, 5, Recorder(), waiting.put))
    engine.stop()
    assert isinstance(waiting.get(timeout=PATIENCE), EngineStoppedError)
    while isinstance(event := events.get(timeout=PATIENCE), int):
        pass
    assert isinstance(event, EngineStoppedError)
    with pytest.raises(EngineStoppedError):
        engine.submit(Reply(_B, 5, Recorder(), waiting.put))
    engine.join()


def test_a_stopped_engine_lets_a_reply_end_in_time(start):
    engine, events = start(tiny("Llama"), ends=()), SimpleQueue()
    engine.submit(Reply(_A, 50, Recorder(), events.put))
    assert isinstance(events.get(timeout=PATIENCE), int)
    engine.stop(grace=PATIENCE)
    assert all(isinstance(events.get(timeout=PATIENCE), int) for _ in range(49))
    assert events.get(timeout=PATIENCE) == "length"


# Drawing


def test_a_seed_draws_the_same_again_whatever_runs_beside(start):
    engine = start(tiny("Llama"), ends=())
    drawing = GenerationSettings(temperature=1.0, top_k=0, seed=7)
    quiet = list(engine.tokens(_A, Drawer(drawing), 12))
    with ThreadPoolExecutor(4) as pool:
        unseeded = GenerationSettings(temperature=1.0)
        others = [pool.submit(lambda: list(engine.tokens(_B, Drawer(unseeded), 12))) for _ in range(3)]
        assert list(engine.tokens(_A, Drawer(drawing), 12)) == quiet
        assert len({tuple(other.result()) for other in others}) > 1
    other = GenerationSettings(temperature=1.0, top_k=0, seed=8)
    assert list(engine.tokens(_A, Drawer(other), 12)) != quiet


@pytest.mark.parametrize(
    "options",
    [
        {"temperature": 0.5, "top_k": 0},
        {"temperature": 2.0, "top_k": 3},
        {"temperature": 1.0, "top_p": 0.6},
        {"temperature": 1.5, "min_p": 0.3, "top_k": 10, "top_p": 0.95},
        {"temperature": 1.0, "repetition_penalty": 3.0, "top_k": 0},
    ],
    ids=str,
)
def test_tokens_are_drawn_as_often_as_generate_draws_them(options):
    torch.manual_seed(0)
    logits, written, said = torch.randn(12) * 2, [3, 5], [4]
    drawer = Drawer(GenerationSettings(**options, seed=0), said)
    drawer([], logits)  # the reply's first token
    counts = torch.zeros(12)
    for _ in range(2000):
        counts[drawer(written, logits)] += 1
    expected = logits[None].clone()
    penalty = options.get("repetition_penalty", 1.0)
    for token in (*written, *said):
        expected[0, token] = expected[0, token] / penalty if expected[0, token] > 0 else expected[0, token] * penalty
    expected = expected / options["temperature"]
    kept = torch.ones(12, dtype=torch.bool)
    if options.get("top_k", 50):
        kept[expected[0].argsort(descending=True)[options.get("top_k", 50) :]] = False
    for limit in ("top_p", "min_p"):
        probs = expected[0].masked_fill(~kept, -torch.inf).softmax(-1)
        if limit == "min_p":
            kept &= probs >= options.get("min_p", 0) * probs.max()
        else:
            order = probs.argsort(descending=True)
            before = probs[order].cumsum(0) - probs[order]
            kept[order[before >= options.get("top_p", 1.0)]] = False
    probs = expected[0].masked_fill(~kept, -torch.inf).softmax(-1)
    assert (counts / 2000 - probs).abs().max() < 0.05
    assert not counts[probs == 0].any()
