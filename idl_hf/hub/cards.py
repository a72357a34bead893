"""What the cards of pushed datasets and adapters say.

Each part stands between two comments, so that the next push replaces it and keeps what people wrote around it.
"""

import html
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from idl_hf.models.offline import OFFLINE
from idl_hf.shown import is_path, last_part, scrub, without_paths
from idl_hf.training.card import PAPER_LINK, put_chat_first, put_section

if TYPE_CHECKING:
    from datasets import DatasetDict, DatasetInfo
    from huggingface_hub import DatasetCard, ModelCard

_DEFAULT_CONFIG = "msl"
_FILES_BESIDE = re.compile(r"\| tests\.\S+\.(places|replies)\b")  # of a report, which are not pushed
_RECIPE = "Made with: "  # divides a description into what is said of the corpus and how the rows were made
# The Hub refuses a card whose licence is none of its identifiers
_LICENSES = {"cc-by-4.0", "cc-by-sa-4.0", "cc-by-nc-4.0", "cc-by-nc-sa-4.0", "cc0-1.0", "mit", "apache-2.0"}
COLUMNS = {
    "person_id": "the person whose replies are learnt",
    "dialogue_id": "the dialogue that the row is about",
    "turns": "the dialogue; `self` is the person, `partner` the other; `candidates` are other replies that the corpus "
    "offers, `time` (ISO 8601) and `speaker` (who of a group) are empty where it does not say",
    "profile": "what the corpus says of the person",
    "source": "file and line in the corpus",
    "partner_id": "whom the person talks to, empty where the corpus does not say",
    "prompt": "past dialogues of the person, then the current one up to the reply (assistant: the person, user: the "
    "partner)",
    "completion": "the reply; where a row predicts several, with the partner's turns between them",
    "chosen": "the person's reply",
    "criterion": "that reply made inconsistent with the person: worse than chosen, better than rejected",
    "rejected": "a reply that is not the person's",
    "criterion_type": "how the criterion was made: inconsistency, fabrication or inversion",
    "reference_ids": "the past dialogues in the prompt, in their order",
    "dialogue_starts": "where each of them, and last the current dialogue, begins in `prompt`",
    "cluster": "which of the person's clusters of dialogues the row belongs to",
}


def complete_dataset_card(card: "DatasetCard", repo_id: str, rows: "Mapping[str, DatasetDict]", licence: str) -> None:
    """Add to the card that `push_to_hub` keeps what is said of the corpus and of each config in `rows`.

    licence: as the Hub writes it; "" takes that of the corpus.
    """
    pushed = [config["config_name"] for config in card.data["configs"]]
    if _DEFAULT_CONFIG in pushed and "default" not in pushed:
        for config in card.data["configs"]:  # here, since `push_to_hub(set_default=True)` forgets it the second time
            config.pop("default", None)
            if config["config_name"] == _DEFAULT_CONFIG:
                config["default"] = True
    info = next(iter(next(iter(rows.values())).values())).info
    stated = (info.license or "").strip().lower().replace(" ", "-")
    if known := licence or (stated if stated in _LICENSES or not stated else "other"):
        card.data["license"] = known
    card.data["task_categories"] = card.data.get("task_categories") or ["text-generation"]
    card.data["tags"] = sorted({*(card.data.get("tags") or []), "dialogue", "persona", "in-dialogue-learning", "trl"})
    card.text = put_section(card.text, "dataset", _about_dataset(repo_id, pushed, rows, info))
    for name, splits in rows.items():
        card.text = put_section(card.text, f"config {name}", _about_config(name, splits))


def _about_dataset(repo_id: str, configs: list[str], rows: "Mapping[str, DatasetDict]", info: "DatasetInfo") -> str:
    default = _DEFAULT_CONFIG if _DEFAULT_CONFIG in configs else configs[0]
    split = next(iter(next(iter(rows.values()))))
    options = f"--dataset_name {repo_id} --train_split {split}"
    train = {
        "msl": f"    idl-hf msl {options} --model_name_or_path <model> --use_peft --output_dir runs/msl",
        "dpoc": f"    idl-hf dpoc {options} --model_name_or_path runs/msl --output_dir runs/dpoc",
    }
    commands = "\n".join(command for config, command in train.items() if config in configs)
    parts = [
        f"# {repo_id.partition('/')[2]}",
        scrub((info.description or "").partition(_RECIPE)[0]).strip(),
        f"Rows for {PAPER_LINK}: chat models that sound like one person, learnt from that person's past dialogues. "
        f"Configs: {', '.join(f'`{name}`' for name in configs)}.",
        "## Load",
        f'```python\nfrom datasets import load_dataset\n\nrows = load_dataset("{repo_id}", "{default}")\n'
        f'rows = load_dataset("{repo_id}", "{default}", split="{split}", streaming=True)\n```',
        f"## Train\n\n{commands}\n\nThese are TRL's conversational formats. The options of the rows are fixed in "
        "them: pass no `--dataset_options`."
        if commands
        else "",
        "## Corpus",
        f"Licence: {info.license or 'not stated by the corpus'}."
        + (f" Home: {info.homepage}" if info.homepage else ""),
        f"```bibtex\n{info.citation.strip()}\n```" if info.citation else "",
    ]
    return "\n\n".join(part for part in parts if part)


