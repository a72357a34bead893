"""What a model can take, asked of the model."""

from typing import Any


def position_count(config: Any) -> int | None:
    """Return how many tokens a model with this config has positions for, None where nothing limits them."""
    return getattr(config.get_text_config(), "max_position_embeddings", None)
