"""Models in production: the package, its wire format, the gates, the ledger of promotions and the way back to the raw bytes."""
