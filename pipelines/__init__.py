"""When things happen and in what order: Prefect flows, each task a thin wrapper round one component."""
