"""The dependency rule of the package, read off the source: what may import what."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PRIVATE_FACTORIES = ("dataset_module_factory", "evaluation_module_factory")

# Each folder is one promise; it imports from the rows above its own, and from its neighbours named here
LEVELS = [
    {
        "schema",
        "arguments",
        "command_line",
        "cache",
        "machine",
        "report",
        "packing",
        "registration",
        "shown",
        "yaml_file",
    },
    {"chat_template", "token_ids", "prompting", "corpora"},
    {"models"},
    {"encoding", "persona", "conved", "spi", "dpi", "criteria"},
    {"rows"},
    {"dpoc"},
    {"contrast"},
    {"training", "chat", "dataset_scripts"},
    {"baselines"},
    {"evaluation", "hub", "explore", "export"},
    {"demo", "fitting", "app", "cli"},
]
NEIGHBOURS = {
    ("corpora", "prompting"), ("prompting", "token_ids"), ("token_ids", "chat_template"), ("criteria", "persona"),
    ("registration", "cache"), ("criteria", "encoding"), ("spi", "encoding"), ("command_line", "yaml_file"),
}  # fmt: skip
# A trainer for any dataset, which knows no person
DPOC = {"packing", "arguments", "cache", "machine", "shown", "token_ids"}


def sources(folder: str) -> list[Path]:
    return sorted((ROOT / folder).rglob("*.py"))


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    if parts[0] in ("dataset_scripts", "metrics"):
        parts = ("idl_hf", *parts)
    return ".".join(part for part in parts if part != "__init__")


def group(module: str) -> str:
    """`idl_hf.corpora.jsonl` -> `corpora`."""
    return module.split(".")[1] if "." in module else ""


def imports(path: Path) -> set[str]:
    """Every module that a file imports, at its top or within a function."""
    package = module_name(path).split(".")
    package = package if path.name == "__init__.py" else package[:-1]
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            # `from idl_hf import spi` imports a module, `from idl_hf.spi import nearest` a name of one
            found |= {f"{module}.{alias.name}" for alias in node.names} if module == "idl_hf" else {module}
    return found


def own_imports(path: Path) -> set[str]:
    return {group(module) for module in imports(path) if module.startswith("idl_hf.")}


LEVEL = {name: number for number, names in enumerate(LEVELS) for name in names}
FILES = [path for path in [*sources("idl_hf"), *sources("dataset_scripts")] if group(module_name(path))]


def test_the_walk_sees_the_imports_that_are_there():
    assert len(FILES) > 80
    assert {"criteria", "prompting", "rows", "schema"} <= own_imports(ROOT / "idl_hf" / "rows" / "generate.py")
    assert "datasets" in imports(ROOT / "idl_hf" / "schema.py")
    assert "packing" in own_imports(ROOT / "idl_hf" / "dpoc" / "collator.py")


def test_every_folder_and_file_has_its_level():
    assert {group(module_name(path)) for path in FILES} == set(LEVEL)


@pytest.mark.parametrize("path", FILES, ids=module_name)
def test_a_folder_imports_only_from_the_levels_below(path):
    own = group(module_name(path))
    for other in own_imports(path) - {own}:
        allowed = LEVEL[other] < LEVEL[own] or (own, other) in NEIGHBOURS
        assert allowed, f"{module_name(path)} imports {other}"


@pytest.mark.parametrize("path", sources("idl_hf/dpoc"), ids=module_name)
def test_dpoc_is_a_trainer_for_any_criterion_column(path):
    assert own_imports(path) <= DPOC | {"dpoc"}


@pytest.mark.parametrize("path", sources("idl_hf/report"), ids=module_name)
def test_report_imports_nothing_of_ours(path):
    assert own_imports(path) <= {"report"}


@pytest.mark.parametrize("path", sources("metrics"), ids=module_name)
def test_metrics_never_import_idl_hf(path):
    own = module_name(path).rpartition(".")[0]  # the neighbours of a Space come with it
    assert not any(module.startswith("idl_hf") and module.rpartition(".")[0] != own for module in imports(path))


@pytest.mark.parametrize("folder", ["idl_hf", "dataset_scripts", "metrics"])
def test_nothing_imports_the_examples_benchmarks_or_tests(folder):
    for path in sources(folder):
        roots = {module.split(".")[0] for module in imports(path)}
        assert not roots & {"examples", "benchmarks", "tests"}, path


@pytest.mark.parametrize("folder", ["idl_hf", "dataset_scripts", "metrics", "examples"])
def test_only_registration_touches_the_private_factories(folder):
    for path in sources(folder):
        if path.name != "registration.py":
            text = path.read_text(encoding="utf-8")
            assert not any(name in text for name in PRIVATE_FACTORIES), path


# What costs seconds to import, and may not be at the top of these folders' files
FREE_OF = {
    ("corpora", "chat_template", "token_ids", "conved", "spi", "dpi", "criteria", "prompting", "report"): {
        "torch",
        "transformers",
        "trl",
        "datasets",
    },
    ("rows", "persona", "encoding", "explore", "training.data", "evaluation.ratings", "evaluation.verb"): {
        "torch",
        "transformers",
        "trl",
    },
    (
        "arguments",
        "evaluation.arguments",
        "demo",
        "fitting",
        "cli",
        "cache",
        "dpoc.fields",
        "contrast.fields",
        "models.identity",
    ): {
        "torch",
        "transformers",
        "trl",
    },
    ("app.launch",): {"torch", "transformers", "trl", "datasets", "gradio"},
}


def top_imports(path: Path) -> set[str]:
    """The packages that a file imports when it is imported itself."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    names = [alias.name for node in tree.body if isinstance(node, ast.Import) for alias in node.names]
    names += [str(node.module) for node in tree.body if isinstance(node, ast.ImportFrom)]
    return {name.split(".")[0] for name in names}


@pytest.mark.parametrize(("names", "heavy"), FREE_OF.items(), ids=lambda value: "-".join(sorted(value)))
def test_what_must_be_light_imports_nothing_heavy_at_its_top(names, heavy):
    for name in names:
        files = [path for path in FILES if f"{module_name(path)}.".startswith(f"idl_hf.{name}.")]
        assert files, name
        for path in files:
            assert not top_imports(path) & heavy, path
