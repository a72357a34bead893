"""The displacement bench, whole, with a tiny random model on the sample data."""

import json
import runpy
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

pytest.importorskip("matplotlib")
SCRIPT = Path(__file__).parents[2] / "benchmarks" / "displacement.py"
METHODS = ["dpo", "dpoc", "dpoc_released", "dpo_sft", "apo_down", "nca", "dpop"]


def run_quick(folder):
    command = [sys.executable, str(SCRIPT), "--quick", "--output_dir", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=500)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


@pytest.fixture(scope="module")
def bench(tmp_path_factory):
    """(folder, what was printed, results by method)"""
    folder = tmp_path_factory.mktemp("displacement")
    printed = run_quick(folder)
    return folder, printed, {name: json.loads((folder / f"{name}.json").read_text()) for name in METHODS}


@pytest.mark.slow
def test_all_methods_start_at_one_adapter_and_train_on_the_same_rows(bench):
    _, _, runs = bench
    starts = [run["curve"][0] for run in runs.values()]
    assert all(start == starts[0] for start in starts)
    assert starts[0]["log_ratios"] == [[0.0] * 3] * 4
    before_any_update = [next(log for log in run["log"] if "loss" in log) for run in runs.values()]
    assert len({(log["logps/chosen"], log["logps/rejected"]) for log in before_any_update}) == 1


@pytest.mark.slow
def test_every_curve_has_all_its_points_and_every_method_ends_elsewhere(bench):
    _, _, runs = bench
    for run in runs.values():
        assert [point["step"] for point in run["curve"]] == [0, 1, 2]
        assert [point["nll"] is not None for point in run["curve"]] == [True, False, True]
        assert all(len(point["log_ratios"]) == 4 for point in run["curve"])
    assert len({str(run["curve"][-1]["log_ratios"]) for run in runs.values()}) == len(METHODS)


@pytest.mark.slow
def test_steps_of_dialogues_are_once_over_the_same_rows(bench):
    folder, _, runs = bench
    trees = json.loads((folder / "trees.json").read_text())
    first, last = trees["curve"][0], trees["curve"][-1]
    assert first["log_ratios"] == runs["dpoc"]["curve"][0]["log_ratios"]
    assert first["logps/chosen"] == pytest.approx(runs["dpoc"]["curve"][0]["logps/chosen"])
    assert trees["people"] == runs["dpoc"]["people"]
    assert trees["log"][-1]["epoch"] == 1
    assert last["nll"] is not None
    assert last["log_ratios"] != runs["dpoc"]["curve"][-1]["log_ratios"]


@pytest.mark.slow
def test_logged_rewards_are_those_of_the_rows(bench):
    _, _, runs = bench
    for run in runs.values():
        last = run["curve"][-1]
        means = 0.1 * torch.tensor(last["log_ratios"]).mean(dim=0)
        logged = [last[f"rewards/{name}"] for name in ("chosen", "criterion", "rejected")]
        torch.testing.assert_close(torch.tensor(logged), means, atol=1e-5, rtol=1e-4)


@pytest.mark.slow
def test_what_is_measured_is_of_people_never_trained_on(bench, sample_data):
    _, _, runs = bench
    people = {
        split: {json.loads(line)["person_id"] for line in (sample_data / f"{split}.jsonl").read_text().splitlines()}
        for split in ("train", "validation")
    }
    for run in runs.values():
        measured = {*run["people"], *run["curve"][0]["nll"]["own"], *run["curve"][0]["nll"]["other"]}
        assert measured <= people["validation"]
        assert not measured & people["train"]


@pytest.mark.slow
def test_the_report_has_a_row_and_a_line_for_every_method(bench):
    folder, printed, _ = bench
    labels = ["DPO", "DPOC, paper", "DPOC, released", "DPO + SFT", "APO-down", "NCA", "DPOP", "DPOC, trees"]
    table = [line for line in (folder / "results.md").read_text().splitlines() if line.startswith("|")]
    assert [row.split(" | ")[0].strip("| ") for row in table[2:]] == labels
    assert len({row.count("|") for row in table}) == 1
    assert list(json.loads((folder / "results.json").read_text())["methods"]) == labels
    assert all(f"\n{label}: change of chosen log-prob" in printed for label in labels)
    assert 1_000 < (folder / "results.svg").stat().st_size < 100_000


@pytest.mark.slow
def test_an_interrupted_bench_goes_on_and_finds_the_same(bench):
    folder, _, runs = bench
    finished = (folder / "dpo.json").stat().st_mtime_ns
    (folder / "dpop.json").unlink()
    run_quick(folder)
    assert (folder / "dpo.json").stat().st_mtime_ns == finished
    assert json.loads((folder / "dpop.json").read_text())["curve"] == runs["dpop"]["curve"]


@pytest.mark.slow
def test_a_folder_of_other_settings_is_refused(bench):
    module = runpy.run_path(str(SCRIPT))
    with pytest.raises(ValueError, match="has results of the settings in its settings"):
        module["run_bench"](module["Settings"](output_dir=str(bench[0]), quick=True, seed=1))


def test_dpop_is_the_loss_of_its_paper():
    dpop_term = runpy.run_path(str(SCRIPT))["dpop_term"]
    chosen, rejected = torch.tensor([-1.0, 2.0, -0.5]), torch.tensor([0.5, -1.0, -3.0])
    expected = -F.logsigmoid(0.1 * (chosen - rejected - 5.0 * torch.tensor([1.0, 0.0, 0.5])))
    torch.testing.assert_close(-F.logsigmoid(0.1 * (chosen - rejected)) + dpop_term(chosen, rejected, 5.0), expected)
