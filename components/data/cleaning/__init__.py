"""The parts of cleaning: shards are examined, rows are dealt over all shards at once, shards are converted.

What is known of an examined or converted shard is kept by content, so a shard that was done is never done again.
"""
