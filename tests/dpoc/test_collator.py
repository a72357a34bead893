"""The collator's docstring is its worked example."""

import doctest

from idl_hf.dpoc import collator


def test_worked_example():
    failed, tried = doctest.testmod(collator)
    assert tried >= 5
    assert failed == 0


def test_reference_columns_and_cutting():
    row = {"prompt_ids": [1, 2], "chosen_ids": [3, 4], "criterion_ids": [5], "rejected_ids": [6]}
    row |= {f"ref_{name}_logps": value for name, value in zip(collator.COMPLETIONS, (-1.0, -2.0, -3.0), strict=True)}
    batch = collator.DataCollatorForCriterion(pad_token_id=0, max_length=3, pad_to_multiple_of=4)([row])
    assert batch["input_ids"].tolist() == [[1, 2, 3, 0], [1, 2, 5, 0], [1, 2, 6, 0]]
    assert batch["ref_criterion_logps"].tolist() == [-2.0]
