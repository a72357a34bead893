"""Numbers in, tables and pages out."""
