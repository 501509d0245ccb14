"""Fits the detector of `triage_semantic.py`: `anxin rules build`, or `python -m app.safety.triage_train --figures`.

Owns reading the training messages (the folder's `prototypes.yaml` and `messages/*.jsonl`; from the project's own
questions those that no rule raises, as routine), the fit and the cross-validated table from which the thresholds were
chosen. Needs scikit-learn (a development dependency); the service only reads the weights. Measured sets are never read.
"""

from __future__ import annotations

import argparse
import datetime as dt
import json
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, ValidationError
from scipy.sparse import csr_matrix, hstack
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold

from app.safety import triage_semantic as detector
from app.safety.notices import EMERGENCY_NOTICES
from app.safety.triage import TriageEngine
from app.safety.triage_facts import Facts, Reading
from app.safety.triage_rulebook import RULES_FOLDER, read_yaml
from app.safety.types import RANK, Level, Turn, Vector

KNOWLEDGE = Path(__file__).parents[2] / "knowledge_base"
SAMPLES = Path(__file__).parents[2] / "finetune" / "samples"
SETS = Path(__file__).parents[2] / "tests" / "safety" / "data"
BACKGROUND_LIMIT = 2500
LEAST_SEEN = 3  # a feature seen less often is left out
PENALTY_C = 1.0
OWN_WEIGHT = 0.5  # of a project question that nobody labelled one by one
BACKGROUND_WEIGHT = 0.2  # of a real question from elsewhere, a few in a hundred of which are not routine
LONGEST = 400
ROUNDS = 400
FOLDS = 5
SENDS = ("120", "急诊", "立即", "马上")
# Names of categories in the messages that are other words for one of the notices'.
NAMED = {"crisis": "self_harm", "dissection": "aortic_dissection", "suicide": "self_harm"}
# Origins that the cross-validation trains on and does not judge.
ALWAYS = frozenset({"prototypes", "development", "own", "background"})
SEED = 7

Embed = Callable[[str], Vector]


class PrototypeFile(BaseModel):
    """`kind: prototypes`: emergencies by category, and sentences that must not fire."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    kind: Literal["prototypes"]
    owner: str
    review_date: dt.date
    emergency: dict[str, tuple[str, ...]]
    urgent: tuple[str, ...]
    routine: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Example:
    """One labelled message. `category` names an emergency where it is one of the notices' categories."""

    text: str
    level: Level
    history: tuple[Turn, ...] = ()
    category: str | None = None
    origin: str = ""
    weight: float = 1.0


def read_examples(folder: Path) -> Iterator[Example]:
    """The labelled messages of a folder of rules. Raises ValueError with file and line on a malformed one."""
    try:
        file = PrototypeFile.model_validate(read_yaml(folder / detector.PROTOTYPES))
    except ValidationError as error:
        raise ValueError(f"{detector.PROTOTYPES}: {error}") from error
    for category, group in file.emergency.items():
        yield from (Example(text, Level.EMERGENCY, category=category, origin="prototypes") for text in group)
    yield from (Example(text, Level.URGENT, origin="prototypes") for text in file.urgent)
    yield from (Example(text, Level.ROUTINE, origin="prototypes") for text in file.routine)
    for path in sorted((folder / detector.MESSAGES).glob("*.jsonl")):
        for number, line in enumerate(path.read_text("utf-8").splitlines(), 1):
            try:
                row = json.loads(line)
                turns = tuple(Turn(t["role"], t["content"]) for t in row.get("history") or ())
                category = NAMED.get(str(row.get("category")), row.get("category"))
                yield Example(
                    row["text"],
                    Level(row["level"]),
                    turns,
                    category if category in EMERGENCY_NOTICES and category != "general" else None,
                    path.stem,
                )
            except (ValueError, KeyError, TypeError) as error:
                raise ValueError(f"{path.name}:{number}: {error}") from error


def own_questions(engine: TriageEngine) -> Iterator[Example]:
    """The project's own questions about its documents that no rule raises: nearly all routine."""
    files = [*sorted((KNOWLEDGE / "asked").glob("*.jsonl"))]
    files += [KNOWLEDGE / "acceptance.jsonl", KNOWLEDGE / "unanswerable.jsonl"]
    texts = [json.loads(line)["question"] for path in files for line in _lines(path)]
    for path in sorted(SAMPLES.glob("*/alpaca.jsonl")):
        rows = [json.loads(line) for line in _lines(path)]
        texts += [(row["instruction"] + row.get("input", "")).strip() for row in rows]
    texts += [
        row["text"]
        for row in labelled_inputs()
        if row["expected"] != "self_harm_method" and len(row["text"]) <= LONGEST
    ]
    for text in dict.fromkeys(texts):
        if engine.assess(text).level is Level.ROUTINE:
            yield Example(text, Level.ROUTINE, origin="own", weight=OWN_WEIGHT)
    for path in sorted(SAMPLES.glob("*/dialogues.jsonl")):
        for line in _lines(path):
            yield from _dialogue(json.loads(line)["conversations"], engine)


