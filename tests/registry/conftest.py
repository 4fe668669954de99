"""The store and the package that the tests of this folder share."""

from tests.stores import empty_store, package, tracker

__all__ = ["empty_store", "package", "tracker"]
