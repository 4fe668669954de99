"""Raw bytes in, a validated, versioned, published dataset out."""