def labelled_inputs() -> Iterator[dict[str, Any]]:
    """Messages that want something of the service (its instructions, others' data), `expected` naming what; not measured ones.

    None is an emergency, save self-harm.
    """
    for path in sorted(SETS.glob("attacks_*.jsonl")):
        for row in map(json.loads, () if "measured" in path.stem else _lines(path)):
            if row.get("channel", "input") == "input":
                yield row


def _dialogue(turns: list[dict[str, str]], engine: TriageEngine) -> Iterator[Example]:
    """Every message of a sample dialogue with what was said before it, unless its answers send to casualty."""
    if any(word in turn["value"] for turn in turns for word in SENDS):
        return
    said = [Turn("user" if t["from"] == "human" else "assistant", t["value"]) for t in turns]
    for at, turn in enumerate(said):
        history = tuple(said[:at])
        if turn.role == "user" and engine.assess(turn.content, history).level is Level.ROUTINE:
            yield Example(turn.content, Level.ROUTINE, history, origin="own")


def background(path: Path, engine: TriageEngine, limit: int = BACKGROUND_LIMIT) -> Iterator[Example]:
    """The first questions of a JSON-lines file (`question`) of real patients that no rule raises, as routine.

    Nobody labelled them: nearly all questions to web doctors are routine, and the few that are not weigh little. The
    texts are not kept; of three or more of them, pieces of three characters at most are.
    """
    texts = [str(json.loads(line).get("question", "")).strip() for line in _lines(path)]
    for text in list(dict.fromkeys(text for text in texts if text))[:limit]:
        if engine.assess(text).level is Level.ROUTINE:
            yield Example(text, Level.ROUTINE, origin="background", weight=BACKGROUND_WEIGHT)


def _lines(path: Path) -> list[str]:
    return [line for line in path.read_text("utf-8").splitlines() if line.strip()] if path.exists() else []


@dataclass(frozen=True, slots=True)
class Material:
    """Everything a fit needs: sparse words (n, features), labels (n,), weights (n,); points (m, 384) of the `named` (m,)."""

    examples: list[Example]
    readings: list[tuple[Reading, Facts]]
    vocabulary: dict[str, int]
    words: csr_matrix
    facts: csr_matrix
    named: NDArray[np.int64]
    points: NDArray[np.float32]
    centre: NDArray[np.float32]
    labels: NDArray[np.int64]
    weights: NDArray[np.float64]


def prepare(examples: Sequence[Example], engine: TriageEngine, embed: Embed) -> Material:
    """Reads every example and embeds those that name their emergency (the slow part: a minute or two)."""
    readings = [engine.gather(example.text, example.history) for example in examples]
    texts = [detector.told(r, e.history)[:LONGEST] for e, (r, _) in zip(examples, readings, strict=True)]
    features = [detector.fact_features(*reading) for reading in readings]
    counts: Counter[str] = Counter()
    for text, facts in zip(texts, features, strict=True):
        counts.update(detector.ngrams(text))
        counts.update(facts)
    names = sorted(name for name, count in counts.items() if count >= LEAST_SEEN and "\n" not in name)
    vocabulary = {name: index for index, name in enumerate(names)}
    named = [i for i, e in enumerate(examples) if e.category and e.level is Level.EMERGENCY]
    vectors = np.stack([embed(examples[i].text) for i in named]).astype(np.float32)
    centre = vectors.mean(axis=0)
    return Material(
        list(examples),
        readings,
        vocabulary,
        _matrix(
            [detector.encode(t, f, vocabulary) for t, f in zip(texts, features, strict=True)], len(names)
        ),
        _matrix([detector.encode("", f, vocabulary) for f in features], len(names)),
        np.array(named),
        detector.centred(vectors, centre) * np.float32(detector.EMBEDDING_SCALE),
        centre,
        np.array([detector.LEVELS.index(example.level) for example in examples]),
        np.array([example.weight for example in examples]),
    )


def _matrix(rows: Sequence[tuple[list[int], list[float]]], width: int) -> csr_matrix:
    starts = np.cumsum([0, *(len(columns) for columns, _ in rows)])
    columns = [column for found, _ in rows for column in found]
    values = [value for _, found in rows for value in found]
    return csr_matrix((values, columns, starts), shape=(len(rows), width))


def _fit(features: csr_matrix, labels: NDArray[np.int64], weights: NDArray[np.float64]) -> LogisticRegression:
    model = LogisticRegression(C=PENALTY_C, class_weight="balanced", max_iter=ROUNDS)
    return model.fit(features, labels, sample_weight=weights)


