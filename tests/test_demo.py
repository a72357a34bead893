"""The demo: what a newcomer runs first."""

import json

import pytest

from idl_hf.demo import DemoSettings, _prepare_folder, run_demo


@pytest.mark.slow
def test_the_demo_lowers_the_likelihood_loss_of_people_never_trained_on(tmp_path):
    settings = DemoSettings(
        output_dir=str(tmp_path), msl_rows=24, dpoc_rows=2, evaluated_dialogues=8, generated_replies=4
    )
    report = run_demo(settings)
    results = json.loads((tmp_path / "report.json").read_text())
    base, msl, dpoc = (line["values"] for line in results["tables"][0]["lines"])
    assert sum(msl["nll"].values()) < sum(base["nll"].values())
    assert len(dpoc["gain"]) == 4
    assert (tmp_path / "msl" / "adapter_model.safetensors").is_file()
    assert (tmp_path / "dpoc" / "adapter_model.safetensors").is_file()
    assert "prefix_sharing: dialogue" in (tmp_path / "dpoc" / "README.md").read_text()
    assert "persona gain" in report.read_text()


def test_an_interrupted_demo_goes_on_and_a_finished_one_starts_afresh(tmp_path):
    settings = DemoSettings(output_dir=str(tmp_path))
    checkpoint = tmp_path / "msl" / "checkpoint-2"
    _prepare_folder(settings)
    checkpoint.mkdir(parents=True)
    _prepare_folder(settings)
    assert checkpoint.exists()
    _prepare_folder(DemoSettings(output_dir=str(tmp_path), seed=1))
    assert not checkpoint.exists()
    checkpoint.mkdir(parents=True)
    (tmp_path / "report.md").write_text("finished")
    _prepare_folder(DemoSettings(output_dir=str(tmp_path), seed=1))
    assert not checkpoint.exists()
