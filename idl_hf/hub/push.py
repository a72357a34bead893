"""Rows, metrics, adapters to the Hub, each with its card; pushing again changes what differs, and continues."""

import json
import logging
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from huggingface_hub import (
    CommitOperationAdd,
    CommitOperationDelete,
    DatasetCard,
    HfApi,
    ModelCard,
    constants,
    get_token,
)
from huggingface_hub.errors import HfHubHTTPError, HTTPError, RepositoryNotFoundError

from idl_hf.arguments import option, required
from idl_hf.hub import cards
from idl_hf.models.identity import RECIPE_FILE, is_hub_id, load_recipe
from idl_hf.models.offline import OFFLINE
from idl_hf.registration import ORGANIZATION, folder, is_public_corpus, metric_names
from idl_hf.rows.arguments import DEFAULT_DATASET, DatasetArguments
from idl_hf.rows.made import made_with_text
from idl_hf.schema import CONFIGS
from idl_hf.shown import is_path

logger = logging.getLogger(__name__)
_WORDS = (OFFLINE, "patterns")  # which name no file, even where one has such a name
_LOGIN = "log in with `hf auth login` or set HF_TOKEN"
_ADAPTER_FILES = ("adapter_config.json", "adapter_model.safetensors")
# All else stays: checkpoints, optimizer states, and pickles, such as training_args.bin, which may hold a token
_OTHER_FILES = (
    "tokenizer.json", "tokenizer_config.json", "tokenizer.model", "special_tokens_map.json", "added_tokens.json",
    "vocab.json", "merges.txt", "chat_template.jinja", "generation_config.json", RECIPE_FILE,
)  # fmt: skip


@dataclass
class PushArguments:
    """Where to push."""

    repo_id: str = required("Repository on the Hub: <user>/<name>; of a metric the Space.")
    private: bool = field(default=False, kw_only=True, metadata={"help": "Makes a new repository private."})


@dataclass
class PushDatasetArguments(DatasetArguments, PushArguments):
    """Which rows to push, and where."""

    dataset_name: str = option(DEFAULT_DATASET, "Built in, of the Hub, or a folder written by `idl-hf build`.")
    configs: list[str] = field(default_factory=lambda: list(CONFIGS), metadata={"help": "Of sessions, msl, dpoc."})
    public: bool = option(False, "Lets everybody read a new repository; only built-in corpora are public without it.")
    license: str = option("", "Identifier of the Hub, such as cc-by-4.0; default that of the corpus.")
    num_proc: int | None = option(None, "Number of processes that build the rows.")


@dataclass
class PushMetricArguments(PushArguments):
    """Which metric to push, and where."""

    metric: str = option("", "Name of a metric of this package; default that of the Space.")


@dataclass
class PushAdapterArguments(PushArguments):
    """Which adapter to push, and where."""

    adapter: str = required("Folder with a trained adapter, such as runs/dpoc.")
    base_model: str | None = option(None, "Hub id of the base model, where the adapter names a local folder.")
    report: str | None = option(
        None, "report.md of `idl-hf evaluate`, whose figures the card shows; default the one in the folder."
    )
    public: bool = option(
        False, "Lets everybody read a new repository; only adapters of built-in corpora are public without it."
    )


def push_dataset(args: PushDatasetArguments) -> str:
    """Build each config, push it as Parquet, write the card, and return the address.

    Rows of anything but a built-in corpus may be somebody's own logs: they are private unless `args.public`. All
    configs are built before the first is pushed, so that a failure leaves no part of them there.
    Afterwards `load_dataset(repo_id, config)` needs nothing but `datasets`, and msl is the config without a name.
    Raises ValueError for wrong arguments and OSError for what the Hub refuses, as all functions here.
    """
    _refuse_both(args)
    private = args.private or not (args.public or is_public_corpus(args.dataset_name))
    api = _open_repository(args.repo_id, "dataset", private)
    rows = {config: args.load_all(config, args.num_proc) for config in args.configs}
    about = _about_making(args)
    for config in args.configs:
        with _hub_errors_in_sentences(args.repo_id):
            rows[config].push_to_hub(args.repo_id, config, commit_message=f"Upload {config}")
        counts = ", ".join(f"{split} {len(part)}" for split, part in rows[config].items())
        print(f"{args.repo_id}: {config}, rows: {counts}")
    with _hub_errors_in_sentences(args.repo_id):
        card = DatasetCard.load(args.repo_id)
        cards.complete_dataset_card(card, args.repo_id, rows, args.license)
        files = {"README.md": str(card).encode(), **about}
        # Of earlier rows, where these do not tell
        former = {f"{config}/{RECIPE_FILE}" for config in args.configs} - set(about)
        gone = former.intersection(api.list_repo_files(args.repo_id, repo_type="dataset"))
        operations: list[CommitOperationAdd | CommitOperationDelete] = [
            *(CommitOperationAdd(name, content) for name, content in files.items()),
            *map(CommitOperationDelete, sorted(gone)),
        ]
        api.create_commit(args.repo_id, operations, repo_type="dataset", commit_message="Describe the rows")
    return _address(api, f"datasets/{args.repo_id}")


