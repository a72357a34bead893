"""The experiments of the paper as YAML: each is whole, and a wrong word in one is named."""

from dataclasses import fields, replace

import pytest
import yaml

from idl_hf.evaluation.arguments import EvaluateArguments
from idl_hf.evaluation.conditions import CONDITIONS, condition
from idl_hf.evaluation.experiment import experiment_names, load_experiment, load_scale
from idl_hf.rows.options import RowOptions, option_names

NAMES = [
    "figure4",
    "figure5",
    "generalize",
    "learning_curve",
    "low_resource",
    "reference_curve",
    "references",
    "second_stage",
    "selection",
    "table1",
    "table2",
    "table3",
    "table5",
]
SCALES = ["paper", "quick", "smollm2_cpu", "smollm2_power", "smollm2_probe", "smollm2_short", "smollm2_whole"]


def test_all_experiments_are_there_and_in_the_help():
    assert experiment_names() == NAMES
    told = {setting.name: setting.metadata.get("help", "") for setting in fields(EvaluateArguments)}
    assert all(name in told["experiment"] for name in NAMES)
    assert all(name in told["scale"] for name in SCALES if name != "quick")  # which is an option of its own


@pytest.mark.parametrize("name", NAMES)
def test_the_papers_figures_are_of_lines_and_columns_that_the_experiment_has(name):
    experiment = load_experiment(name)
    lines = {
        ", ".join(filter(None, (one.name, variation.name)))
        for one in experiment.conditions.values()
        for variation in experiment.variations
    }
    for test, paper in experiment.paper.items():
        assert test in experiment.tests
        assert paper.keys() <= lines
        assert {column for figures in paper.values() for column in figures} <= set(experiment.columns)


@pytest.mark.parametrize("name", NAMES)
def test_every_prompt_of_an_experiment_can_be_built(name):
    experiment = load_experiment(name)
    for one in experiment.conditions.values():
        for options in (one.msl or {}, *({**one.prompt, **variation.options} for variation in experiment.variations)):
            assert options.keys() <= set(option_names())
            RowOptions(**{"encoder": "offline", **options}).check("msl")
        if one.dpoc is not None:
            RowOptions(**{"encoder": "offline", **one.dpoc_options}).check("dpoc")


@pytest.mark.parametrize("name", NAMES)
def test_every_experiment_has_a_line_to_test_against_a_baseline(name):
    experiment = load_experiment(name)
    roles = [one.role for one in experiment.conditions.values()]
    assert "ours" in roles
    assert "baseline" in roles or len(experiment.variations) > 1


@pytest.mark.parametrize("name", SCALES)
def test_the_training_settings_of_a_scale_are_fields_of_their_trainers(name):
    from trl import ModelConfig, SFTConfig

    from idl_hf.baselines.train import BaselineArguments
    from idl_hf.dpoc.config import DPOCConfig

    scale = load_scale(name)
    assert {*scale.training, *scale.msl} <= {f.name for f in fields(SFTConfig)}
    assert {*scale.training, *scale.dpoc} <= {f.name for f in fields(DPOCConfig)}
    assert {*scale.training, *scale.baseline} <= {f.name for f in fields(BaselineArguments)}
    assert set(scale.model) <= {f.name for f in fields(ModelConfig)}


def test_a_condition_with_a_recipe_of_its_own_has_its_name_for_a_key(tmp_path):
    listed = {"reference_turns": "self", "references": 12}
    larger = {"condition": "vicuna", "name": "Vicuna 13B", "model": "lmsys/vicuna-13b-v1.3"}
    conditions = ["wo_dpa", {"condition": "wo_dpa", "name": "listed", "msl": listed, "prompt": listed}, larger]
    about = {"title": "t", "about": "a", "trained_on": "convai2_idl", "tests": ["convai2_idl"], "columns": ["nll"]}
    file = tmp_path / "own.yaml"
    file.write_text(yaml.safe_dump({**about, "conditions": conditions}))
    first, second, third = load_experiment(str(file)).conditions.items()
    assert first == ("wo_dpa", condition("wo_dpa"))
    assert second == ("listed", replace(condition("wo_dpa"), name="listed", msl=listed, prompt=listed))
    assert third == ("Vicuna 13B", replace(condition("vicuna"), name="Vicuna 13B", model="lmsys/vicuna-13b-v1.3"))


