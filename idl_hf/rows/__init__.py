"""People to rows: references, prompts, replies, and the `datasets` builder."""
