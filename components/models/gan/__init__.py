"""Generative adversarial network: draws sharp images in one pass, by class."""
