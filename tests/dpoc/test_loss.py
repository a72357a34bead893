"""The penalty against its plain formula, the worked value, and what must hold for any rewards."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from idl_hf.dpoc import dpoc_penalty
from idl_hf.dpoc.loss import released_penalty

REWARDS = st.floats(-50, 50, allow_nan=False)


def tensors(*values, grad=False):
    return [torch.tensor([value], dtype=torch.float64, requires_grad=grad) for value in values]


@given(REWARDS, REWARDS, REWARDS, st.floats(0, 10))
def test_penalty_is_equations_5_and_6(chosen, criterion, rejected, weight):
    expected = -weight * min(0, chosen - criterion) - weight * min(0, criterion - rejected)
    assert dpoc_penalty(*tensors(chosen, criterion, rejected), weight).item() == pytest.approx(expected, abs=1e-12)


@given(REWARDS, REWARDS, REWARDS, st.floats(0, 10))
def test_released_penalty_stands_inside_the_sigmoid(chosen, criterion, rejected, weight):
    inside = chosen - rejected + weight * (min(0, chosen - criterion) + min(0, criterion - rejected))
    plain = math.log1p(math.exp(-0.1 * (chosen - rejected)))
    found = released_penalty(*tensors(chosen, criterion, rejected), weight, beta=0.1).item()
    assert plain + found == pytest.approx(math.log1p(math.exp(-0.1 * inside)), rel=1e-9, abs=1e-12)


@given(REWARDS, REWARDS, REWARDS)
def test_a_violation_never_lowers_the_loss(chosen, criterion, rejected):
    assert dpoc_penalty(*tensors(chosen, criterion, rejected)).item() >= 0
    assert released_penalty(*tensors(chosen, criterion, rejected)).item() >= 0


@given(REWARDS, st.floats(0, 20), st.floats(0, 20))
def test_the_wanted_order_costs_nothing(rejected, first, second):
    ordered = tensors(rejected + first + second, rejected + first, rejected)
    assert dpoc_penalty(*ordered).item() == pytest.approx(0, abs=1e-12)
    assert released_penalty(*ordered).item() == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize(("form", "weight", "expected"), [("paper", 2.0, -2.055), ("released", 0.5, -0.086)])
def test_worked_slope_of_the_chosen_reward(form, weight, expected):
    chosen, criterion, rejected = tensors(-1.0, 0.0, 1.0, grad=True)
    penalty = dpoc_penalty if form == "paper" else released_penalty
    loss = -torch.nn.functional.logsigmoid(0.1 * (chosen - rejected)) + penalty(chosen, criterion, rejected, weight)
    loss.backward()
    assert chosen.grad.item() == pytest.approx(expected, abs=5e-4)


def test_on_the_kink_the_paper_form_does_not_push_and_the_released_form_does():
    equal = tensors(0.0, 0.0, 0.0, grad=True)
    dpoc_penalty(*equal).sum().backward()
    assert [r.grad.item() for r in equal] == [0.0, 0.0, 0.0]
    equal = tensors(0.0, 0.0, 0.0, grad=True)
    released_penalty(*equal).sum().backward()
    assert equal[0].grad.item() < 0 < equal[2].grad.item()
