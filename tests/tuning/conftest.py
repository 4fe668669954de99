"""The small runs of the tests of training."""

from tests.training.conftest import home_project, make_spec, own_switches

__all__ = ["home_project", "make_spec", "own_switches"]
