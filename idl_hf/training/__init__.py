"""The two stages and the extractor, from the name of a dataset to a saved adapter."""
