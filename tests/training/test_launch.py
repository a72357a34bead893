"""Training on several devices.

Exit 0 of a launch proves nothing: a wrong one trains twice, or unsynchronised, without an error. So each launch here
tells its world size, the wrapper of the model and the weights of every process, and has to learn what one process with
twice the accumulation learns.
"""

import json
import math
import os
import random
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest
import trl
from accelerate.commands.config.config_args import load_config_from_file
from safetensors.torch import load_file

from idl_hf.cli import main

ROOT = Path(__file__).parents[2]
CONFIGS = ROOT / "idl_hf" / "training" / "accelerate_configs"
CLOSE = {"abs": 1e-4, "rel": 1e-4}


@pytest.mark.parametrize(
    ("name", "kind", "processes", "precision"),
    [
        ("single_gpu", "NO", 1, "bf16"), ("multi_gpu", "MULTI_GPU", 8, "bf16"), ("zero1", "DEEPSPEED", 8, "bf16"),
        ("zero2", "DEEPSPEED", 8, "bf16"), ("zero3", "DEEPSPEED", 8, "bf16"), ("fsdp2", "FSDP", 8, "bf16"),
        ("cpu_ddp", "MULTI_GPU", 2, "no"),
    ],
)  # fmt: skip
def test_accelerate_reads_every_config(name, kind, processes, precision):
    config = load_config_from_file(str(CONFIGS / f"{name}.yaml"))
    assert (config.distributed_type.value, config.num_processes) == (kind, processes)
    assert config.mixed_precision == precision
    assert config.use_cpu == (name == "cpu_ddp")


def test_the_configs_are_those_of_trl_where_nothing_is_wrong_with_them():
    folders = (CONFIGS, Path(trl.__file__).parent / "accelerate_configs")

    def differences(name):
        own, of_trl = (load_config_from_file(str(folder / f"{name}.yaml")).to_dict() for folder in folders)
        return {key for key in own.keys() | of_trl.keys() if own.get(key) != of_trl.get(key)}

    assert sorted(path.stem for path in CONFIGS.iterdir()) == [
        "cpu_ddp", "fsdp2", "multi_gpu", "single_gpu", "zero1", "zero2", "zero3",
    ]  # fmt: skip
    assert [differences(name) for name in ("multi_gpu", "zero2", "zero3", "fsdp2")] == [set()] * 4
    assert differences("zero1") == {"deepspeed_config"}  # TRL's refuses any accumulation but 1
    assert differences("single_gpu") == {"gpu_ids", "num_processes"}  # TRL's becomes nn.DataParallel where GPUs are


def test_the_command_prints_where_a_config_lies(capsys, tmp_path):
    assert main(["accelerate-config", "zero3"]) == 0
    assert capsys.readouterr().out.strip() == str(CONFIGS / "zero3.yaml")
    (tmp_path / "own.yaml").touch()
    assert main(["accelerate-config", str(tmp_path / "own.yaml")]) == 0
    for arguments in (["accelerate-config", "zero4"], ["accelerate-config"], ["dpoc", "--accelerate_config", "zero4"]):
        assert main(arguments) == 1
        assert "cpu_ddp, fsdp2, multi_gpu, single_gpu, zero1, zero2, zero3" in capsys.readouterr().err


@pytest.mark.parametrize("flag", [["--accelerate_config", "zero3"], ["--accelerate_config=zero3"]])
def test_each_option_goes_to_whom_it_belongs(flag, monkeypatch, tmp_path):
    launched = []
    monkeypatch.chdir(tmp_path)
    Path("2").write_text("seed: 1")  # a file that is called like a value
    monkeypatch.setattr("accelerate.commands.launch.launch_command", launched.append)
    training = ["--config", "2", "--gradient_accumulation_steps", "2", "--lora_target_modules", "q_proj", "v_proj"]
    of_accelerate = ["--num_processes", "2", "--mixed_precision", "no"]
    assert main(["dpoc", *training[:4], *flag, *of_accelerate, *training[4:]]) == 0
    (settings,) = launched
    assert (settings.module, settings.training_script) == (True, "idl_hf.cli")
    assert settings.training_script_args == ["dpoc", *training]
    assert (settings.config_file, settings.num_processes) == (str(CONFIGS / "zero3.yaml"), 2)
    assert (settings.mixed_precision, settings.gradient_accumulation_steps) == ("no", None)


