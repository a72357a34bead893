"""Training on several devices: accelerate's configs by name, and the verbs of `idl-hf` under `accelerate launch`."""

import argparse
import subprocess
from pathlib import Path

_FOLDER = Path(__file__).parent / "accelerate_configs"
_MODULE = "idl_hf.cli"


def config_path(name: str) -> Path:
    """The file of a shipped config ("zero3"); a path to a file as it is. Raises ValueError for any other name."""
    shipped = {path.stem: path for path in sorted(_FOLDER.glob("*.yaml"))}
    if name not in shipped and not Path(name).is_file():
        raise ValueError(
            f"'{name}' is neither a file nor an accelerate config of idl_hf. The configs are: {', '.join(shipped)}."
        )
    return shipped.get(name, Path(name))


def split_off_config(arguments: list[str]) -> tuple[str | None, list[str]]:
    """The value of --accelerate_config, and the other arguments."""
    parser = argparse.ArgumentParser(prog="idl-hf", add_help=False, allow_abbrev=False)
    parser.add_argument("--accelerate_config")
    found, others = parser.parse_known_args(arguments)
    return found.accelerate_config, others


def launch(verb: str, types: tuple, config: str, arguments: list[str]) -> None:
    """Runs `idl-hf VERB` in every process of an accelerate config.

    types: the dataclasses of the verb's options; where both know an option, it is the verb's. Raises ValueError for an
    option that neither knows, ChildProcessError where a process fails.
    """
    from accelerate.commands.launch import launch_command, launch_command_parser
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from trl import TrlParser

    parser = TrlParser(types, prog=f"idl-hf {verb}")
    parser.add_argument("--config")
    _, others = parser.parse_known_args(arguments)
    words = ["--config_file", str(config_path(config)), *others, "--module", _MODULE]
    settings, unknown = launch_command_parser().parse_known_args(words)
    if unknown or settings.training_script != _MODULE:  # a stray value would be run as the script
        raise ValueError(f"Neither idl-hf {verb} nor accelerate launch knows all of: {' '.join(others)}.")
    settings.training_script_args = [verb, *_without(arguments, others)]
    try:
        launch_command(settings)
    except (ChildFailedError, subprocess.CalledProcessError) as error:
        raise ChildProcessError(
            "The training failed in a process that was launched; its own message is above."
        ) from error


def _without(words: list[str], left_out: list[str]) -> list[str]:
    """left_out: some of the words, in their order."""
    pending, kept = iter(left_out), []
    following = next(pending, None)
    for word in words:
        if word == following:
            following = next(pending, None)
        else:
            kept.append(word)
    return kept
