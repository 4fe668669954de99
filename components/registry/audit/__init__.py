"""The links of the chain from a registered version back to the raw bytes, one file per stretch of it; each yields rows, and shows nothing."""
