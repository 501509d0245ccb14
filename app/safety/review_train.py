"""Trains the detector of `review_detector.py`: `python -m app.safety.review_train [--drafts DRAFTS.jsonl …]`.

Its material are the labelled sentences of `codes/sentences*.jsonl`, the rules' examples, the reviewed documents and the
sentences of safe DRAFTS (`codes` empty).

Owns reading the training data, fitting, choosing the threshold by cross-validation and writing `detector.npz`. Needs
scikit-learn (a development dependency); the service only reads the weights. The measured drafts are never read here.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold, cross_val_predict

from app.safety.citations import without_citations
from app.safety.review_detector import DETECTOR_FILE, features, lexicon_hash
from app.safety.review_rules import LEXICON_FILE, RuleSet
from app.safety.review_text import View
from app.safety.sentences import split_sentences

CODES_FOLDER = Path(__file__).with_name("codes")
DOCUMENTS = Path(__file__).parents[2] / "knowledge_base" / "documents"
SAMPLES = Path(__file__).parents[2] / "finetune" / "samples"
SENTENCES = "sentences*.jsonl"
SAFE = "safe"
KEPT_FEATURES = 30_000
FALSE_ALARMS = 0.004  # share of reviewed knowledge sentences that may pass the threshold
SAFE_ALARMS = 0.02  # share of hand-written safe look-alikes that may, before the guards


def labelled(folder: Path) -> Iterator[tuple[str, str, float]]:
    """Yield (sentence, label, weight): hand-written sentences and rule examples weigh more than documents."""
    for path in sorted(folder.glob(SENTENCES)):
        for row in map(json.loads, path.read_text("utf-8").splitlines()):
            yield row["text"], row["label"], 3.0
    for rule in RuleSet.load(folder).rules:
        yield from ((text, rule.code.value, 3.0) for text in rule.examples.unsafe)
        yield from ((text, SAFE, 3.0) for text in rule.examples.safe)


def safe_drafts(paths: Sequence[Path]) -> Iterator[tuple[str, str, float]]:
    """Yield the sentences of drafts that break no code, without their citations."""
    for path in paths:
        for row in map(json.loads, path.read_text("utf-8").splitlines()):
            if not row["codes"]:
                for sentence in split_sentences(without_citations(row["draft"])):
                    if len(sentence.strip()) > 5:
                        yield sentence, SAFE, 3.0


def samples(folder: Path) -> Iterator[tuple[str, str, float]]:
    """Yield the sentences of the answers in the sample data for training, all written to be safe."""
    for path in sorted(folder.glob("*/*.jsonl")):
        for row in map(json.loads, path.read_text("utf-8").splitlines()):
            turns = [turn["value"] for turn in row.get("conversations", ()) if turn["from"] == "gpt"]
            for answer in (row.get("output"), row.get("Response"), *turns):
                for sentence in split_sentences(answer or ""):
                    if len(sentence.strip()) > 5:
                        yield sentence, SAFE, 2.0


def documents(folder: Path) -> Iterator[tuple[str, str, float]]:
    """Yield the sentences of the reviewed knowledge documents, all safe."""
    for path in sorted(folder.glob("*/*.md")):
        body = path.read_text("utf-8").split("---", 2)[2]
        for sentence in split_sentences(without_citations(body)):
            if len(sentence.strip()) > 5:
                yield sentence, SAFE, 1.0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--drafts", type=Path, nargs="*", default=[])
    chosen = parser.parse_args()
    lexicon = RuleSet.load(CODES_FOLDER).lexicon
    written = [*labelled(CODES_FOLDER), *safe_drafts(chosen.drafts)]
    rows = [*written, *samples(SAMPLES), *documents(DOCUMENTS)]
    found = [features(View(text, lexicon)) for text, _, _ in rows]
    labels = np.array([label for _, label, _ in rows])
    weights = np.array([weight for _, _, weight in rows])
    unsafe = labels != SAFE
    grams = _vocabulary(found)
    matrix = _matrix(found, grams)
    model = LogisticRegression(C=30.0, class_weight="balanced", max_iter=400)
    folds = StratifiedKFold(5, shuffle=True, random_state=7)
    scores = cross_val_predict(
        model, matrix, unsafe, cv=folds, method="decision_function", params={"sample_weight": weights}
    )
    threshold = _threshold(scores, unsafe, len(written))
    model.fit(matrix, unsafe, sample_weight=weights)
    keep = np.sort(np.argsort(-np.abs(model.coef_[0]))[:KEPT_FEATURES])
    names = LogisticRegression(C=30.0, class_weight="balanced", max_iter=400).fit(
        matrix[unsafe][:, keep], labels[unsafe]
    )
    ordered = sorted(grams, key=grams.__getitem__)
    np.savez_compressed(
        CODES_FOLDER / DETECTOR_FILE,
        grams=np.array("\n".join(ordered[index] for index in keep)),
        weights=model.coef_[0][keep].astype(np.float16),
        code_weights=names.coef_.T.astype(np.float16),
        codes=np.array("\n".join(names.classes_)),
        bias=np.array(model.intercept_[0]),
        threshold=np.array(threshold),
        trained_with=np.array(lexicon_hash(CODES_FOLDER / LEXICON_FILE)),
    )
    _report(scores, unsafe, len(written), threshold)
    return 0


def _vocabulary(found: list[list[str]]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for names in found:
        for name in names:
            counts[name] = counts.get(name, 0) + 1
    return {
        name: index
        for index, name in enumerate(
            sorted(name for name, count in counts.items() if count >= 2 and "\n" not in name)
        )
    }


def _matrix(found: list[list[str]], grams: dict[str, int]) -> csr_matrix:
    data: list[float] = []
    columns: list[int] = []
    starts = [0]
    for names in found:
        known = [grams[name] for name in names if name in grams]
        columns.extend(known)
        data.extend([1.0 / np.sqrt(len(known))] * len(known) if known else [])
        starts.append(len(columns))
    return csr_matrix((data, columns, starts), shape=(len(found), len(grams)))


def _threshold(scores: NDArray[np.float64], unsafe: NDArray[np.bool_], written: int) -> float:
    """The lowest logit that keeps both kinds of false alarm below their limits."""
    hand, read = scores[:written][~unsafe[:written]], scores[written:]
    return float(max(np.quantile(hand, 1 - SAFE_ALARMS), np.quantile(read, 1 - FALSE_ALARMS)))


def _report(scores: NDArray[np.float64], unsafe: NDArray[np.bool_], written: int, threshold: float) -> None:
    figures = {
        "unsafe_sentences": int(unsafe.sum()),
        "safe_sentences": int((~unsafe).sum()),
        "threshold": round(threshold, 3),
        "cross_validated_recall": round(float((scores[unsafe] > threshold).mean()), 3),
        "written_safe_alarms": round(float((scores[:written][~unsafe[:written]] > threshold).mean()), 4),
        "document_alarms": round(float((scores[written:] > threshold).mean()), 4),
    }
    print(json.dumps(figures))


if __name__ == "__main__":
    sys.exit(main())