@pytest.mark.parametrize("wrong", [["--lerning_rate", "1"], ["stray"], ["--num_proc", "2"]])
def test_an_option_that_nobody_knows_starts_nothing(wrong, monkeypatch, capsys):
    monkeypatch.setattr("accelerate.commands.launch.launch_command", pytest.fail)
    assert main(["msl", "--accelerate_config", "zero3", "--num_processes", "2", *wrong]) == 1
    assert " ".join(wrong) in capsys.readouterr().err


def accelerate_launch(config, *words, precision="no", **environment):
    command = [sys.executable, "-m", "accelerate.commands.launch", "--config_file", str(CONFIGS / f"{config}.yaml")]
    run([*command, "--main_process_port", "0", "--mixed_precision", precision, *map(str, words)], **environment)


def run(command, **environment):
    """On the CPU, also where there are GPUs."""
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "", **environment}
    done = subprocess.run(command, capture_output=True, text=True, timeout=400, env=environment)
    assert done.returncode == 0, done.stderr[-3000:]


# Takes a JSON file with a list of runs; each process writes rank-N.json into the output folder of each run
TRAIN = """
import contextlib, hashlib, json, sys
from pathlib import Path
from datasets import Dataset
from peft import LoraConfig, PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer
from idl_hf import DPOCConfig, DPOCTrainer

def gathered(model):
    sharded = [parameter for parameter in model.parameters() if hasattr(parameter, "ds_id")]
    if not sharded:
        return contextlib.nullcontext()
    import deepspeed
    return deepspeed.zero.GatheredParameters(sharded)

def train(folder, name, base, options):
    args = DPOCConfig(**options)  # before the model, for ZeRO-3 to split it as it is loaded
    model, peft_config = AutoModelForCausalLM.from_pretrained(folder / base, dtype="float32"), None
    if name == "adapter":
        model = PeftModel.from_pretrained(model, folder / "adapter", is_trainable=True)
    elif name != "full":
        peft_config = LoraConfig(r=4, lora_alpha=32, target_modules=["q_proj", "v_proj"], task_type="CAUSAL_LM")
    rows = json.loads((folder / ("dialogues.json" if "trees" in name else "rows.json")).read_text())
    trainer = DPOCTrainer(
        model, args=args, train_dataset=Dataset.from_list(rows),
        processing_class=AutoTokenizer.from_pretrained(folder / base), peft_config=peft_config,
    )
    trainer.train()
    trainer.save_model()
    held = sum(parameter.numel() for parameter in trainer.model.parameters())
    weights = hashlib.sha256()
    with gathered(trainer.model):
        whole = sum(parameter.numel() for parameter in trainer.model.parameters())
        for parameter in trainer.model.parameters():
            weights.update(parameter.detach().float().cpu().numpy().tobytes())
    engine, history = trainer.model_wrapped, trainer.state.log_history
    facts = {
        "world": trainer.accelerator.num_processes,
        "wrapper": type(engine).__name__,
        "stage": engine.zero_optimization_stage() if type(engine).__name__ == "DeepSpeedEngine" else None,
        "reference_model": trainer.ref_model is not None,
        "shares_prefix": trainer.shares_prefix,
        "held": held / whole,
        "weights": weights.hexdigest(),
        "losses": [entry["loss"] for entry in history if "loss" in entry],
    }
    Path(args.output_dir, f"rank-{trainer.accelerator.process_index}.json").write_text(json.dumps(facts))

if __name__ == "__main__":
    for run in json.loads(Path(sys.argv[1]).read_text()):
        train(Path(__file__).parent, **run)
"""
# A new adapter; one that becomes the reference, as after MSL; no adapter; a new one on dialogues of different lengths
TREES = {"prefix_sharing": "dialogue"}
PRECOMPUTED = {**TREES, "precompute_ref_log_probs": True, "precompute_ref_batch_size": 4}
RUNS = {"lora": {}, "adapter": {}, "full": {}, "trees": TREES, "trees, precomputed": PRECOMPUTED}


