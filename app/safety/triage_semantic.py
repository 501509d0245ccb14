"""The second detector: how much a conversation reads like an emergency, whatever words it uses.

Owns a linear model over character n-grams and the facts that triage read, its stored weights and score, and how the
opinion of the reader (`reader.py`), which judges the message's embedding, is weighed with it. Rules come first; this
catches what no rule put into words, and doubts a rule only where everything says that the message is harmless.
Training is `triage_train.py`, from the labelled messages in `rules/prototypes.yaml` and `rules/messages/`.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import re
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from app.safety.normalise import normalise
from app.safety.triage_answers import QUESTION
from app.safety.triage_facts import Facts, Reading
from app.safety.triage_rules import Condition, Examples, Fired, Rule, Source
from app.safety.types import Level, Turn, Vector

DETECTOR_FILE = "detector.npz"
PROTOTYPES = "prototypes.yaml"
MESSAGES = "messages"
# Chosen on 713 messages that neither linear model nor reader had seen (docs/decisions/0010): of thresholds about as good the
# one that misses fewer emergencies.
THRESHOLD_EMERGENCY = -0.5
THRESHOLD_URGENT = -0.25
# How much of the probability of "urgent" speaks against an emergency: in doubt between the two the higher one is taken.
URGENT_AGAINST = 0.1
MAX_NGRAM = 3
# The reader sees the end of a text that is not much longer than its window of 160 tokens; for a longer one, all of whose
# windows it would have to read, there is no time.
READ_CHARS = 200
# The reader's part where both have an opinion.
READER_WEIGHT = 0.65
# Below these log-odds of an emergency, both together, the reader alone, and the reader for each clause, they outweigh a
# rule. Of 186 right alarms of rules among those 713 messages the least sure has -0.4 of the reader; laxer limits let harmless
# words around a red flag hide it.
DOUBT_BELOW = -2.2
DOUBT_READER_BELOW = -2.6
DOUBT_CLAUSE_BELOW = -1.0
_STOPS = re.compile(r"[，,。!?！？;；\s]")
# Longer texts are also read in windows, so that a red flag is not diluted by what surrounds it.
WINDOW_CHARS = 160
WINDOW_STEP = 80
EARLIER_MESSAGES = 2
# Scales of the three kinds of features, which decide how strongly the fit may lean on each.
NGRAM_SCALE = 10.0
EMBEDDING_SCALE = 8.0
LEVELS = (Level.ROUTINE, Level.URGENT, Level.EMERGENCY)
FLAGS = (
    "curious",
    "evidence",
    "routine_topic",
    "over",
    "no",
    "question",
    "excused",
    "cautious",
    "framed",
)

Matrix = NDArray[np.float32]
Read = Callable[[Sequence[str]], Matrix | None]


def embed_query(text: str) -> Vector:
    """The query embedding of `text`: 384 values, unit length."""
    from retrieval.embedders.e5 import anxin_e5

    vector: Vector = anxin_e5().questions([text])[0]
    return vector


def read_urgency(texts: Sequence[str]) -> Matrix | None:
    """The reader's log-probabilities of `LEVELS` (n, 3), None where it is not installed."""
    from app.safety.reader import shipped_reader

    reader = shipped_reader()
    return None if reader is None else reader.urgency(texts)


def weighed(linear: Matrix, reader: Matrix) -> Matrix:
    """Both opinions (3,) as one; only differences of the values mean something."""
    both: Matrix = READER_WEIGHT * reader + (1 - READER_WEIGHT) * linear
    return both


def clauses(text: str) -> list[str]:
    """The sentences and clauses of a normalised text, when there are several; one or two characters say nothing alone."""
    parts = [part for part in _STOPS.split(text) if len(part.strip()) > 2]
    return parts if len(parts) > 1 else []


def told(reading: Reading, history: Sequence[Turn]) -> str:
    """The text to look at: the message, after what the patient said before when it answers a question.

    After an answer that asks nothing (an emergency's steps, an article) a message speaks for itself.
    """
    own = reading.source.text
    if not history or history[-1].role != "assistant" or not QUESTION.search(history[-1].content):
        return own
    earlier = [turn.content for turn in history if turn.role == "user"][-EARLIER_MESSAGES:]
    return "。".join([*(normalise(text[:WINDOW_CHARS]).text for text in earlier), own])


