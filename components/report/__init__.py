"""Self-contained HTML pages: no scripts, no network, every picture inside the file."""
