"""Rows, metrics and adapters to the Hugging Face Hub."""
