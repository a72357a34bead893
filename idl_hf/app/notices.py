"""What the page says of a mistake: a sentence, shown as text."""

import logging
from collections.abc import Callable
from functools import wraps
from html import escape
from typing import ParamSpec, TypeVar

import gradio as gr

from idl_hf.chat.commands import failure_line
from idl_hf.shown import visible

logger = logging.getLogger(__name__)
_SECONDS = 15  # a sentence takes longer to read than Gradio shows it
_Given = ParamSpec("_Given")
_Result = TypeVar("_Result")


def telling_errors(handler: Callable[_Given, _Result]) -> Callable[_Given, _Result]:
    """Return a handler that shows a mistake that can be mended, and changes nothing on the page then.

    Gradio's own errors would lie on every field that the handler fills, until each is clicked away.
    """

    @wraps(handler)
    def told(*args: _Given.args, **kwargs: _Given.kwargs) -> _Result:
        try:
            return handler(*args, **kwargs)
        except (ValueError, OSError, ImportError) as error:
            warn(error)
            return gr.skip()

    return told


def warn(error: Exception) -> None:
    """Show a mistake on the page; one that nobody foresaw is logged too, with where it came from."""
    if isinstance(error, RuntimeError | MemoryError):
        logger.error("A visitor's request failed", exc_info=error)
    as_html = escape(visible(failure_line(error)))  # which Gradio takes a message for
    gr.Warning(as_html, duration=_SECONDS)
