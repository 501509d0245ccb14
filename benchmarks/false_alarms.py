"""How often triage raises an alarm on real patient questions, which are nearly all routine.

Covers the share of questions at each level and the rules that fire. Whether a single firing is a false alarm needs a
reader: `--sample N` prints N firings (fixed seed) to judge by kind; `docs/safety.md` holds the counts of that reading.

    python benchmarks/false_alarms.py --data FOLDER [--sample 100] [--semantic]

FOLDER holds qa.jsonl, one object with a "question" a line. The last line printed is one JSON object.
"""
# ruff: noqa: E402

from __future__ import annotations

import argparse
import json
import random
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

# Run as a script, this file's folder comes first on the path, and retrieval.py in it would hide the package.
sys.path[0] = str(Path(__file__).resolve().parents[1])

from app.safety.triage import TriageEngine
from app.safety.triage_semantic import embed_query
from app.safety.types import Level, TriageResult


def read_questions(folder: Path, limit: int) -> Iterator[str]:
    """The first `limit` non-empty questions of the folder's qa.jsonl."""
    count = 0
    with (folder / "qa.jsonl").open(encoding="utf-8") as lines:
        for line in lines:
            question = str(json.loads(line).get("question", "")).strip()
            if question and count < limit:
                count += 1
                yield question


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--limit", type=int, default=5000)
    parser.add_argument("--sample", type=int, default=0, help="print this many firings to read")
    parser.add_argument("--level", choices=["emergency", "urgent"], default="emergency")
    parser.add_argument(
        "--semantic",
        action="store_true",
        help="with the trained detector too, which reads embeddings (slower)",
    )
    arguments = parser.parse_args()

    engine = TriageEngine.load(embed=None, semantic=arguments.semantic)
    results: list[tuple[str, TriageResult]] = []
    seconds: list[float] = []
    for question in read_questions(arguments.data, arguments.limit):
        embedding = embed_query(question) if arguments.semantic else None
        started = time.perf_counter()
        results.append((question, engine.assess(question, embedding=embedding)))
        seconds.append(time.perf_counter() - started)

    fired = [(q, r) for q, r in results if r.level == arguments.level]
    for question, result in random.Random(7).sample(fired, min(arguments.sample, len(fired))):
        print(json.dumps({"rules": result.rules, "question": question}, ensure_ascii=False))
    levels = Counter(str(r.level) for _, r in results)
    rules = Counter(r.rules[0] for _, r in results if r.level is Level.EMERGENCY)
    seconds.sort()
    print(
        json.dumps(
            {
                "questions": len(results),
                "emergency": levels["emergency"],
                "urgent": levels["urgent"],
                "emergency_rate": round(levels["emergency"] / max(1, len(results)), 4),
                "urgent_rate": round(levels["urgent"] / max(1, len(results)), 4),
                "first_rules": dict(rules.most_common(12)),
                "latency_ms_p50": round(seconds[len(seconds) // 2] * 1000, 2),
                "latency_ms_p99": round(seconds[int(len(seconds) * 0.99)] * 1000, 2),
            },
            ensure_ascii=False,
        )
    )


if __name__ == "__main__":
    main()
