"""Speed measurements as ratios of interleaved alternatives: absolute times would not carry over to other machines."""
