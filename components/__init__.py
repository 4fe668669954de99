"""What Genmill does: plain functions on paths and frozen objects, free of any orchestrator."""
