"""A dataset to look at: one person, all in numbers, what is stated."""
