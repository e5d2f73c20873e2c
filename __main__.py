"""`python -m ltbench` is the command `bench`."""

from .bench import main

main()
