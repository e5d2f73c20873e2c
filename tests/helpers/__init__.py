"""Helpers shared by several tests: short runs, synthetic records, naive implementations."""
