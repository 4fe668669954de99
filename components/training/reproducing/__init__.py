"""Trains a registered version again in a folder of its own, from what is recorded of it, and says how far the two agree."""