@pytest.fixture(scope="module")
def work(tiny_llama, tokenizer, tmp_path_factory):
    """A folder with models, an adapter and rows. The layers are large enough for ZeRO-3 to split them."""
    from peft import LoraConfig, get_peft_model

    folder = tmp_path_factory.mktemp("launch")
    (folder / "train.py").write_text(TRAIN)
    for name, seed in (("base", 0), ("other", 1)):
        model = tiny_llama(seed=seed, hidden_size=320, intermediate_size=320, num_key_value_heads=4)
        model.save_pretrained(folder / name)
        tokenizer.save_pretrained(folder / name)
    adapter = LoraConfig(r=4, target_modules=["q_proj", "v_proj"], task_type="CAUSAL_LM", init_lora_weights=False)
    get_peft_model(model, adapter).save_pretrained(folder / "adapter")

    chance = random.Random(0)
    words = "i you we have had an old grumpy cat dog sheep farm tea rain train house like hate walk in by".split()

    def message(role, longest):
        return [{"role": role, "content": " ".join(chance.choices(words, k=chance.randint(2, longest)))}]

    rows = [
        {"prompt": message("user", 60)}
        | {name: message("assistant", 12) for name in ("chosen", "criterion", "rejected")}
        for _ in range(20)
    ]
    (folder / "rows.json").write_text(json.dumps(rows))
    dialogues = []
    for number in range(21):
        prompt = message("user", 30)
        for _ in range(1 + number % 4):
            replies = {name: message("assistant", 12) for name in ("chosen", "criterion", "rejected")}
            dialogues.append({"person_id": "a", "dialogue_id": str(number), "prompt": prompt, **replies})
            prompt = [*prompt, *replies["chosen"], *message("user", 8)]
    (folder / "dialogues.json").write_text(json.dumps(dialogues))
    return folder


def train(work, config, folder, runs, processes=2, precision="no", **environment):
    """Trains all `runs`, (name, base, options), one after another in one launch, on four rows per step. Returns the
    output folders."""
    common = {
        "max_steps": 5, "per_device_train_batch_size": 1, "gradient_accumulation_steps": 4 // processes,
        "train_sampling_strategy": "sequential", "optim": "sgd", "learning_rate": 0.02, "logging_steps": 1,
        "lr_scheduler_type": "constant", "save_strategy": "no", "bf16": False, "use_cpu": True, "report_to": "none",
        "disable_tqdm": True,
    }  # fmt: skip
    described = [
        {"name": name, "base": base, "options": {**common, **options, "output_dir": str(folder / f"{number}-{name}")}}
        for number, (name, base, options) in enumerate(runs)
    ]
    folder.mkdir(exist_ok=True)
    (folder / "runs.json").write_text(json.dumps(described))
    words = ["--num_processes", processes, work / "train.py", folder / "runs.json"]
    accelerate_launch(config, *words, precision=precision, **environment)
    return [Path(run["options"]["output_dir"]) for run in described]


def ranks(folder):
    return [json.loads(file.read_text()) for file in sorted(folder.glob("rank-*.json"))]


@pytest.fixture(scope="module")
def trained(work):
    """trained(config, name): the output folder of one of RUNS. The first call for a config launches all of them."""

    @cache
    def launch(config):
        processes = 1 if config == "single_gpu" else 2
        runs = [(name, "base", options) for name, options in RUNS.items()]
        return dict(zip(RUNS, train(work, config, work / config, runs, processes), strict=True))

    return lambda config, name: launch(config)[name]


