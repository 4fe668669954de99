"""Image captioner: says in words what an image shows."""
