"""Speed as ratios of alternatives that run alternately in one process, as absolute times say little elsewhere."""
