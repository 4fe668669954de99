"""Tests of what scores a model."""
