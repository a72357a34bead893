"""`idl-hf evaluate`: what people rated, at once, and all that needs a model; and `idl-hf score`. Imports no torch."""

import json
import time
from pathlib import Path

from idl_hf.cache import write_whole
from idl_hf.evaluation.arguments import EvaluateArguments, ScoreArguments


def evaluate(args: EvaluateArguments) -> Path:
    """Report what people rated, evaluate models or run an experiment, and return the report's folder."""
    if args.human is not None:
        return _report_ratings(Path(args.human), Path(args.output_dir or "runs/human"))
    from idl_hf.evaluation.run import evaluate as with_models

    return with_models(args)


def score(args: ScoreArguments) -> Path:
    """Score a file of replies, and return the folder of the report with its line."""
    from idl_hf.evaluation.scoring import score_file

    return score_file(args)


def _report_ratings(file: Path, folder: Path) -> Path:
    """Write the report of a file of ratings, and beside it all of it as ratings.json."""
    from idl_hf.evaluation.human import exported, human_report  # here, since `--help` would pay for SciPy
    from idl_hf.evaluation.ratings_file import read_ratings
    from idl_hf.evaluation.written import finish

    started = time.perf_counter()
    ratings = read_ratings(file)
    report = human_report(ratings, time.perf_counter() - started)
    with write_whole(folder / "ratings.json", private=True) as partial:
        partial.write_text(json.dumps(exported(ratings), indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    return finish(folder, report)
