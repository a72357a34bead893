"""Training on several devices: accelerate's configs by name, and the verbs of `idl-hf` under `accelerate launch`."""

import argparse
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from idl_hf.arguments import option
from idl_hf.command_line import did_you_mean, option_names, raise_errors

CONFIGS_HELP = "multi_gpu, zero1, zero2, zero3, fsdp2, single_gpu, cpu_ddp, or a file"
_FOLDER = Path(__file__).parent / "accelerate_configs"
_MODULE = "idl_hf.cli"


@dataclass
class AccelerateConfigArguments:
    """Which config."""

    name: str = option("", f"{CONFIGS_HELP}; may stand without --name.")


def print_config_path(args: AccelerateConfigArguments) -> None:
    """Print where the config lies, for `accelerate launch --config_file`."""
    print(config_path(args.name))


def config_path(name: str) -> Path:
    """Return the file of a shipped config ("zero3"), or the one that is named. Raises ValueError for other names."""
    shipped = {path.stem: path for path in sorted(_FOLDER.glob("*.yaml"))}
    if name not in shipped and not Path(name).is_file():
        raise ValueError(
            f"'{name}' is neither a file nor an accelerate config of idl_hf. The configs are: {', '.join(shipped)}."
        )
    return shipped.get(name, Path(name))


class SplitArguments(NamedTuple):
    """The value of --accelerate_config, None where it is not given, and the other arguments."""

    config: str | None
    others: list[str]


def split_off_config(arguments: Sequence[str]) -> SplitArguments:
    """Return --accelerate_config apart from the arguments that are for the training or `accelerate launch`."""
    parser = argparse.ArgumentParser(prog="idl-hf", add_help=False, allow_abbrev=False)
    raise_errors(parser)
    parser.add_argument("--accelerate_config")
    known, others = parser.parse_known_args(arguments)
    return SplitArguments(known.accelerate_config, others)


def launch(verb: str, parser: argparse.ArgumentParser, config: str, arguments: Sequence[str]) -> None:
    """Run `idl-hf VERB` in every process of an accelerate config.

    parser: of the verb's options; where `accelerate launch` knows an option too, it is the verb's. Raises ValueError
    for an option that neither knows, ChildProcessError where a process fails.
    """
    from accelerate.commands.launch import launch_command, launch_command_parser
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

    parser.add_argument("--config")
    _, others = parser.parse_known_args(arguments)
    words = ["--config_file", str(config_path(config)), *others, "--module", _MODULE]
    parser_of_launch = launch_command_parser()
    parser_of_launch.prog = "accelerate launch"
    raise_errors(parser_of_launch)
    settings, unknown = parser_of_launch.parse_known_args(words)
    if unknown or settings.training_script != _MODULE:  # a stray value would be run as the script
        meant = did_you_mean(unknown[0], option_names(parser, parser_of_launch)) if unknown else ""
        raise ValueError(f"Neither idl-hf {verb} nor accelerate launch knows all of: {' '.join(others)}.{meant}")
    settings.training_script_args = [verb, *_without(arguments, others)]
    try:
        launch_command(settings)
    except (ChildFailedError, subprocess.CalledProcessError) as error:
        reason = "The training failed in a process that was launched; its own message is above."
        raise ChildProcessError(reason) from error


def _without(words: Sequence[str], left_out: Sequence[str]) -> list[str]:
    """Return the words without those left out, which stand in the same order."""
    pending, kept = list(left_out), []
    for word in words:
        if [word] == pending[:1]:
            del pending[0]
        else:
            kept.append(word)
    return kept