def _refuse_both(args: PushDatasetArguments | PushAdapterArguments) -> None:
    if args.private and args.public:
        raise ValueError("A repository is private or public: pass --private or --public, not both.")


def _about_making(args: PushDatasetArguments) -> dict[str, bytes]:
    """Return what is pushed beside the rows of each config, {file: content}: how they were made, without names of
    folders, which nobody else has."""
    files = {}
    for config in args.configs:
        options = args.made_with(config) or {}
        if local := _local_models(options):
            logger.warning(
                f"The rows of {config} were made with an {' and an '.join(local)} in a folder of this machine, which "
                "others do not have, so it is not named. A chat with an adapter that is trained on the rows takes "
                "the default instead."
            )
        if shown := {name: value for name, value in options.items() if name not in local}:
            files[f"{config}/{RECIPE_FILE}"] = made_with_text(shown).encode()
    return files


def push_metric(args: PushMetricArguments) -> str:
    """Push a metric's folder as a Space, which `evaluate.load(repo_id)` reads, and return the address."""
    space = args.repo_id.rpartition("/")[2]
    metric = args.metric or space
    if metric not in metric_names():
        raise ValueError(f"There is no metric '{metric}'. The metrics are: {', '.join(metric_names())}.")
    if metric != space:
        raise ValueError(
            f"`evaluate` looks in a Space for a file with the Space's own name, so the metric '{metric}' must be "
            f"pushed to '<user>/{metric}', found '{args.repo_id}'."
        )
    api = _open_repository(args.repo_id, "space", args.private, space_sdk="gradio")
    with _hub_errors_in_sentences(args.repo_id):
        api.upload_folder(
            repo_id=args.repo_id,
            repo_type="space",
            folder_path=folder("metrics") / metric,
            ignore_patterns=["__pycache__/*", ".*"],
            commit_message=f"Upload {metric}",
        )
    return _address(api, f"spaces/{args.repo_id}")


def push_adapter(args: PushAdapterArguments) -> str:
    """Push an adapter with its tokenizer and card, nothing else of the folder, and return the address.

    What was trained on anything but a built-in corpus may know somebody's own logs by heart: it is private unless
    `args.public`, as is an adapter that does not tell what it was trained on.
    """
    _refuse_both(args)
    source = Path(args.adapter)
    config = _adapter_config(source)
    trained_from = config.get("base_model_name_or_path") or ""
    base = args.base_model or trained_from
    if base != OFFLINE and (not is_hub_id(base) or (base == trained_from and Path(base).exists())):
        raise ValueError(
            f"The adapter in '{source}' needs the base model '{base}', which nobody else can load: it is no name on "
            "the Hub. Pass --base_model <user>/<name> with the Hub id of the same model, or --base_model offline if "
            "it is the offline model of this package."
        )
    _check_recipe(source)
    report = _report(args)
    if base != OFFLINE:
        _check_that_base_is_published(base)
    private = args.private or not (args.public or load_recipe(str(source)).get("public_corpus"))
    api = _open_repository(args.repo_id, "model", private)
    readme = source / "README.md"
    card = ModelCard.load(readme) if readme.is_file() else ModelCard(f"# {args.repo_id}\n")
    cards.complete_adapter_card(card, args.repo_id, base, trained_from, report)
    _say_whose_dialogues(card)
    contents: dict[str, Path | bytes] = {
        name: source / name for name in (*_ADAPTER_FILES, *_OTHER_FILES) if (source / name).is_file()
    }
    contents["README.md"] = str(card).encode()
    if base != trained_from:
        written = json.dumps({**config, "base_model_name_or_path": base}, indent=2, sort_keys=True)
        contents["adapter_config.json"] = written.encode()
    operations = [CommitOperationAdd(name, content) for name, content in contents.items()]
    with _hub_errors_in_sentences(args.repo_id):
        api.create_commit(args.repo_id, operations, commit_message="Upload adapter")
    return _address(api, args.repo_id)


def _say_whose_dialogues(card: ModelCard) -> None:
    """Add to a card what the built-in corpora among its datasets are, which may be one name or several."""
    from datasets import load_dataset_builder

    named = card.data.get("datasets") or []
    for corpus in filter(is_public_corpus, [named] if isinstance(named, str) else named):
        cards.say_whose_dialogues(card, corpus, load_dataset_builder(corpus, "sessions").info)


def _check_recipe(source: Path) -> None:
    """Raise ValueError for a recipe that names a folder of this machine: it helps nobody, and tells where it lies."""
    recipe = load_recipe(str(source)).get("options", {})
    if local := [f"{name}='{model}'" for name, model in _local_models(recipe).items()]:
        raise ValueError(
            f"'{source / RECIPE_FILE}' names a folder of this machine: {', '.join(local)}. Put the Hub id of the same "
            "model there, since a chat with the adapter loads it."
        )


