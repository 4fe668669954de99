"""Images from text."""
