"""How the examples of one optimizer step go through the model: in as few passes as the token budget allows.

Owns the grouping. A step always sees `examples_per_step` examples; plain trainers run them one after another, here
examples of like length share a pass. The loss is the sum over the step's answer tokens divided by their number, so the
grouping changes nothing but speed. Right padding needs no attention mask: a causal model never looks ahead.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from finetune.training.encoding import IGNORED, Encoded

MULTIPLE = 8  # lengths are padded to it: tensor cores want it


@dataclass(frozen=True, slots=True)
class Grouping:
    """`budget_tokens` in one pass (0: one example a pass); `packed` puts examples behind one another in one row."""

    budget_tokens: int
    pad_id: int
    packed: bool = False

    def __call__(self, examples: Sequence[dict[str, Any]]) -> dict[str, Any]:
        """The collator of the trainer: {"passes": [{input_ids, labels[, position_ids]}, …]}."""
        pairs = [Encoded(tuple(example["input_ids"]), tuple(example["labels"])) for example in examples]
        groups = self.groups(pairs)
        make = self._row if self.packed else self._rectangle
        return {"passes": [make([pairs[index] for index in group]) for group in groups]}

    def groups(self, pairs: Sequence[Encoded]) -> list[list[int]]:
        """Indices by pass, longest examples first; each pass holds at most the budget, padding counted."""
        order = sorted(range(len(pairs)), key=lambda index: -len(pairs[index].input_ids))
        groups: list[list[int]] = []
        used = 0
        for index in order:
            length = len(pairs[index].input_ids)
            if groups and self.packed:
                used += length
            elif groups:
                used = len(pairs[groups[-1][0]].input_ids) * (len(groups[-1]) + 1)
            if not groups or used > self.budget_tokens:
                groups.append([index])
                used = length
            else:
                groups[-1].append(index)
        return groups

    def _rectangle(self, group: Sequence[Encoded]) -> dict[str, torch.Tensor]:
        width = _round(max(len(pair.input_ids) for pair in group))
        ids = torch.full((len(group), width), self.pad_id, dtype=torch.long)
        labels = torch.full((len(group), width), IGNORED, dtype=torch.long)
        for row, pair in enumerate(group):
            ids[row, : len(pair.input_ids)] = torch.tensor(pair.input_ids)
            labels[row, : len(pair.labels)] = torch.tensor(pair.labels)
        return {"input_ids": ids, "labels": labels}

    def _row(self, group: Sequence[Encoded]) -> dict[str, torch.Tensor]:
        """One row; positions start again with each example, which keeps attention inside it."""
        labels = [torch.tensor((IGNORED, *pair.labels[1:])) for pair in group]
        return {
            "input_ids": torch.cat([torch.tensor(pair.input_ids) for pair in group])[None],
            "labels": torch.cat(labels)[None],
            "position_ids": torch.cat([torch.arange(len(pair.input_ids)) for pair in group])[None],
        }


def _round(length: int) -> int:
    return (length + MULTIPLE - 1) // MULTIPLE * MULTIPLE


def count_learnt(one_pass: dict[str, torch.Tensor]) -> torch.Tensor:
    """Answer tokens that are predicted in this pass (the first of a row cannot be)."""
    return (one_pass["labels"][:, 1:] != IGNORED).sum()