def _local_models(options: Mapping[str, Any]) -> dict[str, str]:
    """Return those models that options name by a path of this machine."""
    named = {name: str(options[name]) for name in ("encoder", "extractor") if name in options}
    return {name: model for name, model in named.items() if model not in _WORDS and is_path(model)}


def _adapter_config(source: Path) -> dict[str, Any]:
    missing = [name for name in _ADAPTER_FILES if not (source / name).is_file()]
    if not missing:
        return json.loads((source / _ADAPTER_FILES[0]).read_text(encoding="utf-8"))
    if not source.is_dir():
        raise ValueError(f"The folder '{source}' does not exist. Pass --adapter with the output_dir of a training.")
    advice = "Pass the output_dir of a finished training."
    if (source / "adapter_model.bin").is_file():
        advice = "Adapter_model.bin is a pickle, which is never pushed; save it again with PEFT as safetensors."
    elif any(source.glob("model*.safetensors")):
        advice = "It holds a whole model, which `model.push_to_hub` of transformers pushes."
    raise ValueError(f"'{source}' holds no adapter: {' and '.join(missing)} missing. {advice}")


def _check_that_base_is_published(base: str) -> None:
    with _hub_errors_in_sentences(base):
        try:
            HfApi().model_info(base)
        except RepositoryNotFoundError as error:
            raise ValueError(
                f"The base model '{base}' is not on the Hub, or private to somebody else, so nobody could load the "
                "adapter. Push the base model first, or pass --base_model <user>/<name> with the Hub id of the same "
                "model."
            ) from error


def _report(args: PushAdapterArguments) -> str:
    path = Path(args.report) if args.report else Path(args.adapter, "report.md")
    if not path.is_file():
        if args.report:
            raise ValueError(f"The report '{path}' does not exist. Pass the report.md that `idl-hf evaluate` wrote.")
        return ""
    return cards.name_in_report(path.read_text(encoding="utf-8"), Path(args.adapter), args.repo_id)


def _open_repository(repo_id: str, repo_type: str, private: bool, **options: Any) -> HfApi:
    """Make the repository where there is none; what is wrong with the login shows here, before any work."""
    if "/" not in repo_id or not is_hub_id(repo_id):
        raise ValueError(f"The repository must be <user>/<name>, found '{repo_id}'.")
    token = get_token()
    if token is None:
        raise OSError(f"Pushing to the Hub needs a token with write access, and there is none: {_LOGIN}.")
    if not re.fullmatch(r"[!-~]+", token):  # such as an accent; the HTTP client would speak of codecs
        raise ValueError(f"The token holds characters that no token has; make a new one and {_LOGIN}.")
    api = HfApi(library_name=ORGANIZATION)
    with _hub_errors_in_sentences(repo_id):
        api.create_repo(repo_id, repo_type=repo_type, private=private or None, exist_ok=True, **options)
        if private and not api.repo_info(repo_id, repo_type=repo_type).private:
            raise ValueError(
                f"'{repo_id}' exists and is public, so what is pushed would not be private. Make it private in its "
                "settings on the Hub first, push to another name, or pass --public if everybody may read it."
            )
    return api


@contextmanager
def _hub_errors_in_sentences(repo_id: str) -> Iterator[None]:
    try:
        yield
    except (HfHubHTTPError, HTTPError, RuntimeError) as error:
        cause = error.__cause__ if isinstance(error, RuntimeError) else error  # which the upload of large files raises
        if isinstance(cause, HfHubHTTPError):
            raise OSError(_why_refused(repo_id, cause)) from error
        if isinstance(cause, HTTPError):  # no answer at all
            again = "Run the same command again to continue."
            raise OSError(f"The Hub at {constants.ENDPOINT} could not be reached: {cause}. {again}") from error
        raise


def _why_refused(repo_id: str, error: HfHubHTTPError) -> str:
    status = error.response.status_code
    said = f" The Hub said: {error.server_message}" if error.server_message else ""
    if status == 401:
        return f"The Hub does not accept your token for '{repo_id}'. Make one with write access and {_LOGIN}.{said}"
    if status == 403:
        return (
            f"Your token may not write to '{repo_id}': push to your own user or organisation, with a token that has "
            f"write access.{said}"
        )
    if status == 404:
        return f"'{repo_id}' was not found on the Hub, or is private to somebody else.{said}"
    again = " Run the same command again to continue." if status >= 500 or status in (409, 412, 429) else ""
    return f"The Hub refused the push to '{repo_id}' with status {status}.{again}{said}"


def _address(api: HfApi, path: str) -> str:
    address = f"{api.endpoint}/{path}"
    print(f"Pushed to {address}")
    return address
