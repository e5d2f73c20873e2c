"""Formatting of durations, counts and numbers for users."""

from __future__ import annotations


def duration(seconds: float) -> str:
    """Format seconds as `0.42 s`, `12 s`, `5:07 min` (minutes and seconds) or `1:07 h` (hours and minutes)."""
    if seconds < 59.5:
        return f"{seconds:.2g} s" if seconds < 9.95 else f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}:{rest:02d} min" if minutes < 60 else f"{minutes // 60}:{minutes % 60:02d} h"


def counted(number: int, noun: str) -> str:
    """Format a number with its noun, in the plural unless the number is 1: `1 epoch`, `2 epochs`, `1,000 images`."""
    return f"{number:,} {noun}{'s' * (number != 1)}"


def exact(value: float) -> str:
    """Format a number with all its digits, without a trailing `.0`: `100`, `33.333333333`."""
    return str(int(value)) if value == int(value) else repr(value)
