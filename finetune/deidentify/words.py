"""The word list and cutting of jieba, loaded once: which strings are ordinary words and which are names.

Owns the access to jieba. Nothing here learns from the texts.
"""

from __future__ import annotations

import logging
from functools import lru_cache
from typing import cast

import jieba

_DICTIONARY_COLUMNS = 3


@lru_cache(maxsize=1)
def _frequencies() -> dict[str, int]:
    jieba.setLogLevel(logging.WARNING)
    jieba.initialize()
    return cast(dict[str, int], jieba.dt.FREQ)


@lru_cache(maxsize=1)
def _tags() -> dict[str, str]:
    """jieba's part of speech by word: `nr…` personal names, `ns` places, `nt` institutions."""
    tags: dict[str, str] = {}
    with jieba.get_dict_file() as file:
        for line in file:
            parts = line.decode("utf-8").split()
            if len(parts) == _DICTIONARY_COLUMNS:
                tags[parts[0]] = parts[2]
    return tags


def frequency(word: str) -> int:
    """How often jieba's corpus has the word; 0 when it is none."""
    return _frequencies().get(word, 0)


def is_ordinary_word(word: str) -> bool:
    """A dictionary word that is not (only) a personal name."""
    return frequency(word) > 0 and not _tags().get(word, "").startswith("nr")


def is_place_or_institution(word: str) -> bool:
    return len(word) > 1 and _tags().get(word, "") in ("ns", "nt")


@lru_cache(maxsize=4096)
def _cut(text: str) -> tuple[str, ...]:
    _frequencies()
    return tuple(jieba.lcut(text, HMM=False))


def tokens(text: str) -> tuple[str, ...]:
    return _cut(text)
