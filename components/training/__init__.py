"""The training run: one child process that trains, evaluates and packages."""
