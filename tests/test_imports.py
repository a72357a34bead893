"""The dependency rule of the package, read off the source: what may import what."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PRIVATE_FACTORIES = ("dataset_module_factory", "evaluation_module_factory")

# Lower imports nothing of higher; within a level only its own group, and the readers the renderer's SILENCE
LEVELS = {
    "schema": 0,
    "offline": 0,
    "cache": 0,
    "corpora": 1,
    "persona": 1,
    "encoding": 1,
    "machine": 0,
    "hub": 1,
    "line_generation": 1,
    "extractor": 2,
    "conved": 1,
    "prompting": 1,
    "spi": 2,
    "dpi": 2,
    "criteria": 2,
    "options": 3,
    "corpus": 3,
    "tally": 3,
    "references": 4,
    "rows": 5,
    "builder": 6,
    "dataset_scripts": 7,
}
SAME_LEVEL = {("corpora", "prompting")}
DATA_PATH = set(LEVELS) - {"schema", "offline", "prompting"}
ABOVE = {
    "cards",
    "charts",
    "chat",
    "cli",
    "demo",
    "evaluation",
    "extract",
    "extractor_training",
    "launch",
    "pages",
    "publish",
    "show",
    "stats",
    "training",
}


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


DATA_FILES = [path for path in [*sources("idl_hf"), *sources("dataset_scripts")] if group(module_name(path)) in LEVELS]


def test_the_walk_sees_the_imports_that_are_there():
    assert len(DATA_FILES) >= 17
    assert {"criteria", "prompting", "references", "schema"} <= own_imports(ROOT / "idl_hf" / "rows.py")
    assert "datasets" in imports(ROOT / "idl_hf" / "schema.py")


@pytest.mark.parametrize("path", DATA_FILES, ids=module_name)
def test_the_data_path_imports_only_what_is_below(path):
    own = group(module_name(path))
    for other in own_imports(path):
        allowed = other in LEVELS and (LEVELS[other] < LEVELS[own] or other == own or (own, other) in SAME_LEVEL)
        assert allowed, f"{module_name(path)} imports {other}"


@pytest.mark.parametrize("path", sources("idl_hf/dpoc"), ids=module_name)
def test_dpoc_stands_alone(path):
    assert not own_imports(path) & (DATA_PATH - {"machine"} | ABOVE)


@pytest.mark.parametrize("path", sources("metrics"), ids=module_name)
def test_metrics_never_import_idl_hf(path):
    assert not any(module.split(".")[0] == "idl_hf" for module in imports(path))


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


@pytest.mark.parametrize("name", ["corpora", "persona", "conved", "spi", "dpi", "criteria", "prompting", "rows"])
def test_the_steps_before_the_builder_need_no_datasets_and_no_torch(name):
    for path in DATA_FILES:
        if group(module_name(path)) == name:
            roots = {module.split(".")[0] for module in imports(path)}
            assert not roots & {"datasets", "torch", "transformers", "trl"}, path
