"""`idl-hf VERB`: each verb parses its arguments and calls one function elsewhere."""

import argparse
import logging
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from idl_hf.training.launch import config_path, launch, split_off_config

_DESCRIPTION = """usage: idl-hf VERB [options]        idl-hf VERB --help tells a verb's options

  build      raw dialogues -> rows, saved as Parquet
  extract    the persona triples of a file's utterances; --extractor NAME for a model
  msl        train the first stage (supervised, paper 3.2)
  dpoc       train the second stage (paper 3.3)
  evaluate   NLL, persona gain and scores on people never trained on
  evaluate --experiment table3 --quick       a table of the paper; --experiment NAME --help tells its options
  chat       talk to a person known from past dialogues
  demo       all of it in a few minutes
  show       one person: dialogues, clusters, references in order, the prompt
  stats      what a dataset holds, in numbers; --html FILE makes a page of it
  push-dataset, push-metric, push-adapter    to the Hugging Face Hub, each with a card
  accelerate-config NAME    prints where an accelerate config of this package lies

Any option can also stand in a YAML file: --config FILE. msl and dpoc train on several devices with
--accelerate_config NAME (multi_gpu, zero1, zero2, zero3, fsdp2, single_gpu, cpu_ddp, or a file) and any option of
`accelerate launch`, such as --num_processes 4."""


@dataclass
class BuildArguments:
    """Which rows to make."""

    output_dir: str = field(metadata={"help": "Folder for <config>/<split>.parquet."})
    dataset_name: str = field(
        default="idl_hf/convai2_idl",
        metadata={"help": "idl_hf/ with convai2_idl, movie_idl, light_idl, msc_idl or dialogues_idl."},
    )
    configs: list[str] = field(default_factory=lambda: ["msl"], metadata={"help": "Of sessions, msl, dpoc."})
    data_dir: str | None = field(default=None, metadata={"help": "Folder with the raw files of the corpus."})
    dataset_options: dict | str | None = field(default=None, metadata={"help": "Builder options as JSON."})
    num_proc: int | None = field(default=None, metadata={"help": "Number of processes."})


