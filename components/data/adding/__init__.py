"""A dataset block from a path or an address: which source it is, what its samples are, and what cleaning suits them."""