def windows(text: str) -> list[str]:
    """`text` in overlapping parts of `WINDOW_CHARS`; the text itself when it is short."""
    if len(text) <= WINDOW_CHARS:
        return [text]
    return [text[at : at + WINDOW_CHARS] for at in range(0, len(text) - WINDOW_STEP, WINDOW_STEP)]


def ngrams(text: str) -> set[str]:
    """The distinct character n-grams of `text`, its ends marked."""
    marked = f"^{text}$"
    return {
        marked[at : at + size] for size in range(1, MAX_NGRAM + 1) for at in range(len(marked) - size + 1)
    }


def fact_features(reading: Reading, facts: Facts) -> set[str]:
    """What triage read, as features: findings present now, earlier, over or denied, and the reading's flags.

    Each is longer than an n-gram, so that the two share a vocabulary without meeting.
    """
    return (
        {f"now:{name}" for name in facts.current}
        | {f"earlier:{name}" for name in facts.earlier}
        | {f"over:{name}" for name in reading.passed}
        | {f"denied:{name}" for name in reading.denied}
        | {f"flag:{name}" for name in FLAGS if getattr(reading, name)}
    )


def centred(vectors: Matrix, centre: Matrix) -> Matrix:
    """Unit vectors (n, 384) without the direction that all embeddings share, which says nothing about urgency."""
    moved = vectors - centre
    length = np.maximum(np.linalg.norm(moved, axis=-1, keepdims=True), 1e-9)
    return np.asarray(moved / length, dtype=np.float32)


@dataclass(frozen=True, slots=True)
class Linear:
    """Weights (features, classes) over the vocabulary, (384, classes) over the embedding, and bias (classes,)."""

    words: Matrix
    embedding: Matrix
    bias: Matrix

    def scores(self, columns: Sequence[int], scales: Sequence[float], point: Matrix | None) -> Matrix:
        """Logits (classes,)."""
        total = self.bias.copy()
        if columns:
            total += np.asarray(scales, dtype=np.float32) @ self.words[list(columns)]
        if point is not None:
            total += point @ self.embedding
        return total


@dataclass(frozen=True, slots=True)
class Semantic:
    """The fitted detector. `levels` judges words and facts; `naming` finds among `categories` which emergency it is."""

    vocabulary: dict[str, int]
    levels: Linear
    naming: Linear
    categories: tuple[str, ...]
    centre: Matrix
    trained_on: dt.date

    @classmethod
    def load(cls, folder: Path) -> Semantic | None:
        """The detector of `folder`, None for a folder without prototypes.

        Raises ValueError when the file is missing beside prototypes, or is not a detector.
        """
        path = folder / DETECTOR_FILE
        if not path.exists():
            if (folder / PROTOTYPES).exists():
                raise ValueError(f"{PROTOTYPES} has no {DETECTOR_FILE} beside it; run `anxin rules build`")
            return None
        try:
            with np.load(path, allow_pickle=False) as stored:
                names = str(stored["vocabulary"]).split("\n")
                lines = {
                    part: Linear(*(stored[f"{part}_{piece}"].astype(np.float32) for piece in PIECES))
                    for part in ("levels", "naming")
                }
                return cls(
                    {name: index for index, name in enumerate(names)},
                    lines["levels"],
                    lines["naming"],
                    tuple(str(stored["categories"]).split("\n")),
                    stored["centre"].astype(np.float32),
                    dt.date.fromisoformat(str(stored["trained_on"])),
                )
        except (KeyError, OSError, EOFError, ValueError, zipfile.BadZipFile) as error:
            raise ValueError(f"{path.name} is not a detector: {error}") from error

    def judge(
        self,
        text: str,
        reading: Reading,
        facts: Facts,
        embedding: Vector | None,
        read: Read,
        *,
        urgent: bool,
    ) -> list[Fired]:
        """A firing when the conversation reads like an emergency, or (unless `urgent` already) like something for today.

        `read` is the reader's opinion of texts, weighed with the linear model's.
        """
        features = fact_features(reading, facts)
        best = max((self.probabilities(w, features) for w in windows(text)), key=emergency_score)
        opinions = read([text]) if len(text) <= READ_CHARS else None
        if opinions is not None:
            best = weighed(best, opinions[0])
        if emergency_score(best) > THRESHOLD_EMERGENCY:
            return [self._fired(Level.EMERGENCY, self.category(features, self.point(embedding)))]
        if not urgent and urgent_score(best) > THRESHOLD_URGENT:
            return [self.see_today()]
        return []

    def doubts(self, text: str, reading: Reading, facts: Facts, read: Read) -> bool:
        """Whether linear model and reader together are sure that nothing in the conversation is an emergency.

        The reader must be sure of every clause by itself too, so that harmless text around a red flag hides nothing.
        """
        if len(text) > READ_CHARS:
            return False
        opinions = read([text])
        if opinions is None:
            return False
        if emergency_score(opinions[0]) >= DOUBT_READER_BELOW:
            return False
        own = self.probabilities(text, fact_features(reading, facts))
        if emergency_score(weighed(own, opinions[0])) >= DOUBT_BELOW:
            return False
        parts = clauses(text)
        if not parts:
            return True
        opinions = read(parts)
        return opinions is not None and all(emergency_score(part) < DOUBT_CLAUSE_BELOW for part in opinions)

    def see_today(self) -> Fired:
        """What stands where the detector calls for a doctor today."""
        return self._fired(Level.URGENT, "general")

    def point(self, embedding: Vector | None) -> Matrix | None:
        """The embedding (384) as the weights expect it."""
        return None if embedding is None else centred(embedding, self.centre) * EMBEDDING_SCALE

    def probabilities(self, text: str, features: set[str]) -> Matrix:
        """Log-probabilities of `LEVELS` (3,)."""
        columns, scales = encode(text, features, self.vocabulary)
        scores = self.levels.scores(columns, scales, None)
        return np.asarray(scores - np.logaddexp.reduce(scores), dtype=np.float32)

    def category(self, features: set[str], point: Matrix | None) -> str:
        """The category of emergency that the facts and the embedding resemble most; "general" without either."""
        columns, scales = encode("", features, self.vocabulary)
        if point is None and not columns:
            return "general"
        return self.categories[int(self.naming.scores(columns, scales, point).argmax())]

    def _fired(self, level: Level, category: str) -> Fired:
        return Fired(_rule(category, level, self.trained_on), frozenset())


