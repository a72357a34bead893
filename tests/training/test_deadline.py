"""A training whose time is up ends with its step, and others go on to their last."""

from types import SimpleNamespace

import pytest

from idl_hf.training.deadline import current_deadline, within


@pytest.mark.parametrize(("seconds", "step", "stops"), [(-1, 2, True), (-1, 5, False), (3600, 2, False)])
def test_it_stops_where_the_time_is_up_and_steps_are_left(seconds, step, stops, capsys):
    control = SimpleNamespace(should_training_stop=False)
    with within("MSL", seconds):
        (deadline,) = current_deadline()
    deadline.on_step_end(None, SimpleNamespace(global_step=step, max_steps=5), control)
    assert control.should_training_stop == stops
    assert ("MSL: the minutes are up after step 2 of 5" in capsys.readouterr().out) == stops


def test_it_holds_in_its_block_alone():
    assert current_deadline() == []
    with within("MSL", 1):
        assert len(current_deadline()) == 1
    assert current_deadline() == []
