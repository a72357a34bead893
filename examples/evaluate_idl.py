"""What models know of people they never trained on: NLL under four conditionings, persona gain, generated replies.

python examples/evaluate_idl.py --models offline runs/msl runs/dpoc --data_dir <folder> --encoder offline
"""

import idl_hf  # noqa: F401 (registers the datasets)
from idl_hf.command_line import run
from idl_hf.evaluation.arguments import EvaluateArguments
from idl_hf.evaluation.verb import evaluate

if __name__ == "__main__":
    run(evaluate, EvaluateArguments)