def _about_config(name: str, splits: "DatasetDict") -> str:
    info, features = next((rows.info, rows.features) for rows in splits.values())
    recipe = scrub((info.description or "").partition(_RECIPE)[2]).strip()
    counts = "\n".join(f"| {split} | {len(rows)} |" for split, rows in splits.items())
    columns = "\n".join(f"| `{key}` | {_type_name(kind)} | {COLUMNS.get(key, '')} |" for key, kind in features.items())
    made = f"Made with `idl_hf`: {recipe}" if recipe else "How the rows were made is not recorded in them."
    tables = f"| split | rows |\n|---|---|\n{counts}\n\n| column | type | |\n|---|---|---|\n{columns}"
    return f"## Config `{name}`\n\n{tables}\n\n{made}"


def _type_name(feature: object) -> str:
    if isinstance(feature, dict):
        return "{" + ", ".join(feature) + "}"
    inner = getattr(feature, "feature", None)  # of a List
    return f"list of {_type_name(inner)}" if inner is not None else str(getattr(feature, "dtype", feature))


def complete_adapter_card(card: "ModelCard", repo_id: str, base: str, trained_from: str, report: str) -> None:
    """Add to a card of a training how to chat, and what was measured.

    base: the base model's Hub id or "offline". trained_from: its name in the adapter, which may be a folder or "".
    report: Markdown, "" without.
    """
    if "/" in trained_from or is_path(trained_from):  # rather than a word, such as offline
        card.text = card.text.replace(trained_from, base)
    card.text = scrub(card.text)
    for name in ("datasets", "model_name"):
        card.data[name] = without_paths(card.data.get(name))  # None is left out
    tags = [tag for tag in card.data.get("tags") or [] if not tag.startswith("base_model:")]
    card.data["tags"] = sorted({*tags, "dialogue", "persona", "in-dialogue-learning", "peft"})
    card.data["library_name"] = "peft"
    card.data["licence"] = None  # TRL's "license"; which one is for who publishes to say
    card.data["pipeline_tag"] = "text-generation"
    card.data["base_model"] = None if base == OFFLINE else base  # None is left out
    card.text = put_chat_first(card.text, repo_id.partition("/")[2], repo_id, base)
    if report:
        card.text = put_section(card.text, "measured", f"## Measured\n\n{_as_section(report)}")


def say_whose_dialogues(card: "ModelCard", corpus: str, info: "DatasetInfo") -> None:
    """Add to the card of an adapter which corpus it learnt from, under which licence, and how to cite it."""
    parts = [
        "## Whose dialogues",
        f"It learnt from `{corpus}`: {scrub((info.description or '').partition(_RECIPE)[0]).strip()}",
        f"Licence of the dialogues: {info.license or 'not stated by the corpus'}."
        + (f" Home: {info.homepage}" if info.homepage else ""),
        f"```bibtex\n{info.citation.strip()}\n```" if info.citation else "",
    ]
    card.text = put_section(card.text, f"dialogues of {corpus}", "\n\n".join(filter(None, parts)))


def _as_section(report: str) -> str:
    """Return a report without its title and without what anybody said, its headings one level down."""
    begin, *sections = re.split(r"^(?=## )", report, flags=re.MULTILINE)
    kept = "".join([begin, *filter(_is_in_numbers, sections)])
    lines = [line for line in kept.splitlines() if not line.startswith("# ") and not _FILES_BESIDE.match(line)]
    return "\n".join(f"#{line}" if line.startswith("##") else line for line in lines).strip()


def _is_in_numbers(section: str) -> bool:
    """Tell whether a section is a table of figures or says how these came about: examples, conversations and
    highlighted dialogues are what people said, and a card may be public."""
    heading = section.splitlines()[0].removeprefix("## ")
    return heading in ("Settings", "Notes") or (heading != "Examples" and "\n| " in section)


def name_in_report(report: str, folder: Path, repo_id: str) -> str:
    """Return the report with the adapter under its new name, and other paths of this machine by their last part.

    Folders are recognised in the cells of tables, where a name may have Markdown's escapes, and a role in parentheses
    after it; one that is a path is renamed wherever the report speaks of it.
    """
    names = {}
    for cell in re.findall(r"(?<=\| )\S.*?(?=(?: \([^()|]*\))? \|)", report):
        path = html.unescape(re.sub(r"\\(.)", r"\1", cell))
        if is_path(path):
            is_adapter = os.path.isdir(path) and Path(path).resolve() == folder.resolve()
            names[cell] = repo_id if is_adapter else last_part(cell)
    for name in sorted(names, key=len, reverse=True):
        before, after = (r"(?<![\w./-])", r"(?![\w/-]|\.\w)") if "/" in name else (r"(?<=\| )", r"(?= [(|])")
        report = re.sub(f"{before}{re.escape(name)}{after}", names[name].replace("\\", r"\\"), report)
    return scrub(report)
