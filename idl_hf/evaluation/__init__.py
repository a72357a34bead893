"""What a model knows of people it never trained on."""
