"""The parts of validation: a line of metadata per row, rules on single rows shard by shard, rules on all rows by DuckDB, and the page."""