PIECES = ("words", "embedding", "bias")


def encode(text: str, features: set[str], vocabulary: dict[str, int]) -> tuple[list[int], list[float]]:
    """Columns and values of the known features; n-grams are scaled by the root of their number. No n-grams for ""."""
    grams = [vocabulary[gram] for gram in ngrams(text) if gram in vocabulary] if text else []
    facts = [vocabulary[name] for name in features if name in vocabulary]
    scale = NGRAM_SCALE / max(len(grams), 1) ** 0.5
    return [*grams, *facts], [scale] * len(grams) + [1.0] * len(facts)


def emergency_score(logs: Matrix) -> float:
    """Log-odds of an emergency against a routine message, an urgent one counting `URGENT_AGAINST`."""
    routine, urgent, emergency = (float(value) for value in logs)
    return emergency - float(np.logaddexp(routine, urgent + np.log(URGENT_AGAINST)))


def urgent_score(logs: Matrix) -> float:
    """Log-odds of something for today or sooner against a routine message."""
    routine, urgent, emergency = (float(value) for value in logs)
    return float(np.logaddexp(urgent, emergency)) - routine


def digest(folder: Path) -> str:
    """Identifies the messages that a detector was trained on."""
    found = hashlib.sha256()
    for path in [folder / PROTOTYPES, *sorted((folder / MESSAGES).glob("*.jsonl"))]:
        if path.exists():
            found.update(path.read_bytes())
    return found.hexdigest()[:16]


def is_current(folder: Path) -> bool:
    """Whether the folder's detector was trained on the messages that lie there now (true without either)."""
    path = folder / DETECTOR_FILE
    if not path.exists():
        return not (folder / PROTOTYPES).exists()
    with np.load(path, allow_pickle=False) as stored:
        return str(stored["digest"]) == digest(folder)


def _rule(category: str, level: Level, date: dt.date) -> Rule:
    return Rule(
        id=f"semantic.{category}" if level is Level.EMERGENCY else "semantic.see_today",
        category=category,
        level=level,
        owner="general",
        source=Source(title="labelled messages", year=date.year),
        review_date=date,
        when=Condition(finding="paraphrase"),
        examples=Examples(positive=("-",), negative=("-",)),
    )
