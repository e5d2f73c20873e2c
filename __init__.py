"""ltbench: a benchmark suite for long-tailed image classification in PyTorch."""

__version__ = "0.1.0"
