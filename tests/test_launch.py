"""Real multi-process launches. Exit 0 proves nothing: a wrong launch trains twice, or unsynchronised, without an error."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SCRIPT = """
import json, os, sys
import torch
from trl import ModelConfig, TrlParser
import idl_hf
from idl_hf.dpoc.config import DPOCConfig
from idl_hf.training import DataArguments, train_dpoc, train_msl
from trl import SFTConfig

stage, *arguments = sys.argv[1:]
config, train = (SFTConfig, train_msl) if stage == "msl" else (DPOCConfig, train_dpoc)
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


@pytest.mark.slow
def test_two_processes_train_one_model(tiny_llama, tokenizer, sample_data, tmp_path):
    tiny_llama().save_pretrained(tmp_path / "base")
    tokenizer.save_pretrained(tmp_path / "base")
    (tmp_path / "train.py").write_text(SCRIPT)
    for stage, model in (("msl", "base"), ("dpoc", "msl")):
        arguments = {
            "model_name_or_path": tmp_path / model, "output_dir": tmp_path / stage, "max_steps": 3, "max_rows": 12,
            "dataset_name": "idl_hf/dialogues_idl", "data_dir": sample_data, "dataset_options": '{"encoder": "offline"}',
            "use_cpu": "true", "bf16": "false", "gradient_checkpointing": "false", "report_to": "none",
            "ddp_backend": "gloo", "learning_rate": 1e-2, "per_device_train_batch_size": 1,
            "use_peft": "true", "lora_r": 4, "save_strategy": "no",
        }  # fmt: skip
        launch = [sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", "2"]
        launch += ["--main_process_port", "0", str(tmp_path / "train.py"), stage]
        launch += [word for name, value in arguments.items() for word in (f"--{name}", str(value))]
        launch += ["--lora_target_modules", "q_proj", "v_proj"]
        done = subprocess.run(launch, capture_output=True, text=True, timeout=400)
        assert done.returncode == 0, done.stderr[-3000:]
        ranks = [json.loads((tmp_path / stage / f"rank-{rank}.json").read_text()) for rank in (0, 1)]
        assert [rank["world"] for rank in ranks] == [2, 2]
        assert [rank["wrapper"] for rank in ranks] == ["DistributedDataParallel"] * 2
        assert ranks[0]["weights"] == ranks[1]["weights"]
