"""Word lists written as one spaced string, so that they stay readable in data modules."""

from __future__ import annotations


def listed(text: str) -> tuple[str, ...]:
    return tuple(text.split())
