"""A command line and its YAML file, read into dataclasses; whatever is wrong with them is told in a sentence."""

import difflib
import os
import sys
from argparse import Action, ArgumentParser, ArgumentTypeError
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, NoReturn, get_args, get_origin, get_type_hints

if TYPE_CHECKING:
    from trl import TrlParser

KINDS = {bool: "true or false", int: "a whole number", float: "a number", str: "text", list: "a list", dict: "a map"}


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return a question after what was meant by an unknown word, "" where none of the known is near."""
    near = difflib.get_close_matches(word, known, n=1)
    return f" Did you mean {near[0]}?" if near else ""


def raise_errors(parser: ArgumentParser) -> None:
    """Have a parser raise ValueError where it would print its usage, which is hundreds of lines, and exit."""

    def error(message: str) -> NoReturn:
        raise ValueError(f"{message}. `{parser.prog} --help` lists the options.")

    parser.error = error  # type: ignore[method-assign]


def option_names(*parsers: ArgumentParser) -> list[str]:
    """Return the options of parsers, those in several spellings as the docs write them."""
    texts = [text for parser in parsers for action in parser._actions for text in action.option_strings]
    return [text for text in texts if "-" not in text[2:]]


class ConfigSplit(NamedTuple):
    """The file of --config, None where it is not given, and the other words."""

    file: str | None
    words: list[str]


def split_config(words: Sequence[str]) -> ConfigSplit:
    """Return the file of --config apart from the other words. Raises ValueError for none or several."""
    parser = ArgumentParser(prog="idl-hf", add_help=False, allow_abbrev=False)
    raise_errors(parser)
    parser.add_argument("--config", action="append", metavar="FILE")
    known, others = parser.parse_known_args(words)
    if len(known.config or ()) > 1:
        raise ValueError(f"--config takes one file, found {', '.join(known.config)}.")
    return ConfigSplit(known.config[0] if known.config else None, others)


def parse(parser: "TrlParser", words: Sequence[str]) -> tuple[Any, ...]:
    """Return the parser's dataclasses, filled from a command line and from the file of --config.

    All options are looked at before a dataclass is made, since some ask the machine. Raises ValueError for an option
    that is unknown, a value that is none, and a file that cannot be read.
    """
    raise_errors(parser)
    file, others = split_config(words)
    if file is not None:
        apply_config(parser, file)
    needed = [action for action in parser._actions if action.required]
    for action in needed:
        action.required = False  # an option that is mistyped is told before one that is missing
    _, unknown = parser.parse_known_args(others)
    if unknown:
        raise ValueError(_unknown(unknown[0].partition("=")[0], parser))
    for action in needed:
        action.required = True
    return tuple(parser.parse_args_into_dataclasses(args=others, look_for_args_file=False))


def run(function: Callable[..., object], *kinds: Any) -> None:
    """Call a function with its dataclasses as a script's command line has them; what is wrong with that line ends the
    script with a sentence."""
    from trl import TrlParser

    parser = TrlParser(kinds)
    try:
        arguments = parse(parser, sys.argv[1:])
    except ValueError as error:
        raise SystemExit(f"{parser.prog}: {error}") from error
    function(*arguments)


def apply_config(parser: "TrlParser", file: str) -> None:
    """Set the values of a YAML file as the parser's defaults, and the environment of its `env`."""
    from idl_hf.yaml_file import read_yaml

    content = read_yaml(file, "config file")
    environment = content.values.pop("env", None) or {}
    if not isinstance(environment, Mapping):
        raise ValueError(f"{content.place('env')}: 'env' must be a map of variables, found {environment!r}.")
    hints = {name: hint for kind in parser.dataclass_types for name, hint in get_type_hints(kind).items()}
    actions = {action.dest: action for action in reversed(parser._actions)}  # --no_x comes after its --x
    defaults = {}
    for name, value in content.values.items():
        if name not in hints:
            raise ValueError(f"{content.place(name)}: {_unknown(f'--{name}', parser)}")
        try:
            defaults[name] = _checked(value, hints[name], actions[name])
        except (ValueError, TypeError, ArgumentTypeError) as error:
            wanted = _kinds_of(hints[name])
            shown = [KINDS[kind] for kind in KINDS if kind in wanted]
            choices = list(actions[name].choices or ())
            expected = f"one of {', '.join(map(str, choices))}" if choices else " or ".join(shown)
            raise ValueError(f"{content.place(name)}: '{name}' must be {expected}, found {value!r}.") from error
    os.environ.update({name: str(value) for name, value in environment.items()})
    parser.set_defaults_with_config(**defaults)


def _kinds_of(hint: Any) -> set[Any]:
    parts = (hint,) if get_origin(hint) in (None, list, dict, Literal) else get_args(hint)
    return {get_origin(part) or part for part in parts}


def _checked(value: Any, hint: Any, action: Action) -> Any:
    """Return a value of YAML as the command line would have it. Raises ValueError, TypeError where it could not."""
    kinds = _kinds_of(hint)
    if value is None or isinstance(value, (list, dict)):
        if (type(None) if value is None else type(value)) not in kinds:
            raise TypeError
        return value
    if not callable(action.type) or get_args(action.type):
        return value  # of a field that takes several kinds
    plain = action.type(str(value).lower() if isinstance(value, bool) else str(value))
    if action.choices is not None and plain not in action.choices:
        raise ValueError
    return [plain] if action.nargs == "+" else plain


def _unknown(option: str, parser: ArgumentParser) -> str:
    """Return that an option is unknown, and which was meant."""
    if not option.startswith("--"):
        return f"It is not told what '{option}' is for: values follow the name of their option."
    meant = did_you_mean(option, option_names(parser))
    return f"The option {option} is unknown.{meant or f' `{parser.prog} --help` lists them.'}"
