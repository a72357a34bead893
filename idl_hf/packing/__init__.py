"""Texts that share a beginning, in one row: each token runs through the model once."""
