"""The command line: one file a subject, with its commands in COMMANDS. Commands import torch when they are called."""