@pytest.mark.slow
@pytest.mark.parametrize("name", RUNS)
@pytest.mark.parametrize(("config", "stage"), [("cpu_ddp", None), ("zero2", 2), ("zero3", 3)])
def test_two_processes_learn_what_one_does(config, stage, name, trained):
    if stage is not None:
        pytest.importorskip("deepspeed")
    alone, together = trained("single_gpu", name), trained(config, name)
    one, *others = ranks(alone)
    assert (one["world"], others) == (1, [])
    first, second = ranks(together)
    for process in (first, second):
        assert process["world"] == 2
        assert process["wrapper"] == ("DistributedDataParallel" if stage is None else "DeepSpeedEngine")
        assert process["stage"] == stage
        assert process["shares_prefix"]
        assert process["reference_model"] == (name == "full")
        assert process["held"] < 0.1 if stage == 3 else process["held"] == 1
        assert process["losses"] == pytest.approx(one["losses"], **CLOSE)
    assert first["weights"] == second["weights"]
    assert max(one["losses"]) - min(one["losses"]) > 0.2  # a curve that stands still would agree with any other
    file = "model.safetensors" if name == "full" else "adapter_model.safetensors"
    expected, saved = load_file(alone / file), load_file(together / file)
    assert saved.keys() >= expected.keys()  # ZeRO-2 saves a tied output layer beside the embedding
    for key, weights in expected.items():
        assert (saved[key] - weights).abs().max() < 1e-4, key


@pytest.mark.slow
def test_a_precomputed_reference_is_kept_by_the_weights_of_all_processes(work, trained, tmp_path):
    """Under ZeRO-3, where no process holds the weights that tell one base model from another."""
    pytest.importorskip("deepspeed")
    on_the_fly = ranks(trained("zero3", "full"))[0]["losses"]
    kept, precompute = tmp_path / "reference_logps", {"precompute_ref_log_probs": True}

    def curves(folder, *bases):
        runs = [("full", base, precompute) for base in bases]
        return [
            ranks(output)[0]["losses"] for output in train(work, "zero3", folder, runs, IDL_HF_CACHE=str(tmp_path))
        ]

    (first,) = curves(tmp_path / "first", "base")
    (file,) = kept.iterdir()
    written = file.stat().st_mtime_ns
    again, other = curves(tmp_path / "again", "base", "other")
    assert first == pytest.approx(on_the_fly, **CLOSE)
    assert again == pytest.approx(on_the_fly, **CLOSE)
    assert file.stat().st_mtime_ns == written
    assert len(list(kept.iterdir())) == 2
    assert other != pytest.approx(on_the_fly, **CLOSE)


@pytest.mark.slow
def test_a_precomputed_reference_is_not_rounded_to_half_precision(work, tmp_path):
    """DeepSpeed casts what it is given. At the first step policy and reference are equal: no penalty, log 2."""
    pytest.importorskip("deepspeed")
    options = {**PRECOMPUTED, "precompute_ref_batch_size": 1, "bf16": True, "max_steps": 1}
    runs = [("trees", "base", options)]
    (folder,) = train(work, "zero2", tmp_path / "bf16", runs, precision="bf16", IDL_HF_CACHE=str(tmp_path))
    for process in ranks(folder):
        assert process["losses"] == [pytest.approx(math.log(2), abs=1e-6)]


SCRIPT = """
import json, os, sys
import torch
from trl import ModelConfig, TrlParser
import idl_hf
from idl_hf.dpoc.config import DPOCConfig
from idl_hf.training.data import DataArguments
from idl_hf.contrast.config import ContrastConfig
from idl_hf.training.stages import train_contrast, train_dpoc, train_msl
from trl import SFTConfig

stage, *arguments = sys.argv[1:]
configs = {"msl": SFTConfig, "contrast": ContrastConfig, "dpoc": DPOCConfig}
config, train = configs[stage], {"msl": train_msl, "contrast": train_contrast, "dpoc": train_dpoc}[stage]
trainer = train(*TrlParser((DataArguments, config, ModelConfig)).parse_args_and_config(arguments))
weights = torch.cat([p.detach().flatten() for n, p in trainer.model.named_parameters() if ".default." in n])
facts = {
    "world": trainer.accelerator.num_processes,
    "wrapper": type(trainer.model_wrapped).__name__,
    "weights": [weights.double().sum().item(), weights.double().norm().item()],
}
with open(os.path.join(trainer.args.output_dir, f"rank-{trainer.accelerator.process_index}.json"), "w") as file:
    json.dump(facts, file)
"""


