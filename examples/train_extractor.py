"""Fine-tuning of the persona extractor: sentences -> triples <object, relation, subject> (paper 3.2.1, A.2).

    python examples/prepare_personaext.py ...   # makes train.jsonl and validation.jsonl
    accelerate launch examples/train_extractor.py --config examples/recipes/extractor_smollm2_cpu.yaml \
        --data_dir <folder>

Any field of SFTConfig, ModelConfig and ExtractorDataArguments can stand in the file or on the line (`--help`).
"""

from trl import ModelConfig

from idl_hf.command_line import run
from idl_hf.training.extractor import ExtractorDataArguments, train_extractor
from idl_hf.training.stages import MSLConfig

if __name__ == "__main__":
    run(train_extractor, ExtractorDataArguments, MSLConfig, ModelConfig)
