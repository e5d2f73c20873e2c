"""The command line: one file per subject, its commands in COMMANDS. Commands import torch only when called."""
