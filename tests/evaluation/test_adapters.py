"""An adapter is named by all that it depends on, what the machine decides included."""

from dataclasses import replace

import pytest

from idl_hf import machine
from idl_hf.contrast.config import ContrastConfig
from idl_hf.evaluation.adapters import _STAGES, Adapters
from idl_hf.evaluation.conditions import condition
from idl_hf.evaluation.experiment import load_scale
from idl_hf.training.data import DataArguments


@pytest.fixture
def asked(monkeypatch):
    """The data and arguments of the trainings that were asked for; nothing is trained."""
    trainings = []
    for name, stage in list(_STAGES.items()):
        monkeypatch.setitem(_STAGES, name, stage._replace(train=lambda data, args, _: trainings.append((data, args))))
    return trainings


@pytest.fixture
def adapters(sample_data, tmp_path):
    return Adapters(tmp_path, load_scale("smollm2_cpu"), DataArguments("idl_hf/dialogues_idl", str(sample_data)))


@pytest.fixture
def trained(monkeypatch, asked, adapters):
    """Returns the name of the adapter that would be trained in a precision, on this machine."""

    def name(precision):
        monkeypatch.setenv(machine.PRECISION_VARIABLE, precision)
        machine.fast_precision.cache_clear()
        adapters.adapter(condition("wo_dpa"), 0)
        return asked[-1][1].output_dir

    yield name
    machine.fast_precision.cache_clear()


def test_an_adapter_of_another_precision_is_another_adapter(trained):
    assert trained("float32") == trained("float32") != trained("bfloat16")


def test_a_seed_is_that_of_the_trainer_and_of_the_rows_and_0_leaves_both_as_they_were(asked, adapters):
    corpus = replace(adapters.corpus, dataset_options={"seed": 7})
    for of, seed in ((adapters, 0), (adapters, 2), (replace(adapters, corpus=corpus), 2)):
        of.adapter(condition("wo_dpa"), seed)
    (plain, plain_args), (data, args), (other, _) = asked
    usual = type(args)(output_dir="x").seed
    assert (plain_args.seed, args.seed) == (usual, usual + 2)
    assert "seed" not in plain.dataset_options  # which would be another name
    assert (data.dataset_options["seed"], other.dataset_options["seed"]) == (2, 9)
    assert data.max_rows == plain.max_rows
    assert len({args.output_dir for _, args in asked}) == 3


def test_a_condition_with_a_contrast_learns_its_rows_by_that(asked, adapters):
    own = condition("wo_dpa")
    adapters.adapter(replace(own, msl={"reference_turns": "self"}, contrast={"contrast_weight": 0.5}), 0)
    adapters.adapter(replace(own, msl={"reference_turns": "self"}), 0)
    (data, args), (same, msl) = asked
    assert isinstance(args, ContrastConfig)
    assert args.contrast_weight == 0.5
    assert data.dataset_options == same.dataset_options
    assert data.dataset_options["reference_turns"] == "self"
    assert not isinstance(msl, ContrastConfig)


def test_a_condition_may_learn_from_other_dialogues_and_for_longer(asked, adapters):
    own = condition("wo_dpa")
    for changed in (
        own,
        replace(own, dialogues=3),
        replace(own, training={"num_train_epochs": 2}),
        replace(own, training={"learning_rate": 1e-4}, contrast={}),
    ):
        adapters.adapter(changed, 0)
    (usual, usual_args), (few, few_args), (long, long_args), (_, contrast_args) = asked
    assert (usual.max_rows, few.max_rows, long.max_rows) == (200, 3, 200)
    assert (usual_args.num_train_epochs, few_args.num_train_epochs, long_args.num_train_epochs) == (1, 1, 2)
    assert contrast_args.learning_rate == 1e-4 != usual_args.learning_rate
    assert len({args.output_dir for _, args in asked}) == 4


def test_a_setting_that_no_training_has_is_named(asked, adapters):
    with pytest.raises(ValueError, match=r"MSLConfig has no epochs, which the scale or a condition sets for msl\."):
        adapters.adapter(replace(condition("wo_dpa"), training={"epochs": 2}), 0)
    assert not asked


def test_the_second_stage_is_shown_what_the_first_was_but_for_what_table_3_leaves_out(monkeypatch, asked, adapters):
    monkeypatch.setattr("idl_hf.evaluation.adapters.model_identity", str)  # of what would be trained first
    msl = {"reference_turns": "self", "references": 12, "reply": "last", "spi": False}
    adapters.adapter(replace(condition("idl"), msl=msl), 0)
    adapters.adapter(replace(condition("idl"), msl=msl, dpoc_options={"criterion_type": "inversion"}), 0)
    (first, _), (second, _), _, (alone, _) = asked
    assert msl.items() <= first.dataset_options.items()
    shown = {"encoder": "offline", "reference_turns": "self", "references": 12}
    assert second.dataset_options == {**shown, "targets": "all"}  # the last is the scale's
    assert alone.dataset_options == {**second.dataset_options, "criterion_type": "inversion"}
