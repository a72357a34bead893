"""Write the files that are made from others: `python utils/fix_copies.py`.

With `--check` nothing is written; the files that differ are named, and the exit status is 1 if there are any.
"""

import argparse
from pathlib import Path

import yaml

from idl_hf.dataset_scripts.convai2_idl import Convai2Config
from idl_hf.rows.options import option_table

ROOT = Path(__file__).parents[1]


def generated(root: Path = ROOT) -> dict[Path, str]:
    """Return what each generated file of a checkout should contain."""
    rows = (root / "metrics" / "_rows.py").read_text(encoding="utf-8")
    metrics = [path for path in sorted(root.glob("metrics/*/*.py")) if path.stem == path.parent.name]
    users = [path for path in metrics if "from ._rows import" in path.read_text(encoding="utf-8")]
    reference = root / "docs" / "reference"
    pages = {reference / "options.md": _options(), reference / "metrics.md": _metrics(root)}
    return {path.with_name("_rows.py"): rows for path in users} | pages


def _options() -> str:
    """Return the options of the rows as a page."""
    about = (
        "Keyword arguments of `load_dataset`, fields of `RowOptions`, and `--dataset_options '{...}'` of a command. "
        "Why each default is what it is: [where we differ](../deviations.md)."
    )
    return f"# Options of the rows\n\n{about}\n\n{option_table(Convai2Config)}\n"


def _metrics(root: Path) -> str:
    """Return a page that lists the metrics."""
    lines = ["# Metrics", "", "`import evaluate, idl_hf`, then `evaluate.load(NAME)`.", ""]
    for card in sorted(root.glob("metrics/*/README.md")):
        told = yaml.safe_load(card.read_text(encoding="utf-8").split("---\n")[1])["description"]
        name = card.parent.name
        lines.append(f"- [{name}](../../metrics/{name}/README.md): {' '.join(told.split())}")
    return "\n".join(lines) + "\n"


def main() -> int:
    """Write the generated files that differ or, with `--check`, only name them; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing, exit with 1 if a file differs")
    parser.add_argument("--root", type=Path, default=ROOT, help="the checkout; default the one of this script")
    args = parser.parse_args()
    contents = {path: text.encode() for path, text in generated(args.root).items()}
    differing = [path for path, content in contents.items() if not path.is_file() or path.read_bytes() != content]
    for path in differing:
        print(f"{'differs' if args.check else 'wrote'}: {path.relative_to(args.root).as_posix()}")
        if not args.check:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(contents[path])
    return int(args.check and bool(differing))


if __name__ == "__main__":
    raise SystemExit(main())
