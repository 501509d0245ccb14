"""Trains the detector of `input_detector.py`: `python -m app.safety.input_train FILE.jsonl … --ordinary FILE.jsonl …`.

Each FILE has rows with `text` and `expected` (a kind of `InputKind`, "illicit_drug" for drug abuse, or "none"); rows of
`--ordinary` files have `question` or `text` and are none of the kinds. Owns fitting, choosing the threshold by
cross-validation and writing `codes/input_detector.npz`. Needs scikit-learn (a development dependency). Measured sets
are never read here.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold, cross_val_predict

from app.safety.injection import INPUT_FILE, InputGuard, InputKind
from app.safety.input_detector import INPUT_DETECTOR_FILE, MAX_CHARS, ngrams
from app.safety.review_text import fold

NONE = InputKind.NONE.value
NAMES = {"illicit_drug": InputKind.DRUG_ABUSE.value}
LOOK_ALIKE_ALARMS = 0.01  # share of hand-written look-alikes that may pass the threshold
ORDINARY_ALARMS = 0.001  # share of ordinary questions that may
PENALTY_C = 30.0
OWN_TIMES = 4  # the rules' own examples are tests (`anxin rules codes test`), so they count more


def rows(path: Path) -> Iterator[dict[str, str]]:
    for line in path.read_text(encoding="utf-8").splitlines():
        if line.strip():
            yield json.loads(line)


def labelled(paths: Sequence[Path]) -> Iterator[tuple[str, str]]:
    """(text, kind) of the files and of the rules' own examples."""
    for path in paths:
        for row in rows(path):
            if row.get("channel", "input") == "input":
                yield row["text"], NAMES.get(row["expected"], row["expected"])
    for kind, group in InputGuard.load(INPUT_FILE).file.kinds.items():
        for rule in group.rules:
            yield from OWN_TIMES * [(text, kind.value) for text in rule.unsafe]
            yield from OWN_TIMES * [(text, NONE) for text in rule.safe]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("files", type=Path, nargs="+")
    parser.add_argument("--ordinary", type=Path, nargs="*", default=[])
    chosen = parser.parse_args()
    written = list(labelled(chosen.files))
    ordinary = [
        (row.get("question") or row["text"], NONE)
        for path in chosen.ordinary
        for row in rows(path)
        if row.get("category") not in {"crisis", "suicide", "self_harm"}
    ]
    texts = [fold(text)[:MAX_CHARS] for text, _ in [*written, *ordinary]]
    labels = np.array([kind for _, kind in [*written, *ordinary]])
    found = [ngrams(text) for text in texts]
    counts: dict[str, int] = {}
    for grams in found:
        for gram in grams:
            counts[gram] = counts.get(gram, 0) + 1
    names = sorted(gram for gram, count in counts.items() if count >= 2 and "\n" not in gram)
    matrix = _matrix(found, {gram: index for index, gram in enumerate(names)})
    kinds = sorted(set(labels) - {NONE})
    bad = labels != NONE
    scores, weights, biases = [], [], []
    for kind in kinds:
        model = LogisticRegression(C=PENALTY_C, class_weight="balanced", max_iter=500)
        folds = StratifiedKFold(5, shuffle=True, random_state=7)
        scores.append(cross_val_predict(model, matrix, labels == kind, cv=folds, method="decision_function"))
        model.fit(matrix, labels == kind)
        weights.append(model.coef_[0])
        biases.append(model.intercept_[0])
    best = np.max(scores, axis=0)
    threshold = _threshold(best, bad, len(written))
    np.savez_compressed(
        INPUT_FILE.parent / INPUT_DETECTOR_FILE,
        grams=np.array("\n".join(names)),
        weights=np.stack(weights, axis=1).astype(np.float16),
        bias=np.array(biases, dtype=np.float32),
        kinds=np.array("\n".join(kinds)),
        threshold=np.array(threshold),
    )
    hand = ~bad[: len(written)]
    figures = {
        "requests": int(bad.sum()),
        "look_alikes": int(hand.sum()),
        "ordinary": len(ordinary),
        "threshold": round(threshold, 3),
        "cross_validated_recall": round(float((best[bad] > threshold).mean()), 3),
        "look_alike_alarms": round(float((best[: len(written)][hand] > threshold).mean()), 4),
        "ordinary_alarms": round(float((best[len(written) :] > threshold).mean()), 4) if ordinary else 0.0,
    }
    print(json.dumps(figures))


def _matrix(found: Sequence[set[str]], vocabulary: dict[str, int]) -> csr_matrix:
    data: list[float] = []
    columns: list[int] = []
    starts = [0]
    for grams in found:
        known = sorted(vocabulary[gram] for gram in grams if gram in vocabulary)
        columns.extend(known)
        data.extend([1.0 / np.sqrt(len(known))] * len(known) if known else [])
        starts.append(len(columns))
    return csr_matrix((data, columns, starts), shape=(len(found), len(vocabulary)))


def _threshold(best: NDArray[np.float64], bad: NDArray[np.bool_], written: int) -> float:
    """The lowest logit that keeps both kinds of false alarm below their limits."""
    hand, ordinary = best[:written][~bad[:written]], best[written:]
    limits = [np.quantile(hand, 1 - LOOK_ALIKE_ALARMS)]
    if len(ordinary):
        limits.append(np.quantile(ordinary, 1 - ORDINARY_ALARMS))
    return float(max(limits))


if __name__ == "__main__":
    main()