def test_the_conditions_are_the_papers():
    assert list(CONDITIONS) == [
        "idl", "icl", "ft", "system", "gold", "wo_criterion", "wo_dpa", "wo_spi", "wo_dpi", "frequency", "percvae",
        "bob", "dhap", "msp", "clv", "gpt2", "vicuna", "wizardlm", "llama2_chat",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"columns": ["nll", "bleu"]}, "Unknown column: bleu"),
        ({"tests": ["convai"]}, "Unknown dataset: convai"),
        ({"conditions": ["idl", "icc"]}, "The condition 'icc' is unknown"),
        ({"colums": []}, "Unknown field of the experiment .*: colums"),
        ({"conditions": [{"condition": "idl", "dialogue": 2}]}, "Unknown field of a condition of .*: dialogue"),
        (
            {"conditions": [{"condition": "idl", "dialogues": 0}]},
            "of the condition 'IDL' must be 1 or more, found 0",
        ),
        (
            {"conditions": [{"condition": "idl", "dialogues": "all"}]},
            "a whole number or nothing, found 'all'",
        ),
        (
            {"conditions": [{"condition": "icl", "model": 13}]},
            "model of a condition of .* must be text or nothing, found 13",
        ),
        (
            {"conditions": [{"condition": "bob", "model": "gpt2"}]},
            "'BoB' is a system of its own, which takes no model",
        ),
        ({"conditions": []}, "has no conditions. Expected some of: idl, icl"),
        ({"paper": {"movie_idl": {"IDL": {"nl": 1}}}}, "Unknown column of the paper's figures: nl"),
        ({"paper": {"light_idl": {}}}, "Unknown test of the paper's figures: light_idl"),
        ({"conditions": None}, "conditions of the experiment .* must be a list, found None"),
        ({"conditions": [{"condition": "idl", 5: 1}]}, "Unknown field of a condition of .*: 5"),
        ({"conditions": [{"condition": "idl", "msl": 5}]}, "msl of a condition of .* must be a map or nothing"),
        ({"conditions": [{"condition": "idl", "x": "3"}]}, "x of a condition of .* must be a number or nothing"),
        ({"conditions": [{"condition": "idl", "role": "best"}]}, "role of a condition of .* must be one of ours,"),
        ({"variations": None}, "variations of the experiment .* must be a list"),
        ({"variations": [5]}, "a variation of .* must be a map, found 5"),
        ({"paper": None}, "paper of the experiment .* must be a map"),
        ({"paper": ["nll"]}, "paper of the experiment .* must be a map"),
        ({"tests": "movie_idl"}, "tests of the experiment .* must be a list, each entry text, found 'movie_idl'"),
        ({"min_dialogues": "two"}, "min_dialogues of the experiment .* must be a whole number, found 'two'"),
        ({3: 4}, "Unknown field of the experiment .*: 3"),
    ],
)
def test_a_wrong_word_is_named(tmp_path, change, message):
    whole = {"title": "t", "about": "a", "trained_on": "convai2_idl", "tests": ["movie_idl"], "conditions": ["idl"]}
    file = tmp_path / "own.yaml"
    file.write_text(yaml.safe_dump({**whole, "columns": ["nll"], **change}))
    with pytest.raises(ValueError, match=message):
        load_experiment(str(file))


def test_a_field_that_is_not_there_is_named(tmp_path):
    file = tmp_path / "own.yaml"
    file.write_text("title: t\n")
    with pytest.raises(ValueError, match=r"lacks something: .*'about'"):
        load_experiment(str(file))


@pytest.mark.parametrize("content", ["a: [", "\tb", "- 1", "", "a: b: c"])
def test_what_is_no_mapping_is_named(tmp_path, content):
    file = tmp_path / "own.yaml"
    file.write_text(content)
    for load in (load_experiment, load_scale):
        with pytest.raises(ValueError, match=f"'{file}'(, line [12],)? (is no valid YAML|must hold names)"):
            load(str(file))


def test_a_learning_rate_may_be_written_without_a_point(tmp_path):
    file = tmp_path / "own.yaml"
    file.write_text("like: smollm2_power\nmsl: {learning_rate: 1e-3, run_name: 1e-3x}\n")
    assert load_scale(str(file)).msl == {"learning_rate": 0.001, "run_name": "1e-3x"}


@pytest.mark.parametrize(
    ("field", "value", "problem"),
    [
        ("people", "twenty", "a whole number or nothing, found 'twenty'"),
        ("people", -2, "a whole number from 1, found -2"),
        ("dialogues_per_person", 0, "a whole number from 1, found 0"),
        ("generated", 0, "a whole number from 1, found 0"),
        ("model", None, "a map, found None"),
        ("msl", 5, "a map, found 5"),
        ("msl_rows", True, "a whole number or nothing, found True"),
        ("training", ["a"], "a map, found \\['a'\\]"),
    ],
)
def test_a_field_of_another_type_or_out_of_range_is_named(tmp_path, field, value, problem):
    file = tmp_path / "own.yaml"
    file.write_text(yaml.safe_dump({"like": "smollm2_power", field: value}))
    with pytest.raises(ValueError, match=f"^{field} of .* must be {problem}"):
        load_scale(str(file))


@pytest.mark.parametrize("seeds", [[], [0, 0], [-1], [0.5], [True], 3, "012"])
def test_seeds_of_a_scale_are_different_whole_numbers(tmp_path, seeds):
    file = tmp_path / "own.yaml"
    whole = {"model_name_or_path": "offline", "encoder": "offline", "max_prompt_tokens": 9, "max_new_tokens": 9}
    file.write_text(yaml.safe_dump({**whole, "seeds": seeds}))
    with pytest.raises(
        ValueError,
        match=r"different whole numbers from 0, such as|^seeds of .* a list, each entry a whole",
    ):
        load_scale(str(file))
    file.write_text(yaml.safe_dump(whole))
    assert load_scale(str(file)).seeds == [0]


def test_a_scale_is_like_another_but_for_what_it_says(tmp_path):
    file = tmp_path / "own.yaml"
    file.write_text("like: smollm2_power\npeople: 3\n")
    assert load_scale(str(file)) == replace(load_scale("smollm2_power"), people=3)
    file.write_text("like: smollm2_short\npeople: 3\n")  # which is like another itself
    assert load_scale(str(file)) == replace(load_scale("smollm2_short"), people=3)
    file.write_text(f"like: {file}\n")
    with pytest.raises(ValueError, match=r"is itself like .*Take one `like` out"):
        load_scale(str(file))
    file.write_text("like: nowhere\n")
    with pytest.raises(ValueError, match=r"There is no scale 'nowhere'\. There are: paper, quick, "):
        load_scale(str(file))


def test_an_unknown_experiment_is_answered_with_the_known():
    with pytest.raises(ValueError, match=r"There is no experiment 'table9'\. There are: figure4, .*table5"):
        load_experiment("table9")


def test_an_experiment_may_call_a_condition_by_another_name():
    renamed = load_experiment("table1").conditions["wo_dpa"]
    assert (renamed.name, renamed.role) == ("IDL, MSL alone", "ours")
    assert condition("wo_dpa").name == "w/o DPA"
