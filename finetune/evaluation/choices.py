"""Multiple choice by likelihood: the option whose text the model finds most likely as an answer is its choice.

Owns the scoring over anything that gives likelihoods. Options are compared by mean log-likelihood per token, so that
a longer option is at no disadvantage.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from finetune.evaluation.questions import Choice


class Likely(Protocol):
    """Something that says how likely an answer is after a conversation."""

    def likelihood(self, messages: Sequence[dict[str, str]], option: str) -> float: ...


def choose(model: Likely, choice: Choice) -> int:
    """The index of the option that the model prefers."""
    messages = [{"role": "user", "content": choice.question}]
    scores = [model.likelihood(messages, option) for option in choice.options]
    return max(range(len(scores)), key=scores.__getitem__)


def correct(model: Likely, choices: Sequence[Choice]) -> list[bool]:
    return [choose(model, choice) == choice.answer for choice in choices]
