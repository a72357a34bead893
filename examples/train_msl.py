"""Mutual Supervised Learning: supervised fine-tuning on references + context -> the person's reply (paper 3.2).

    accelerate launch examples/train_msl.py --config examples/recipes/msl_smollm2_cpu.yaml --data_dir <folder>

Any field of SFTConfig, ModelConfig and DataArguments can stand in the YAML file or on the command line (`--help`).
"""

from trl import ModelConfig

import idl_hf  # noqa: F401 (registers the datasets)
from idl_hf.command_line import run
from idl_hf.training.data import DataArguments
from idl_hf.training.stages import MSLConfig, train_msl

if __name__ == "__main__":
    run(train_msl, DataArguments, MSLConfig, ModelConfig)
