"""Deep Personalized Alignment by DPOC: chosen over criterion over rejected, from an MSL adapter (paper 3.3).

    accelerate launch examples/train_dpoc.py --config examples/recipes/dpoc_smollm2_cpu.yaml \
        --data_dir <folder> --model_name_or_path runs/msl

Any field of DPOCConfig, ModelConfig and DataArguments can stand in the YAML file or on the command line (`--help`).
"""

from trl import ModelConfig

import idl_hf  # noqa: F401 (registers the datasets)
from idl_hf.command_line import run
from idl_hf.dpoc.config import DPOCConfig
from idl_hf.training.data import DataArguments
from idl_hf.training.stages import train_dpoc

if __name__ == "__main__":
    run(train_dpoc, DataArguments, DPOCConfig, ModelConfig)
