"""Variational autoencoder: samples, reconstructs and embeds images, and bounds their likelihood."""
