"""The model zoo: one folder per family, the same file names in each."""
