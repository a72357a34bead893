from collections.abc import Callable
from pathlib import Path

import pytest


@pytest.fixture
def export(tmp_path) -> Callable[[dict[str, str | bytes]], Path]:
    """Writes the files of an export; returns its folder, or its only file."""

    def write(files: dict[str, str | bytes]) -> Path:
        for name, content in files.items():
            path = tmp_path / "export" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return tmp_path / "export" / (next(iter(files)) if len(files) == 1 else "")

    return write
