"""Supervised fine-tuning with a contrast: the person's replies must also tell whose references they go with.

    accelerate launch examples/train_contrast.py --config examples/recipes/contrast_smollm2_cpu.yaml \
        --data_dir <folder>

Any field of ContrastConfig, ModelConfig and DataArguments can stand in the YAML file or on the command line.
"""

from trl import ModelConfig

import idl_hf  # noqa: F401 (registers the datasets)
from idl_hf.command_line import run
from idl_hf.contrast.config import ContrastConfig
from idl_hf.training.data import DataArguments
from idl_hf.training.stages import train_contrast

if __name__ == "__main__":
    run(train_contrast, DataArguments, ContrastConfig, ModelConfig)
