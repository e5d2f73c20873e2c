"""Imported by the fork server alone, and first: from then on it ends with the sweep, and its children with it."""

from .fork_server import die_with_parent

die_with_parent()
