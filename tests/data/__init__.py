"""Tests of components/data."""