def _pieces(name: str, model: LogisticRegression, width: int) -> dict[str, Any]:
    weights = model.coef_.T
    points = weights[width:] if len(weights) > width else np.zeros((384, weights.shape[1]))
    return {
        f"{name}_words": weights[:width].astype(np.float16),
        f"{name}_embedding": points.astype(np.float16),
        f"{name}_bias": model.intercept_.astype(np.float32),
    }


def examples_of(folder: Path, engine: TriageEngine, questions: Path | None) -> list[Example]:
    """Everything to train on: the folder's messages, the project's questions, and `questions` as background."""
    more = background(questions, engine) if questions is not None else ()
    return [*read_examples(folder), *own_questions(engine), *more]


def build(folder: Path, questions: Path | None = None, embed: Embed = detector.embed_query) -> int:
    """Fits the detector on the folder's messages and writes it there; returns the number of messages.

    `questions` is a file for `background`. Deterministic. Raises ValueError on a malformed file of messages.
    """
    engine = TriageEngine.load(folder, embed=None, semantic=False)
    material = prepare(examples_of(folder, engine, questions), engine, embed)
    width = len(material.vocabulary)
    names = [str(material.examples[i].category) for i in material.named]
    categories = sorted(set(names))
    labels = np.array([categories.index(name) for name in names])
    naming = hstack([material.facts[material.named], csr_matrix(material.points)]).tocsr()
    np.savez_compressed(
        folder / detector.DETECTOR_FILE,
        vocabulary=np.array("\n".join(material.vocabulary)),
        categories=np.array("\n".join(categories)),
        centre=material.centre.astype(np.float16),
        trained_on=np.array(dt.date.today().isoformat()),
        digest=np.array(detector.digest(folder)),
        **_pieces("levels", _fit(material.words, material.labels, material.weights), width),
        **_pieces("naming", _fit(naming, labels, np.ones(len(labels))), width),
    )
    return len(material.examples)


def figures(
    folder: Path, questions: Path | None = None, embed: Embed = detector.embed_query
) -> Iterator[dict[str, Any]]:
    """Cross-validated on `messages/`: what rules and detector do together at several thresholds."""
    engine = TriageEngine.load(folder, embed=None, semantic=False)
    examples = examples_of(folder, engine, questions)
    material = prepare(examples, engine, embed)
    judged = np.array([i for i, e in enumerate(examples) if e.origin not in ALWAYS])
    always = np.array([i for i, e in enumerate(examples) if e.origin in ALWAYS])
    rules = np.array([RANK[engine.assess(examples[i].text, examples[i].history).level] for i in judged])
    logs = np.zeros((len(examples), 3))
    folds = StratifiedKFold(FOLDS, shuffle=True, random_state=SEED)
    for train, test in folds.split(judged, material.labels[judged]):
        rows = np.concatenate([always, judged[train]])
        model = _fit(material.words[rows], material.labels[rows], material.weights[rows])
        logs[judged[test]] = model.predict_log_proba(material.words[judged[test]])
    emergency = np.array([detector.emergency_score(logs[i]) for i in judged])
    urgent = np.array([detector.urgent_score(logs[i]) for i in judged])
    for high in (-2.0, -1.5, -1.0, -0.5, 0.0, 0.5, 1.0):
        level = np.where(emergency > high, 2, np.where(urgent > detector.THRESHOLD_URGENT, 1, 0))
        yield {"detector": "linear", "threshold": high} | _shares(
            np.maximum(rules, level), material.labels[judged]
        )
    yield {"detector": "none"} | _shares(rules, material.labels[judged])


def _shares(level: NDArray[np.int64], label: NDArray[np.int64]) -> dict[str, float]:
    def share(of: int, meets: NDArray[np.bool_]) -> float:
        return round(float(meets[label == of].mean()), 4)

    return {
        "emergency_recall": share(2, level == 2),
        "routine_false_alarms": share(0, level == 2),
        "routine_over_referral": share(0, level >= 1),
        "urgent_accuracy": share(1, level == 1),
        "urgent_raised": share(1, level == 2),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, default=RULES_FOLDER)
    parser.add_argument(
        "--figures", action="store_true", help="print the cross-validated table, write nothing"
    )
    parser.add_argument(
        "--background", type=Path, help="JSON lines with real questions, all taken as routine"
    )
    chosen = parser.parse_args()
    if chosen.figures:
        for row in figures(chosen.folder, chosen.background):
            print(json.dumps(row))
    else:
        print(f"{build(chosen.folder, chosen.background)} messages")
    return 0


if __name__ == "__main__":
    sys.exit(main())
