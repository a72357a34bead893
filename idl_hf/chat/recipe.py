"""How the prompts of an adapter are made and its replies written: as in training, unless somebody says otherwise."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, NamedTuple

from idl_hf.arguments import refuse_less_than_one
from idl_hf.models.generation import GenerationSettings, settings_of
from idl_hf.models.identity import RECIPE_FILE, load_generation, load_recipe
from idl_hf.rows.options import RowOptions, check_options

DEFAULT_BUDGET = 2048  # tokens of a prompt


class Recipe(NamedTuple):
    """The options of an adapter's rows, the longest prompt, and how replies are written, greedily where nothing says
    otherwise."""

    options: RowOptions
    max_prompt_tokens: int
    generation: GenerationSettings


def recipe_of(
    name: str,
    *,
    encoder: str | None = None,
    references: int | None = None,
    options: RowOptions | None = None,
    max_prompt_tokens: int | None = None,
) -> Recipe:
    """Return what is given and else what was saved with an adapter, the defaults for a model or where nothing was.

    Raises ValueError for what is valid for no row, and where what was saved holds anything but options of the rows, or
    settings of other types.
    """
    refuse_less_than_one(max_prompt_tokens=max_prompt_tokens)
    recipe = load_recipe(name)
    trained = trained_options(f"{RECIPE_FILE} of '{name}'", recipe.get("options", {}))
    named = {"encoder": encoder, "references": references}
    given: dict[str, Any] = {option: value for option, value in named.items() if value is not None}
    options = replace(options or RowOptions(**trained), **given)
    options.check("msl")
    generation = settings_of(load_generation(name), f"The generation config of '{name}'")
    return Recipe(options, max_prompt_tokens or recipe.get("max_prompt_tokens") or DEFAULT_BUDGET, generation)


def trained_options(where: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """Return those of the options that shape prompts. Raises ValueError, with `where`, unless all are valid ones."""
    check_options(where, options)
    of_replies = {"reply", "rejected", "criterion_type"}
    return {option: value for option, value in options.items() if option not in of_replies}
