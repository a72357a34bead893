"""`idl-hf VERB`: each verb parses its arguments and calls one function elsewhere.

A verb is one entry of VERBS. What it names is imported only when it is needed, so that `--help` costs next to nothing.
"""

import argparse
import logging
import os
import re
import select
import signal
import sqlite3
import sys
import warnings
from collections.abc import Sequence
from dataclasses import MISSING, Field, dataclass, fields
from importlib import import_module
from inspect import signature
from types import UnionType
from typing import TYPE_CHECKING, Any, Literal, get_args, get_origin, get_type_hints

import idl_hf
from idl_hf.cache import cache_folder
from idl_hf.command_line import apply_config, did_you_mean, parse, raise_errors, split_config
from idl_hf.shown import visible
from idl_hf.training.launch import CONFIGS_HELP, launch, split_off_config

if TYPE_CHECKING:
    from trl import TrlParser

_HELP = ("-h", "--help")
_VALUES = {bool: "[true|false]", int: "INT", float: "NUMBER", dict: "JSON"}
_NOTES = f"""Any option can also stand in a YAML file: --config FILE. msl, contrast and dpoc train on several devices
with --accelerate_config NAME ({CONFIGS_HELP}) and any option of
`accelerate launch`, such as --num_processes 4."""


@dataclass(frozen=True)
class Verb:
    """A command: what is said of it, and the function it calls, code being named as "module:name".

    Its options are the dataclass that the function takes. A verb that trains names its own options, in modules that
    import no torch, and what TRL adds to them.
    """

    line: str
    function: str
    arguments: tuple[str, ...] = ()
    parsed: tuple[str, ...] = ()
    trl: str = ""  # what TRL's are called
    word: str = ""  # the options that the first words without a name stand for, in their order

    def kinds(self, whole: bool) -> list[Any]:
        """Return the dataclasses of its options; whole: with those of TRL."""
        if names := (whole and self.parsed) or self.arguments:
            return [_named(name) for name in names]
        function = _named(self.function)
        return [get_type_hints(function)[next(iter(signature(function).parameters))]]


