"""Writes what the encoder is trained on: `python -m finetune.encoder.data OUT.jsonl.gz [--background FILE] [--public FILE]`.

Rows are token ids, so that training needs neither rules nor a tokenizer: `{"task", "a": […], "b": [[…], …], "label",
"weight", "group", "category", "held"}`; the first line names the labels and the tokens that a message and a request start with.
"""

from __future__ import annotations

import argparse
import gzip
import json
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from app.safety import reader
from finetune.encoder.pairs import MOST_PASSAGE, MOST_QUESTION, pair_rows
from finetune.encoder.rows import APART, PAIRED, REQUEST, Row, safety_rows
from retrieval.embedders.e5 import shipped_e5

STARTS = {
    "message": reader.MESSAGE,
    "answer": reader.ANSWER,
    "request": REQUEST,
    "claim": reader.CLAIM,
    "pair": "query: ",
    "none": "query: ",
}
PASSAGE = "passage: "


def names_of(rows: Sequence[Row]) -> dict[str, Any]:
    """The labels in their order, and how messages and requests begin."""
    tokens = shipped_e5().tokens
    return {
        "codes": sorted({c for row in rows if row.task == "answer" for c in row.label} - APART),
        "kinds": ["none", *sorted({row.label for row in rows if row.task == "request"} - {"none"})],
        "categories": sorted({row.category for row in rows if row.category}),
        "starts": {name: tokens(STARTS[name]) for name in ("message", "answer", "request")},
    }


def encoded(row: Row) -> dict[str, Any]:
    """The row with token ids for its texts."""
    tokens = shipped_e5().tokens
    paired = row.task in PAIRED
    first = row.first[:MOST_QUESTION] if paired else row.first
    others = [PASSAGE + text[:MOST_PASSAGE] for text in row.others] if paired else row.others
    return {
        "task": row.task,
        "a": tokens(STARTS[row.task] + first),
        "b": [tokens(text) for text in others],
        "label": None if paired else row.label,
        "weight": row.weight,
        "group": row.group,
        "category": row.category,
        "held": row.held,
    }


def write(rows: Sequence[Row], out: Path) -> None:
    """Write the names of the labels, then the rows as token ids."""
    with gzip.open(out, "wt", encoding="utf-8") as file:
        file.write(json.dumps(names_of(rows)) + "\n")
        for row in rows:
            file.write(json.dumps(encoded(row), ensure_ascii=False) + "\n")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--background", type=Path, help="real questions (`question`), all taken as routine")
    parser.add_argument("--public", type=Path, help="real questions with answers (`question`, `answer`)")
    parser.add_argument("--without", type=Path, help="questions (`query`) that are kept for measuring")
    chosen = parser.parse_args()
    rows = [*safety_rows(chosen.background), *pair_rows(chosen.public, chosen.without)]
    write(rows, chosen.out)
    print(Counter((row.task, row.held) for row in rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())
