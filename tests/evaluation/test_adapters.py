"""An adapter is named by all that it depends on, what the machine decides included."""

import pytest

from idl_hf import machine
from idl_hf.evaluation.adapters import Adapters
from idl_hf.evaluation.conditions import condition
from idl_hf.evaluation.experiment import load_scale
from idl_hf.training.data import DataArguments


@pytest.fixture
def trained(monkeypatch, sample_data, tmp_path):
    """Returns the name of the adapter that would be trained in a precision, on this machine."""
    folders = []
    monkeypatch.setattr("idl_hf.evaluation.adapters.train_msl", lambda data, args, model: folders.append(args))
    adapters = Adapters(tmp_path, load_scale("smollm2_cpu"), DataArguments("idl_hf/dialogues_idl", str(sample_data)))

    def name(precision):
        monkeypatch.setenv(machine.PRECISION_VARIABLE, precision)
        machine.fast_precision.cache_clear()
        adapters.adapter(condition("wo_dpa"))
        return folders[-1].output_dir

    yield name
    machine.fast_precision.cache_clear()


def test_an_adapter_of_another_precision_is_another_adapter(trained):
    assert trained("float32") == trained("float32") != trained("bfloat16")