def main(arguments: list[str] | None = None) -> int:
    arguments = sys.argv[1:] if arguments is None else arguments
    if not arguments or arguments[0] in ("-h", "--help"):
        print(_DESCRIPTION)
        return 0
    verb, *rest = arguments
    if verb not in _VERBS:
        print(f"idl-hf: unknown verb '{verb}'. The verbs are: {', '.join(_VERBS)}.", file=sys.stderr)
        return 2
    logging.basicConfig(format="%(message)s")
    logging.getLogger("idl_hf").setLevel(logging.INFO)
    try:
        _VERBS[verb](rest)
    except (ValueError, OSError, ImportError) as error:  # what the user can mend; anything else keeps its traceback
        print(f"idl-hf {verb}: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"\nidl-hf {verb}: interrupted. Run the same command again to continue.", file=sys.stderr)
        return 130
    return 0


def _parse(types: tuple, arguments: list[str], verb: str) -> tuple:
    from trl import TrlParser

    return TrlParser(types, prog=f"idl-hf {verb}").parse_args_and_config(arguments)


def _build(arguments: list[str]) -> None:
    from idl_hf.training.stages import DataArguments

    args: BuildArguments = _parse((BuildArguments,), arguments, "build")[0]
    data = DataArguments(args.dataset_name, args.data_dir, args.dataset_options)
    for config in args.configs:
        for split, rows in data.load(config, None, num_proc=args.num_proc).items():
            target = Path(args.output_dir, config, f"{split}.parquet")
            target.parent.mkdir(parents=True, exist_ok=True)
            partial = target.with_suffix(".partial")
            try:
                rows.to_parquet(partial)
                partial.rename(target)
            finally:
                partial.unlink(missing_ok=True)
            print(f"{target}: {len(rows)} rows")


def _extract(arguments: list[str]) -> None:
    from idl_hf.explore.extract import ExtractArguments, extract_file

    if arguments and not arguments[0].startswith("-"):  # `idl-hf extract FILE`
        arguments = ["--file", *arguments]
    extract_file(_parse((ExtractArguments,), arguments, "extract")[0])


def _msl(arguments: list[str]) -> None:
    from trl import ModelConfig

    from idl_hf.training.stages import DataArguments, MSLConfig, train_msl

    _train("msl", (DataArguments, MSLConfig, ModelConfig), train_msl, arguments)


def _dpoc(arguments: list[str]) -> None:
    from trl import ModelConfig

    from idl_hf.dpoc.config import DPOCConfig
    from idl_hf.training.stages import DataArguments, train_dpoc

    _train("dpoc", (DataArguments, DPOCConfig, ModelConfig), train_dpoc, arguments)


def _train(verb: str, types: tuple, train: Callable[..., Any], arguments: list[str]) -> None:
    config, options = split_off_config(arguments)
    if config is None:
        train(*_parse(types, options, verb))
    else:
        launch(verb, types, config, options)


def _evaluate(arguments: list[str]) -> None:
    if _names_an_experiment(arguments):
        from idl_hf.evaluation.run import ExperimentArguments, run_experiment

        run_experiment(_parse((ExperimentArguments,), arguments, "evaluate --experiment NAME")[0])
        return
    from idl_hf.evaluation.report import EvaluateArguments, evaluate_models

    evaluate_models(_parse((EvaluateArguments,), arguments, "evaluate")[0])


def _names_an_experiment(arguments: list[str]) -> bool:
    """On the command line or in the file of --config."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--experiment", nargs="?", const=True)
    parser.add_argument("--config")
    found, _ = parser.parse_known_args(arguments)
    if found.experiment is not None or found.config is None:
        return found.experiment is not None
    settings = yaml.safe_load(Path(found.config).read_text(encoding="utf-8"))
    return isinstance(settings, dict) and "experiment" in settings


def _chat(arguments: list[str]) -> None:
    from idl_hf.chat.terminal import ChatArguments, chat_in_terminal

    chat_in_terminal(_parse((ChatArguments,), arguments, "chat")[0])


def _demo(arguments: list[str]) -> None:
    from idl_hf.demo import DemoSettings, run_demo

    run_demo(_parse((DemoSettings,), arguments, "demo")[0])


def _show(arguments: list[str]) -> None:
    from idl_hf.explore.show import ShowArguments, show_person

    show_person(_parse((ShowArguments,), arguments, "show")[0])


def _stats(arguments: list[str]) -> None:
    from idl_hf.explore.stats import StatsArguments, show_stats

    show_stats(_parse((StatsArguments,), arguments, "stats")[0])


def _push_dataset(arguments: list[str]) -> None:
    from idl_hf.hub.push import PushDatasetArguments, push_dataset

    push_dataset(_parse((PushDatasetArguments,), arguments, "push-dataset")[0])


def _push_metric(arguments: list[str]) -> None:
    from idl_hf.hub.push import PushMetricArguments, push_metric

    push_metric(_parse((PushMetricArguments,), arguments, "push-metric")[0])


def _push_adapter(arguments: list[str]) -> None:
    from idl_hf.hub.push import PushAdapterArguments, push_adapter

    push_adapter(_parse((PushAdapterArguments,), arguments, "push-adapter")[0])


def _accelerate_config(arguments: list[str]) -> None:
    print(config_path(" ".join(arguments)))


_VERBS: dict[str, Callable[[list[str]], None]] = {
    "build": _build,
    "extract": _extract,
    "msl": _msl,
    "dpoc": _dpoc,
    "evaluate": _evaluate,
    "chat": _chat,
    "demo": _demo,
    "show": _show,
    "stats": _stats,
    "push-dataset": _push_dataset,
    "push-metric": _push_metric,
    "push-adapter": _push_adapter,
    "accelerate-config": _accelerate_config,
}

if __name__ == "__main__":
    sys.exit(main())
