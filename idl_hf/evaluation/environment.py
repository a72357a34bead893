"""The versions and the machine that something was run with."""

import os
import platform
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import idl_hf

_LIBRARIES = (
    "accelerate", "datasets", "numpy", "peft", "scikit-learn", "scipy", "sentence-transformers", "tokenizers", "torch",
    "transformers", "trl",
)  # fmt: skip


@dataclass
class EnvironmentArguments:
    """Nothing to choose."""


def libraries() -> dict[str, str]:
    """Return the version of Python and of each library that shapes figures."""
    return {"python": platform.python_version(), **{name: version(name) for name in _LIBRARIES}}


def machine() -> dict[str, object]:
    """Return what computes here, by what it calls itself."""
    return {"processor": _processor(), "cores": os.cpu_count()}


def show_environment(_: EnvironmentArguments) -> None:
    """Print what a report of a fault should tell: versions, processor, accelerator, precision."""
    import torch

    from idl_hf.machine import default_device, fast_precision

    device = default_device()
    name = torch.cuda.get_device_name() if device == "cuda" else "none"
    precision = str(fast_precision(device)).removeprefix("torch.")
    print(f"idl-hf {idl_hf.__version__}, {platform.system()} {platform.release()}")
    print(f"processor: {machine()['processor']}, {machine()['cores']} cores; GPU: {name}; computes in {precision}")
    print(", ".join(f"{library} {number}" for library, number in libraries().items()))


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines() if cpuinfo.is_file() else []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor() or platform.machine())
