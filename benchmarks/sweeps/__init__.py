"""Sweeps: units of work, their order, and the engines that run them."""
