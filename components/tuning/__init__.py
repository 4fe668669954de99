"""Hyperparameter search: what is chosen from, trials, and whether a change is worth it."""
