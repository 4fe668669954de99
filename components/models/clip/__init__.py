"""Contrastive image–text model: embeds images and captions in one space, finds each by the other."""
