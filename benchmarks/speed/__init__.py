"""Speed as ratios: two ways to do the same take turns in one process, because absolute times say little elsewhere."""
