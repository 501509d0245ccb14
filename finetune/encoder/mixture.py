"""Draws the rows of a step and turns them into sequences, with the noise that keeps training from learning by heart."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from app.safety import reader
from retrieval.embedders.e5 import BOS, EOS

Row = dict[str, Any]

# Rows of a step by task.
ROWS = {"message": 48, "answer": 22, "request": 20, "claim": 24, "own": 40, "none": 12, "public": 40}
MOST_SENTENCES = 14
WITHOUT_QUESTION = 0.3
JOINED = 0.15
JOINED_TOKENS = 90
THINNED = 0.3
START_TOKENS = 3
ORDINARY_REQUESTS = 3000
QUESTION_TOKENS, PASSAGE_TOKENS = 128, 200
LONG_MESSAGE = 160


@dataclass(frozen=True, slots=True)
class Pairs:
    """Questions and passages of a step: question i is answered by passage i, those past the last pair by none."""

    questions: list[list[int]]
    passages: list[list[int]]
    pairs: int


class Mixture:
    """The rows of every task, each coming once before any comes again. `starts` are the tokens that texts begin with."""

    def __init__(self, rows: Sequence[Row], starts: dict[str, list[int]], seed: int) -> None:
        self._chance = random.Random(seed)
        self._starts = starts
        kept = [row for row in rows if not row.get("held")]
        self.rows = {
            task: [row for row in kept if row["task"] == task]
            for task in ("message", "answer", "claim", "none")
        }
        self.rows["request"] = [row for row in kept if row["task"] == "request"]
        self.rows["own"] = [row for row in kept if row["task"] == "pair" and row["group"] != "public"]
        self.rows["public"] = [row for row in kept if row["task"] == "pair" and row["group"] == "public"]
        self._message_start = len(starts["message"])
        self._add_ordinary_requests()
        self._calm = [
            row
            for row in self.rows["message"]
            if row["label"] == 0 and row["group"] != "background" and len(row["a"]) < JOINED_TOKENS
        ]
        self._queues: dict[str, list[int]] = {task: [] for task in ROWS}

    def _add_ordinary_requests(self) -> None:
        """Everyday messages ask for nothing that must be refused."""
        ordinary = [
            {**row, "task": "request", "label": "none", "weight": 0.5}
            for row in self.rows["message"]
            if row["category"] != "self_harm" and row["group"] != "background"
        ]
        self._chance.shuffle(ordinary)
        self.rows["request"] += [
            {**row, "a": self._starts["request"] + row["a"][self._message_start :]}
            for row in ordinary[:ORDINARY_REQUESTS]
        ]

    def tokens(self) -> Iterator[int]:
        """Every token that can occur in a step, most of them many times."""
        for start in self._starts.values():
            yield from start
        for rows in self.rows.values():
            for row in rows:
                yield from row["a"]
                for text in row["b"]:
                    yield from text

    def draw(self, task: str) -> list[Row]:
        """The next rows of a task; fewer where there are fewer."""
        queue = self._queues[task]
        if len(queue) < ROWS[task]:
            order = list(range(len(self.rows[task])))
            self._chance.shuffle(order)
            queue += order
        taken, self._queues[task] = queue[: ROWS[task]], queue[ROWS[task] :]
        return [self.rows[task][index] for index in taken]

    def sequences(self, task: str, rows: Sequence[Row]) -> tuple[list[list[int]], list[int]]:
        """Token sequences, and of which row each is (several for an answer)."""
        if task == "answer":
            return self._answers(rows)
        made = []
        for row in rows:
            first = self._thinned(self._joined(row) if task == "message" else row["a"])
            if task == "claim":
                made.append(reader.pair(first[: reader.CLAIM_TOKENS], row["b"][0][: reader.PASSAGE_TOKENS]))
            else:
                made.append([BOS, *first[:LONG_MESSAGE], EOS])
        return made, list(range(len(rows)))

    def pairs(self, task: str) -> Pairs:
        """A step's questions and passages: `task` is "own" (with what none answers, and wrong passages) or "public"."""
        rows = self.draw(task)
        unanswered = self.draw("none") if task == "own" else []
        questions = [self._thinned(row["a"])[:QUESTION_TOKENS] for row in (*rows, *unanswered)]
        passages = [row["b"][0] for row in rows]
        passages += [self._chance.choice(row["b"][1:]) for row in rows if len(row["b"]) > 1]
        passages += [
            wrong for row in unanswered for wrong in self._chance.sample(row["b"], min(2, len(row["b"])))
        ]
        return Pairs(
            [[BOS, *question, EOS] for question in questions],
            [[BOS, *passage[:PASSAGE_TOKENS], EOS] for passage in passages],
            len(rows),
        )

    def _answers(self, rows: Sequence[Row]) -> tuple[list[list[int]], list[int]]:
        made, owners = [], []
        for index, row in enumerate(rows):
            asked = row["a"]
            if self._chance.random() < WITHOUT_QUESTION:
                asked = self._starts["answer"]
            for sentence in row["b"][:MOST_SENTENCES]:
                first = self._thinned(asked)[: reader.QUESTION_TOKENS]
                made.append(reader.pair(first, self._thinned(sentence, 0)[: reader.SENTENCE_TOKENS]))
                owners.append(index)
        return made, owners

    def _joined(self, row: Row) -> list[int]:
        """Now and then an everyday message before or after: an emergency stays one."""
        own: list[int] = row["a"]
        if self._chance.random() >= JOINED or not self._calm:
            return own
        start, other = self._message_start, self._chance.choice(self._calm)["a"]
        if self._chance.random() < 0.5:
            return own + other[start:]
        return other + own[start:]

    def _thinned(self, ids: list[int], start: int = START_TOKENS) -> list[int]:
        """Now and then without some of its tokens."""
        if self._chance.random() >= THINNED or len(ids) < 6:
            return ids
        lost = self._chance.choice((0.05, 0.1, 0.15))
        return ids[:start] + [token for token in ids[start:] if self._chance.random() > lost]
