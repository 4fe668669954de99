"""Radiance fields of one scene."""
