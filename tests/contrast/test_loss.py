"""The contrast by hand, and by autograd."""

import math

import pytest
import torch

from idl_hf.contrast import contrast_loss
from idl_hf.contrast.draw import drawn_strangers

TOKENS = torch.tensor([4.0], dtype=torch.float64)


def loss(*totals, temperature=None):
    return contrast_loss(torch.tensor([totals], dtype=torch.float64), TOKENS, temperature).item()


def test_worked_numbers():
    # The softmax of (-1, -2, -3) is e^2, e, 1 over their sum
    assert loss(-1, -2, -3) == pytest.approx(math.log(1 + math.exp(-1) + math.exp(-2)))
    # 4 tokens at 0.5: T = 2, and means of -0.25, -0.5, -0.75 over 0.5
    assert loss(-1, -2, -3, temperature=0.5) == pytest.approx(2 * math.log(1 + math.exp(-0.5) + math.exp(-1)))


def test_strangers_equal_to_own_give_log_k_and_far_ones_nothing():
    assert loss(-7, -7, -7) == pytest.approx(math.log(3))
    assert loss(-7, -7, -7, temperature=0.1) == pytest.approx(0.4 * math.log(3))
    assert loss(-7, -700, -700) == 0
    assert loss(-700, -7, -7) == pytest.approx(693 + math.log(2))


def test_the_order_of_strangers_and_one_that_is_not_there_change_nothing():
    assert loss(-5, -6, -4) == pytest.approx(loss(-5, -4, -6), abs=1e-12)
    assert loss(-5, -6, -torch.inf) == pytest.approx(loss(-5, -6), abs=1e-12)


@pytest.mark.parametrize("temperature", [None, 0.2])
def test_gradients_sum_to_zero_and_are_those_of_the_docstring(temperature):
    totals = torch.tensor([[-5, -6, -4.5, -torch.inf]], dtype=torch.float64, requires_grad=True)
    contrast_loss(totals, TOKENS, temperature).sum().backward()
    p = (totals.detach() / (1 if temperature is None else 4 * temperature)).softmax(dim=1)[0]
    expected = [-(1 - p[0]), p[1], p[2], 0]
    assert totals.grad[0].tolist() == pytest.approx([float(value) for value in expected], abs=1e-12)
    assert totals.grad.sum().item() == pytest.approx(0, abs=1e-12)
    assert totals.grad[0, 0] < 0  # own replies are never made unlikely


def test_strangers_are_drawn_anew_at_each_step_of_either_kind_and_of_those_there_are():
    drawn = [drawn_strangers(7, 2, 1, seed=0, step=step) for step in range(40)]
    assert {place for places in drawn for place in places} == set(range(7))
    assert all(len({*places}) == 3 and sum(place < 4 for place in places) == 2 for places in drawn)
    assert drawn_strangers(7, 2, 1, seed=0, step=3) == drawn[3]
    assert [drawn_strangers(7, 2, 1, seed=1, step=step) for step in range(40)] != drawn
    assert drawn_strangers(7, 2, 1, seed=0, step=None) == [0, 1, 4]
    assert drawn_strangers(7, 0, 3, seed=0, step=None) == [4, 5, 6]
    assert drawn_strangers(1, 2, 1, seed=0, step=5) == [0]
    with pytest.raises(ValueError, match="A dialogue has 4 strangers"):
        drawn_strangers(4, 0, 1, seed=0, step=5)
    assert {len(drawn_strangers(5, 2, 1, seed=0, step=step)) for step in range(9)} == {3}
