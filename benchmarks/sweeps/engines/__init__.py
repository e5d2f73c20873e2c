"""Where the units of a sweep run: one file per engine."""
