"""The store and the package of `tests.stores` as fixtures."""

from tests.stores import empty_store, package, tracker

__all__ = ["empty_store", "package", "tracker"]
