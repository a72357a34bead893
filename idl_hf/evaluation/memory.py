"""Memory between the parts of an experiment, which trains and measures for hours in one process."""

import ctypes
import gc
import sys


def give_back_memory() -> None:
    """Return to the system what nothing refers to any more.

    A trainer and its model refer to each other. And prompts of many lengths leave the C library's heap in pieces, all
    the more where it is told to keep what was freed (the Makefile says why), which slows down what comes after.
    """
    gc.collect()
    if sys.platform == "linux" and hasattr(library := ctypes.CDLL(None), "malloc_trim"):
        library.malloc_trim(0)
