"""A model folder as one GGUF file, by llama.cpp's own converter."""

import shutil
import subprocess
import sys
from pathlib import Path

NAME = "convert_hf_to_gguf.py"
_LAST_LINES = 8  # of what a converter that failed has said


def converter() -> str:
    """Return the path of the converter. Raises FileNotFoundError where none is on PATH."""
    found = shutil.which(NAME)
    if found is None:
        raise FileNotFoundError(
            f"--gguf needs {NAME} of llama.cpp on PATH, and it is not there. Get llama.cpp (`git clone "
            "https://github.com/ggml-org/llama.cpp`, or `brew install llama.cpp`), add its folder to PATH, and "
            "`pip install gguf sentencepiece`; or pass --merged and convert that folder elsewhere."
        )
    return found


def write_gguf(program: str, model: Path, file: Path) -> None:
    """Convert a model folder into a file. Raises OSError with the converter's last words where it does not."""
    # Its own first line takes whatever python3 is on PATH, which may have no torch
    done = subprocess.run(
        [sys.executable, program, str(model), "--outfile", str(file)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    )
    if done.returncode == 0 and _is_gguf(file):
        return
    said = "\n".join(done.stdout.strip().splitlines()[-_LAST_LINES:]) or "nothing"
    raise OSError(
        f"{NAME} wrote no GGUF file (exit status {done.returncode}), and nothing is exported. It says:\n{said}\n"
        "Where it does not know the architecture, pass --merged instead."
    )


def _is_gguf(file: Path) -> bool:
    if not file.is_file():
        return False
    with file.open("rb") as opened:
        return opened.read(4) == b"GGUF"
