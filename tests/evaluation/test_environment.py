"""What a report of a fault should tell."""

import platform
from importlib.metadata import version

import idl_hf
from idl_hf.cli import main
from idl_hf.machine import default_device, fast_precision


def test_the_versions_and_the_machine_are_printed(capsys):
    assert main(["env"]) == 0
    about, machine, libraries = capsys.readouterr().out.splitlines()
    assert about.startswith(f"idl-hf {idl_hf.__version__}, {platform.system()} ")
    assert machine.endswith(f"computes in {fast_precision(default_device())}".replace("torch.", ""))
    assert f"python {platform.python_version()}, " in libraries
    assert f", trl {version('trl')}" in libraries
