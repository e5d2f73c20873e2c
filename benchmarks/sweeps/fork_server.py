"""Imported by the fork server alone: it dies with the sweep, and its children with it."""

from .workers import die_with_parent

die_with_parent()
