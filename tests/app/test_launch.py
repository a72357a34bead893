"""`idl-hf app` before the page is there: what is wrong is a sentence."""

import socket
import subprocess
import sys
from pathlib import Path

import pytest

from idl_hf.app.launch import ADDRESS
from idl_hf.cli import main

ROOT = Path(__file__).parents[2]


def told(capsys, *words):
    assert main(["app", "--model", "offline", *words]) == 1
    return capsys.readouterr().err


@pytest.mark.parametrize("port", ["0", "65536", "-1"])
def test_a_number_that_is_no_port_is_refused(port, capsys):
    assert f"from 1 to 65535, found {port}" in told(capsys, "--port", port)


def test_a_port_that_is_taken_is_refused(capsys):
    with socket.socket() as other:
        other.bind((ADDRESS, 0))
        other.listen()
        port = other.getsockname()[1]
        assert f"The port {port} of 127.0.0.1 cannot be used" in told(capsys, "--port", str(port))


def test_without_gradio_it_says_what_to_install(unused_port):
    code = f"""if True:
        import sys
        sys.modules["gradio"] = None
        from idl_hf.cli import main
        sys.exit(main(["app", "--model", "offline", "--port", "{unused_port}"]))
    """
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 1
    assert "pip install gradio" in done.stderr
    assert "Traceback" not in done.stderr
