"""A persona taken elsewhere: a plain model folder or a GGUF file, with the prompt that makes it the person."""
