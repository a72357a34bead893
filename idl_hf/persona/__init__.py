"""Which utterances show persona, and what they say."""
