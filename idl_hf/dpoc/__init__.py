"""Direct Preference Optimization with Criterion (paper 3.3), for any dataset with a `criterion` column.

Stands alone: knows of TRL and torch, not of personas.
"""