_DATA, _MODEL = "idl_hf.training.data:DataArguments", "trl:ModelConfig"
VERBS = {
    "import": Verb(
        "a chat export -> dialogues: idl-hf import auto FILE --person NAME --output_dir DIR",
        "idl_hf.corpora.import_chats:import_chats",
        word="format file",
    ),
    "fit": Verb(
        "one person's chats -> an adapter, how much it sounds like them, and the line to chat",
        "idl_hf.fitting.fit:fit_person",
        word="data_dir",
    ),
    "build": Verb("raw dialogues -> rows, saved as Parquet", "idl_hf.rows.parquet:build_files"),
    "extract": Verb(
        "the persona triples of a file's utterances; --extractor NAME for a model",
        "idl_hf.explore.extract:extract_file",
        word="file",
    ),
    "msl": Verb(
        "train the first stage (supervised, paper 3.2)",
        "idl_hf.training.stages:train_msl",
        (_DATA,),
        (_DATA, "idl_hf.training.stages:MSLConfig", _MODEL),
        "SFTConfig and ModelConfig",
    ),
    "contrast": Verb(
        "train the first stage so that replies also tell whose references they go with",
        "idl_hf.training.stages:train_contrast",
        (_DATA, "idl_hf.contrast.fields:ContrastFields"),
        (_DATA, "idl_hf.contrast.config:ContrastConfig", _MODEL),
        "SFTConfig and ModelConfig",
    ),
    "dpoc": Verb(
        "train the second stage (paper 3.3)",
        "idl_hf.training.stages:train_dpoc",
        (_DATA, "idl_hf.dpoc.fields:DPOCFields"),
        (_DATA, "idl_hf.dpoc.config:DPOCConfig", _MODEL),
        "DPOConfig and ModelConfig",
    ),
    "evaluate": Verb(
        "NLL, persona gain and scores of models, a table of the paper, or what people rated",
        "idl_hf.evaluation.verb:evaluate",
        ("idl_hf.evaluation.arguments:EvaluateArguments",),
    ),
    "score": Verb(
        "anybody's replies, as a line of their own in the table of an evaluation",
        "idl_hf.evaluation.verb:score",
        ("idl_hf.evaluation.arguments:ScoreArguments",),
    ),
    "chat": Verb("talk to a person known from past dialogues", "idl_hf.chat.terminal:chat_in_terminal"),
    "app": Verb(
        "look at a person, talk to them and judge replies in the browser (extra app)",
        "idl_hf.app.launch:open_app",
        ("idl_hf.app.launch:AppArguments", "idl_hf.evaluation.judging:JudgeArguments"),
    ),
    "serve": Verb("people behind an OpenAI-compatible API: a model is a person", "idl_hf.chat.server:serve"),
    "demo": Verb("all of it in a few minutes", "idl_hf.demo:run_demo"),
    "show": Verb(
        "one person: dialogues, clusters, references in order, the prompt", "idl_hf.explore.show:show_person"
    ),
    "stats": Verb(
        "what a dataset holds, in numbers; --html FILE makes a page of it", "idl_hf.explore.stats:show_stats"
    ),
    "push-dataset": Verb("rows to the Hugging Face Hub, as Parquet with a card", "idl_hf.hub.push:push_dataset"),
    "push-metric": Verb("a metric to the Hub, as a Space", "idl_hf.hub.push:push_metric"),
    "push-adapter": Verb("an adapter to the Hub, with a card", "idl_hf.hub.push:push_adapter"),
    "export": Verb(
        "an adapter as a plain model folder or GGUF file, and a person as the prompt and Modelfile for Ollama",
        "idl_hf.export.export:export",
    ),
    "env": Verb("versions and machine, for a report of a fault", "idl_hf.evaluation.environment:show_environment"),
    "accelerate-config": Verb(
        "print where an accelerate config of this package lies",
        "idl_hf.training.launch:print_config_path",
        word="name",
    ),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a verb, or print help, and return the exit status."""
    try:
        status = _run_or_help(arguments)
        sys.stdout.flush()
    except BrokenPipeError:
        if not _reader_has_gone():
            raise
    if _reader_has_gone():  # `idl-hf ... | head` has seen what it wanted, and Python would complain at its end
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + signal.SIGPIPE
    return status


def _reader_has_gone() -> bool:
    """Tell whether nobody reads what is printed any more."""
    try:
        output = sys.stdout.fileno()
    except (OSError, ValueError):  # no file, such as in a test
        return False
    if not hasattr(select, "poll"):  # on Windows
        return False
    waiting = select.poll()
    waiting.register(output, 0)
    return any(events & (select.POLLERR | select.POLLHUP) for _, events in waiting.poll(0))


def _run_or_help(arguments: Sequence[str] | None) -> int:
    verb, *words = (sys.argv[1:] if arguments is None else arguments) or _HELP
    if verb in _HELP:
        print("usage: idl-hf VERB [options]        idl-hf VERB --help tells a verb's options\n")
        print("\n".join(f"  {name:<18} {known.line}" for name, known in VERBS.items()), f"\n\n{_NOTES}", sep="")
        return 0
    if verb == "--version":
        print(f"idl-hf {idl_hf.__version__}")
        return 0
    if verb not in VERBS:
        meant = did_you_mean(verb, VERBS)
        print(f"idl-hf: unknown verb '{verb}'.{meant} The verbs are: {', '.join(VERBS)}.", file=sys.stderr)
        return 2
    if asked := next((word for word in words if word in _HELP), None):
        _print_help(verb, whole="all" in words[words.index(asked) :])
        return 0
    log = logging.StreamHandler()
    log.setFormatter(_VisibleFormatter("%(message)s"))
    logging.basicConfig(handlers=[log])
    logging.getLogger("idl_hf").setLevel(logging.INFO)
    if not sys.warnoptions:
        warnings.simplefilter("ignore", FutureWarning)  # what libraries tell each other
    try:
        _run(verb, words)
    except Exception as error:
        if isinstance(error, BrokenPipeError) and _reader_has_gone():
            raise
        reason = _what_can_be_mended(error)
        if reason is None:
            raise  # with its traceback
        print(visible(f"idl-hf {verb}: {reason}"), file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        again = " with --resume_from_checkpoint last" if VERBS[verb].parsed else ""
        print(f"\nidl-hf {verb}: interrupted. Run the same command again{again} to continue.", file=sys.stderr)
        return 130
    return 0


class _VisibleFormatter(logging.Formatter):
    """Writes what is logged so that it cannot steer the terminal."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line of a record."""
        return visible(super().format(record))


def _run(name: str, words: list[str]) -> None:
    verb = VERBS[name]
    if verb.parsed:
        config, words = split_off_config(words)
        if config is not None:
            parser = _parser(name)
            raise_errors(parser)
            if (file := split_config(words).file) is not None:
                apply_config(parser, file)  # here, before each process does
            launch(name, parser, config, words)
            return
    names, bare = verb.word.split(), _bare_words(words)
    if 0 < bare < len(names) and f"--{names[bare]}" not in words:
        raise ValueError(
            f"Expected {' '.join(names).upper()}, found no {names[bare].upper()} after '{words[bare - 1]}'."
        )
    for option in reversed(names[:bare]):
        place = verb.word.split().index(option)
        words = [*words[:place], f"--{option}", *words[place:]]
    _named(verb.function)(*parse(_parser(name), words))


def _bare_words(words: Sequence[str]) -> int:
    """Return how many words stand before the first option."""
    return next((place for place, word in enumerate(words) if word.startswith("-")), len(words))


def _what_can_be_mended(error: BaseException) -> str | None:
    """Return what the user can mend, such as a wrong value, a malformed file or a full disk; None for other errors."""
    if isinstance(error, (ValueError, OSError, ImportError)):
        return str(error)
    if isinstance(error, sqlite3.Error):
        return f"A cache in '{cache_folder()}' cannot be used: {error}. Make room for it, or delete it."
    if "datasets" not in sys.modules:
        return None
    from datasets.exceptions import DatasetGenerationError

    cause = error.__cause__
    if not isinstance(error, DatasetGenerationError) or cause is None:
        return None
    if type(cause).__name__ == "RemoteTraceback":  # of another process, which hands on nothing but its text
        first = re.search(r"^[\w.]*(ValueError|OSError|CorpusError|\w+FoundError): (.*)", str(cause), re.MULTILINE)
        reason = first and first[2]
    else:
        reason = _what_can_be_mended(cause)
    return reason and f"The rows could not be made: {reason}"


def _named(name: str) -> Any:
    module, _, attribute = name.partition(":")
    return getattr(import_module(module), attribute)


def _parser(name: str) -> "TrlParser":
    from trl import TrlParser

    return TrlParser(VERBS[name].kinds(whole=True), prog=f"idl-hf {name}")


def _print_help(name: str, whole: bool) -> None:
    """Print a verb's own options, or all with TRL's."""
    verb = VERBS[name]
    if verb.parsed and whole:
        _parser(name).print_help()
        return
    usage = f"idl-hf {name} {verb.word.upper()}".rstrip() + " [options]"
    parser = argparse.ArgumentParser(usage=usage, description=verb.line, add_help=False)
    for kind in verb.kinds(whole=False):
        group = parser.add_argument_group(kind.__doc__.splitlines()[0].rstrip("."))
        types = get_type_hints(kind)
        for option in sorted(fields(kind), key=lambda option: not _is_required(option)):
            text = f"{option.metadata.get('help', '')}{_default(option)}".replace("%", "%%")
            choices = option.metadata.get("choices", ())
            group.add_argument(f"--{option.name}", metavar=_value(types[option.name], choices), help=text)
    group = parser.add_argument_group("More")
    group.add_argument("--config", metavar="FILE", help="YAML with options; those of the command line go before it.")
    if verb.parsed:
        text = "To train on several devices, with any option of `accelerate launch`"
        group.add_argument("--accelerate_config", metavar="NAME", help=f"{text}: {CONFIGS_HELP}.")
        parser.epilog = f"Every field of TRL's {verb.trl} can be given too: `idl-hf {name} --help all` lists them."
    parser.print_help()


def _is_required(option: Field) -> bool:
    return option.default is MISSING and option.default_factory is MISSING


def _default(option: Field) -> str:
    if _is_required(option):
        return " (required)"
    value = option.default if option.default_factory is MISSING else option.default_factory()
    if value in (None, "", [], {}):
        return ""
    words = value if isinstance(value, list) else [value]
    return f" (default: {' '.join(str(word).lower() if isinstance(word, bool) else str(word) for word in words)})"


def _value(kind: object, choices: Sequence[str] = ()) -> str:
    """Return what a value of a type looks like on the command line."""
    origin, inner = get_origin(kind), get_args(kind)
    if choices or origin is Literal:
        return f"{{{','.join(map(str, choices or inner))}}}"
    if origin is list:
        return f"{_value(inner[0])} ..."
    if origin is UnionType:  # with None or, as JSON is, with str
        return _value(inner[0])
    return next((shown for plain, shown in _VALUES.items() if plain in (kind, origin)), "TEXT")


if __name__ == "__main__":
    sys.exit(main())
