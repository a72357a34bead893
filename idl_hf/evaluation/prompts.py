"""How the prompts of models under evaluation are made: each as in its training."""

from collections.abc import Mapping
from typing import Any

from idl_hf.chat.recipe import DEFAULT_BUDGET, trained_options

_OF_PROMPTS = {  # the options of rows that say what a prompt shows
    "clusters", "min_dialogues_to_cluster", "references", "reference_turns", "scale", "order", "spi", "dpi",
    "conditioning", "encoder", "extractor",
}  # fmt: skip


def prompt_options(recipes: Mapping[str, Mapping[str, Any]], given: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the row options by which each model's prompts are made: as in its training, and where a model tells of
    none, as those of the first that does. What is given goes for all, be it by a preset.

    recipes: what `load_recipe` returns, by model. Raises ValueError where one holds anything but options of rows.
    """
    if "preset" in given:  # what it does not set it leaves as the paper has it
        given = {**dict.fromkeys(_OF_PROMPTS - {"conditioning", "encoder", "extractor"}), **given}
    trained = {
        name: {
            option: value
            for option, value in trained_options(f"The options saved with '{name}'", recipe["options"]).items()
            if option in _OF_PROMPTS and option not in given
        }
        for name, recipe in recipes.items()
        if recipe.get("options")
    }
    first = next(iter(trained.values()), {})
    shared = {option: value for option, value in first.items() if option != "conditioning"}
    return {name: trained.get(name, shared) for name in recipes}


def prompt_budget(recipes: Mapping[str, Mapping[str, Any]]) -> int:
    """Return the most tokens that a prompt may have with all of the models: the least that one was trained with."""
    budgets = [recipe["max_prompt_tokens"] for recipe in recipes.values() if recipe.get("max_prompt_tokens")]
    return min(budgets, default=DEFAULT_BUDGET)
