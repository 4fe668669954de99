"""Diffusion: draws images from noise, by class, and draws given images anew."""
