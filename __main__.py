"""Entry point of `python -m ltbench`, which runs the command `bench`."""

from .bench import main

main()
