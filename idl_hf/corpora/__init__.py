"""Raw files to dialogues. One reader per corpus; none knows of `datasets`."""