@pytest.fixture
def options(tiny_llama, tokenizer, sample_data, tmp_path):
    """Of both stages, as words of a command line; but for the model and where to save."""
    tiny_llama().save_pretrained(tmp_path / "base")
    tokenizer.save_pretrained(tmp_path / "base")
    arguments = {
        "max_rows": 12, "dataset_name": "idl_hf/dialogues_idl", "data_dir": sample_data,
        "dataset_options": '{"encoder": "offline"}', "use_cpu": "true", "bf16": "false",
        "gradient_checkpointing": "false", "report_to": "none", "learning_rate": 1e-2,
        "per_device_train_batch_size": 1, "use_peft": "true", "lora_r": 4,
    }  # fmt: skip
    words = [word for name, value in arguments.items() for word in (f"--{name}", str(value))]
    return [*words, "--lora_target_modules", "q_proj", "v_proj"]


@pytest.mark.slow
def test_two_processes_train_one_model(options, tmp_path):
    (tmp_path / "train.py").write_text(SCRIPT)
    for stage, model in (("msl", "base"), ("dpoc", "msl")):
        folders = ["--model_name_or_path", tmp_path / model, "--output_dir", tmp_path / stage]
        short = ["--max_steps", 3, "--save_strategy", "no"]
        accelerate_launch("cpu_ddp", tmp_path / "train.py", stage, *options, *folders, *short)
        first, second = ranks(tmp_path / stage)
        assert [first["world"], second["world"]] == [2, 2]
        assert [first["wrapper"], second["wrapper"]] == ["DistributedDataParallel"] * 2
        assert first["weights"] == second["weights"]


@pytest.mark.slow
def test_two_processes_learn_of_a_contrast_what_one_does(options, tmp_path):
    """Dialogues of unequal lengths, two of them a step: each reply token counts the same, with all its prompts."""
    (tmp_path / "train.py").write_text(SCRIPT)
    short = ["--max_steps", 3, "--save_strategy", "no", "--train_sampling_strategy", "sequential", "--optim", "sgd",
             "--lora_dropout", "0"]  # fmt: skip
    model = ["--model_name_or_path", tmp_path / "base", "--lr_scheduler_type", "constant", "--learning_rate", "10"]
    found = {}
    for config, accumulation in (("single_gpu", 2), ("cpu_ddp", 1)):
        own = ["--output_dir", tmp_path / config, "--gradient_accumulation_steps", accumulation]
        accelerate_launch(config, tmp_path / "train.py", "contrast", *options, *model, *short, *own)
        found[config] = ranks(tmp_path / config)
    (alone,), (first, second) = found["single_gpu"], found["cpu_ddp"]
    assert (first["world"], first["wrapper"]) == (2, "DistributedDataParallel")
    assert first["weights"] == second["weights"]
    assert first["weights"] == pytest.approx(alone["weights"], rel=1e-5)


@pytest.mark.slow
def test_a_verb_starts_itself_in_two_processes(options, tmp_path):
    """12 rows are 6 steps of two processes, and 12 of one that was started twice."""
    command = [sys.executable, "-m", "idl_hf.cli", "msl", "--accelerate_config", "cpu_ddp", "--main_process_port", "0"]
    folders = ["--model_name_or_path", str(tmp_path / "base"), "--output_dir", str(tmp_path / "msl")]
    run([*command, *options, *folders, "--num_train_epochs", "1", "--save_strategy", "epoch"])
    assert [folder.name for folder in (tmp_path / "msl").glob("checkpoint-*")] == ["checkpoint-6"]
