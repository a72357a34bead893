"""The page: its tabs, and what it may ask for."""

import gradio as gr
from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from idl_hf.app.judge import CSS as JUDGE_CSS
from idl_hf.app.judge import judge_tab
from idl_hf.app.markup import CSS
from idl_hf.app.visitors import Shared, Visitor
from idl_hf.evaluation.ratings_file import RatingsFile

TITLE = "idl-hf"
# Gradio makes functions of its templates in the page; nothing that an export holds may be fetched from elsewhere
_POLICY = "default-src 'self' data: blob: 'unsafe-inline' 'unsafe-eval'; form-action 'self'; object-src 'none'"
STYLE = f""".gradio-container main {{ max-width: 1200px; margin: 0 auto }}
{CSS}{JUDGE_CSS}"""


def build_page(shared: Shared | None, ratings: RatingsFile | None = None) -> gr.Blocks:
    """Return the page: with a model to talk to a person, one set of people and chats for each visitor; with ratings
    to judge."""
    with gr.Blocks(title=TITLE, analytics_enabled=False, fill_width=True) as page:
        if shared is not None:
            _add_talk(page, shared)
        if ratings is not None:
            with gr.Tab("Judge"):
                judge_tab(ratings)
    return page


def _add_talk(page: gr.Blocks, shared: Shared) -> None:
    from idl_hf.app.chat import chat_tab  # here, since who judges alone would wait for torch
    from idl_hf.app.persona import persona_tab

    visitor = gr.State(Visitor())
    gr.HTML('<div class="idl"><h3>Talk to a person known from past dialogues</h3></div>')
    with gr.Tab("Persona"):
        changed = persona_tab(page, shared, visitor)
    with gr.Tab("Chat"):
        chat = chat_tab(shared, visitor)
    for event in changed:
        event.success(chat.show, visitor, chat.outputs, api_visibility="private")


def theme() -> gr.themes.Base:
    """Return a look whose fonts are those of the machine."""
    look = gr.themes.Default(
        primary_hue="blue", font=["system-ui", "sans-serif"], font_mono=["ui-monospace", "monospace"]
    )
    # Gradio's own grey of explanations is hard to read on white
    return look.set(body_text_color_subdued="*neutral_600", block_info_text_color="*neutral_600")


class OwnAddressOnly:
    """Has a browser ask for nothing but what lies at the page's own address."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer as the app does, with the policy in the headers."""

        async def with_policy(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message)["Content-Security-Policy"] = _POLICY
            await send(message)

        await self._app(scope, receive, with_policy)
