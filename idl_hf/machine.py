"""What the machine at hand computes on, in which precision, and on how many threads."""

import functools
import logging
import os
from typing import Any

import psutil
import torch

PRECISION_VARIABLE = "IDL_HF_PRECISION"
_THREADS = "OMP_NUM_THREADS"
_LAUNCHED_PRECISION = "ACCELERATE_MIXED_PRECISION"  # set by every `accelerate launch`
_PRECISIONS = ("float32", "bfloat16", "float16")
logger = logging.getLogger(__name__)


def default_device() -> str:
    """Return "cuda" where there is a GPU, else "cpu"."""
    return "cuda" if torch.cuda.is_available() else "cpu"


@functools.cache
def fast_precision(device: str) -> torch.dtype:
    """Return the precision in which a device computes fast and exactly enough, and log once which it is.

    bfloat16 where the hardware has instructions for it, else float16 on a GPU and float32 on a CPU: there PyTorch
    emulates bfloat16, which takes 5 to 27 times as long. $IDL_HF_PRECISION overrides what is found.
    Raises ValueError where that names no precision.
    """
    named = os.environ.get(PRECISION_VARIABLE)
    if named:
        if named not in _PRECISIONS:
            raise ValueError(f"${PRECISION_VARIABLE} must be one of {', '.join(_PRECISIONS)}, found '{named}'.")
        found, reason = named, f"${PRECISION_VARIABLE} says so"
    elif device.startswith("cuda"):
        has_bfloat16 = torch.cuda.is_bf16_supported(including_emulation=False)
        found = "bfloat16" if has_bfloat16 else "float16"
        reason = f"the GPU has {'' if has_bfloat16 else 'no '}instructions for bfloat16"
    else:
        has_bfloat16 = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
        found = "bfloat16" if has_bfloat16 else "float32"
        reason = f"the processor has {'' if has_bfloat16 else 'no '}instructions for bfloat16"
    logger.info(f"Computing in {found} on {device}: {reason}.")
    return getattr(torch, found)


def settle_precision(args: Any) -> None:
    """Set device, precision and threads of a training by the machine, as far as they were left open.

    args: TRL's training arguments before their own `__post_init__`, which would turn bfloat16 on everywhere.
    """
    if not torch.accelerator.is_available() and int(os.environ.get("WORLD_SIZE", 1)) == 1:
        args.use_cpu = True  # several processes choose a backend by it, so there it stays as it was given
    if args.bf16 is None and not args.fp16:
        device = "cpu" if args.use_cpu else default_device()
        usable = args.use_cpu or device != "cpu"  # transformers takes bfloat16 on a CPU only where use_cpu is set
        precision = fast_precision(device) if usable else torch.float32
        args.bf16, args.fp16 = precision == torch.bfloat16, precision == torch.float16
    if not (args.bf16 or args.fp16) and _LAUNCHED_PRECISION in os.environ:
        os.environ[_LAUNCHED_PRECISION] = "no"  # else transformers would take that of the launch's config
    settle_threads()


def settle_threads() -> None:
    """Have a process that was launched without a number of threads use its share of the cores, and log it.

    `accelerate launch` and torchrun give each process one thread where nobody said how many, and on a CPU that is
    what a training computes on. The user did say it where the launcher has $OMP_NUM_THREADS or an option for it.
    """
    launched = _LAUNCHED_PRECISION in os.environ or "TORCHELASTIC_RUN_ID" in os.environ
    if torch.accelerator.is_available() or not launched or os.environ.get(_THREADS) != "1":
        return
    launcher = psutil.Process(os.getppid())
    try:
        option = any("num_cpu_threads_per_process" in word.replace("-", "_") for word in launcher.cmdline())
        chosen = option or _THREADS in launcher.environ()
    except psutil.Error as error:
        logger.warning(f"Computing on one thread: whether the launch was told to cannot be seen ({error}).")
        return
    cores, processes = core_count(), int(os.environ.get("LOCAL_WORLD_SIZE", 1))
    threads = max(1, cores // processes)
    if not chosen and threads != torch.get_num_threads():
        torch.set_num_threads(threads)
        logger.info(f"Computing on {threads} threads ({cores} cores, {processes} launched); ${_THREADS} overrides it.")


def core_count() -> int:
    """Return how many cores this process may use."""
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(usable, psutil.cpu_count(logical=False) or usable)
