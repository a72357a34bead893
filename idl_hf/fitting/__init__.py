"""One person in one command: whose dialogues, how much of everything, and the stages."""
