"""Chat with a person known from past dialogues alone."""
