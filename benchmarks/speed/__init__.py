"""Speed measurements, as ratios of interleaved alternatives, since absolute times do not transfer between machines."""
