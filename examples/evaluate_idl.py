"""What models know of people they never trained on: NLL under four conditionings, persona gain, generated replies.

python examples/evaluate_idl.py --models offline runs/msl runs/dpoc --data_dir <folder> --encoder offline
"""

from trl import TrlParser

import idl_hf  # noqa: F401 (registers the datasets)
from idl_hf.evaluation.report import EvaluateArguments, evaluate_models

if __name__ == "__main__":
    evaluate_models(TrlParser(EvaluateArguments).parse_args_and_config()[0])
