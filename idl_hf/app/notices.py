"""What the page says of a mistake: a sentence, shown as text."""

from collections.abc import Iterator
from contextlib import contextmanager
from html import escape

import gradio as gr

from idl_hf.shown import visible

_SECONDS = 30  # a sentence takes longer to read than Gradio shows it


@contextmanager
def errors_told() -> Iterator[None]:
    """Have a mistake that can be mended shown on the page; other errors go on, with their traceback in the log."""
    try:
        yield
    except (ValueError, OSError, ImportError) as error:
        raise gr.Error(as_notice(error), duration=_SECONDS, print_exception=False) from error


def warn(error: Exception) -> None:
    """Show a mistake on the page and go on."""
    gr.Warning(as_notice(error), duration=_SECONDS)


def as_notice(error: Exception) -> str:
    """Return the sentence of an error as HTML, which Gradio takes notices for."""
    return escape(visible(str(error)))
