"""The tab Chat: messages and replies, the references beside them, and why a reply came."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial

import gradio as gr
from gradio.components import Component

from idl_hf.app.markup import references_block, sentence, shown
from idl_hf.app.notices import telling_errors, warn
from idl_hf.app.queueing import ONE_AT_A_TIME
from idl_hf.app.visitors import Shared, Visitor
from idl_hf.chat.persona_chat import PersonaChat
from idl_hf.models.generation import GenerationSettings, parsed_setting
from idl_hf.schema import Turn
from idl_hf.shown import path_from_here

_SETTINGS = ("temperature", "top_p", "max_new_tokens", "repetition_penalty", "seed")
_ROLES = {"partner": "user", "self": "assistant"}
_NOBODY = "Nobody is picked yet. Pick a person on the tab Persona, then write them a message here."


@dataclass(frozen=True)
class ChatTab:
    """The tab as the page ties it to others: what shows the chat with whoever is talked to now, and its outputs."""

    show: Callable[[Visitor], tuple[object, ...]]
    outputs: list[Component]


def chat_tab(shared: Shared, visitor: gr.State) -> ChatTab:
    """Return the tab, made within the page that is being built."""
    about = gr.HTML(sentence(_NOBODY), elem_id="about")
    with gr.Row():
        with gr.Column(scale=3, min_width=320):
            conversation = gr.Chatbot(
                show_label=False, render_markdown=False, latex_delimiters=[], buttons=[], height=460,
                placeholder="Write the first message.", elem_id="conversation",
            )  # fmt: skip
            message = gr.Textbox(
                "", show_label=False, max_lines=6, interactive=False, submit_btn="Send", elem_id="message",
                placeholder="Pick a person on the tab Persona first.",
            )  # fmt: skip
            with gr.Row():
                retry = gr.Button("Retry", size="sm", elem_id="retry", min_width=80)
                undo = gr.Button("Undo", size="sm", elem_id="undo", min_width=80)
                reset = gr.Button("Begin anew", size="sm", elem_id="reset", min_width=80)
            with gr.Accordion("How replies are written", open=False):
                settings = _settings(shared.chat.generation)
        with gr.Column(scale=2, min_width=320):
            with gr.Row():
                why = gr.Button("Why this reply?", elem_id="why", min_width=200)
                every = gr.Checkbox(
                    label="Lines of all references", info="Else of the two it leans on most; takes longer.",
                    elem_id="every", min_width=200,
                )  # fmt: skip
            references = gr.HTML(elem_id="references")
    outputs = [about, conversation, message, references]
    events = [
        message.submit(
            partial(_send, shared), [visitor, message, *settings], outputs, show_progress="hidden", **ONE_AT_A_TIME
        ),
        retry.click(partial(_retry, shared), [visitor, *settings], outputs, show_progress="hidden", **ONE_AT_A_TIME),
    ]
    for event in events:
        event.then(_ready, None, message, queue=False, show_progress="hidden", api_visibility="private")
    message.stop(_stop, visitor, None, queue=False, api_visibility="private")
    undo.click(partial(_undo, shared), [visitor, message], outputs, **ONE_AT_A_TIME)
    gr.on([reset.click, conversation.clear], partial(_reset, shared), [visitor, message], outputs, **ONE_AT_A_TIME)
    why.click(partial(_why, shared), [visitor, every], references, **ONE_AT_A_TIME)
    return ChatTab(_show, outputs)


def _settings(begin: GenerationSettings) -> list[Component]:
    """Return the fields of the settings, in the order of _SETTINGS."""
    return [
        gr.Slider(0, 2, begin.temperature, step=0.05, label="Temperature", info="0: always the likeliest word."),
        gr.Slider(0.05, 1, begin.top_p, step=0.05, label="top_p", info="Words of so much probability are drawn from."),
        gr.Slider(1, 400, begin.max_new_tokens, step=1, label="Longest reply", info="In tokens."),
        gr.Slider(
            1, 2, begin.repetition_penalty, step=0.05, label="Repetition penalty",
            info="Above 1: words of the conversation's replies are seldom said again.",
        ),
        gr.Textbox(_seed(begin), label="Seed", info="Draws the same words again; empty: others each time."),
    ]  # fmt: skip


def _seed(settings: GenerationSettings) -> str:
    return "" if settings.seed is None else str(settings.seed)


def _show(visitor: Visitor) -> tuple[object, ...]:
    """Return what the outputs show of the chat that goes on."""
    if not visitor.person_id:
        box = gr.Textbox(value="", interactive=False, placeholder="Pick a person on the tab Persona first.")
        return sentence(_NOBODY), [], box, ""
    chat = visitor.chat
    return _about(chat), _messages(chat.turns), _box(""), references_block(chat)


def _about(chat: PersonaChat) -> str:
    number = len(chat.dialogues)
    known = f"known from {number} dialogue{'s'[: number != 1]}"
    return sentence(f"You talk to {chat.person_id}, {known}, by the model '{path_from_here(str(chat.name))}'.")


def _box(text: str) -> gr.Textbox:
    return gr.Textbox(value=text, interactive=True, placeholder="Write a message.", submit_btn="Send", stop_btn=False)


def _ready(typed: str | None = None) -> gr.Textbox:
    """Return the field for messages as it is while nothing is written; typed: what is in it, None: what was."""
    if typed is None:
        return gr.Textbox(submit_btn="Send", stop_btn=False)
    return gr.Textbox(value=typed, submit_btn="Send", stop_btn=False)


def _busy(typed: str | None) -> gr.Textbox:
    """Return the field for messages as it is while a reply is written; typed: what was asked in it."""
    if typed is None:
        return gr.Textbox(submit_btn=False, stop_btn="Stop")
    return gr.Textbox(value="", submit_btn=False, stop_btn="Stop")


def _messages(turns: Sequence[Turn]) -> list[dict[str, str]]:
    """Return turns as the chat shows them; Gradio takes texts for HTML, also where these are no Markdown."""
    return [{"role": _ROLES[turn.role], "content": shown(turn.text)} for turn in turns]


@dataclass(frozen=True)
class _Asked:
    """A message whose reply is to be written: the turns before it, what it says, and the pieces of the reply."""

    before: Sequence[Turn]
    said: str
    pieces: Iterator[str]


def _send(shared: Shared, visitor: Visitor, text: str, *settings: float | str) -> Iterator[tuple[object, ...]]:
    """Yield the chat while the reply to a message is written."""
    yield from _written(shared, visitor, settings, lambda chat: _Asked(chat.turns, text, chat.stream(text)), text)


def _retry(shared: Shared, visitor: Visitor, *settings: float | str) -> Iterator[tuple[object, ...]]:
    """Yield the chat while another reply to the last message is written."""

    def ask(chat: PersonaChat) -> _Asked:
        pieces = chat.retry()
        return _Asked(chat.turns[:-2], chat.turns[-2].text, pieces)

    yield from _written(shared, visitor, settings, ask)


def _written(
    shared: Shared,
    visitor: Visitor,
    settings: Sequence[float | str],
    ask: Callable[[PersonaChat], _Asked],
    typed: str | None = None,
) -> Iterator[tuple[object, ...]]:
    """Yield the chat while a reply is written. A message that is stopped, or cannot be answered, does not count;
    typed: what then goes back into the field."""
    is_whole = False
    with shared.lock:
        visitor.stopped = False
        try:
            chat = visitor.chat
            chat.generation = _chosen(chat.generation, settings)
            asked, reply = ask(chat), ""
            begun = _messages([*asked.before, Turn("partner", asked.said), Turn("self", "…")])
            yield gr.skip(), begun, _busy(typed), gr.skip()
            with closing(asked.pieces):  # type: ignore[type-var]
                for piece in asked.pieces:
                    if visitor.stopped:
                        break
                    reply += piece
                    so_far = [*asked.before, Turn("partner", asked.said), Turn("self", reply)]
                    yield gr.skip(), _messages(so_far), gr.skip(), gr.skip()
                else:
                    is_whole = True
        except (ValueError, OSError, RuntimeError, MemoryError) as error:  # the last two such as where memory runs out
            warn(error)
        about, messages, _, references = _show(visitor)
        yield about, messages, _ready(None if is_whole else typed), references


def _chosen(saved: GenerationSettings, settings: Sequence[float | str]) -> GenerationSettings:
    """Return settings with those of the page. Raises ValueError for one that is none."""
    chosen: dict[str, float | int | str | None] = dict(zip(_SETTINGS, settings, strict=True))
    chosen["seed"] = parsed_setting("seed", str(chosen["seed"]).strip() or "none")
    return replace(saved, **chosen)  # type: ignore[arg-type]


def _stop(visitor: Visitor) -> None:
    visitor.stopped = True


@telling_errors
def _undo(shared: Shared, visitor: Visitor, typed: str) -> tuple[object, ...]:
    """Return the chat without the last message, which goes into the field where that is empty."""
    with shared.lock:
        said = visitor.chat.undo()
    about, messages, _, references = _show(visitor)
    return about, messages, _box(typed or said), references


@telling_errors
def _reset(shared: Shared, visitor: Visitor, typed: str) -> tuple[object, ...]:
    """Return the chat begun anew."""
    with shared.lock:
        visitor.chat.reset()
    about, messages, _, references = _show(visitor)
    return about, messages, _box(typed), references


def _why(shared: Shared, visitor: Visitor, every: bool) -> Iterator[str]:
    """Yield the references with the lines that the last reply leans on, once these were left out one by one."""
    try:
        chat = visitor.chat
        if chat.references:
            yield sentence(_waiting(chat, every)) + references_block(chat)
        with shared.lock:
            reasons = chat.why(None if every else 2)
    except (ValueError, OSError, RuntimeError, MemoryError) as error:  # the last two such as where memory runs out
        warn(error)
        yield gr.skip()
        return
    if reasons:
        yield references_block(chat, reasons)
    else:
        yield sentence("The prompt showed no past dialogue, so the reply leans on none.") + references_block(chat)


def _waiting(chat: PersonaChat, every: bool) -> str:
    shown = len(chat.references) - chat.dropped_references
    which = "each line of them" if every else "each line of the two it leans on most"
    return f"The reply is scored without each of the {shown} past dialogues, then without {which}. This takes a while."
