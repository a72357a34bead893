"""What a model can take, asked of the model."""

from typing import Any


def position_count(model: Any) -> int | None:
    """Return how many tokens a model has positions for, None where nothing limits them."""
    return getattr(model.config.get_text_config(), "max_position_embeddings", None)
