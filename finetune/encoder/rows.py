"""What the encoder learns about safety: labelled messages, sentences of answers, requests and claims.

Owns where the labelled texts lie, how each becomes a row, and which rows are held out of training to choose limits by.
Measured sets are read only to leave out what is nearly the same as one of their texts.
"""

from __future__ import annotations

import hashlib
import json
import random
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from app.safety import triage_train
from app.safety.citations import cited_numbers, without_citations
from app.safety.review_rules import RuleSet
from app.safety.review_text import fold
from app.safety.review_train import CODES_FOLDER, DOCUMENTS, SAMPLES, documents
from app.safety.sentences import split_sentences
from app.safety.triage import TriageEngine
from app.safety.triage_rulebook import RULES_FOLDER
from app.safety.triage_semantic import told
from app.safety.types import RANK, ViolationCode

# What only the evidence or the medical graph can tell.
APART = frozenset(
    {
        ViolationCode.UNSUPPORTED_CLAIM,
        ViolationCode.FALSE_CITATION,
        ViolationCode.CONTRAINDICATED_COMBINATION,
    }
)
REQUEST = "输入:"  # what a request starts with; its head only helps the others to learn
MOST_CHARS = 400
MOST_REQUEST_CHARS = 600
DOCUMENT_SENTENCES = 5000
NEAR = 0.55  # share of common character pairs from which a text counts as the same as a measured one
SEED = 3
HELD_EVERY = 4
NEVER_HELD = ("prototypes", "rules", "documents", "background", "samples", "own", "public", "inputs")
PAIRED = frozenset({"pair", "none"})
_NUMBER = re.compile(r"\d+")
_CITING = re.compile(r"[^。!?！？\n]+[。!?！？]?")


@dataclass(frozen=True, slots=True)
class Row:
    """One labelled text: `label` is a level (0 … 2), the broken codes, a kind of request, or 1 for a supported claim.

    `first` is a message, a question, a request or a claim; `others` the sentences of an answer or the passage. For a
    "pair", `first` is a question and `others` the passage that answers it, then passages that do not; for "none" all
    passages do not.
    """

    task: str
    first: str
    label: Any
    group: str
    others: tuple[str, ...] = ()
    weight: float = 1.0
    category: str | None = None

    @property
    def held(self) -> bool:
        """Whether the row is kept out of training: a quarter of what authors wrote, by its words alone."""
        if self.group.startswith(NEVER_HELD):
            return False
        parts = (self.first, self.text)
        return hashlib.blake2b("\n".join(parts).encode(), digest_size=1).digest()[0] % HELD_EVERY == 0

    @property
    def text(self) -> str:
        return "".join(self.others) if self.task == "answer" else self.first


def messages(background: Path | None) -> Iterator[Row]:
    """What triage's detector is trained on, and the labelled messages for development."""
    engine = TriageEngine.load(RULES_FOLDER, embed=None, semantic=False)
    examples = triage_train.examples_of(RULES_FOLDER, engine, background)
    for example in examples:
        reading, _ = engine.gather(example.text, example.history)
        text = told(reading, example.history)[:MOST_CHARS]
        yield Row(
            "message",
            text,
            RANK[example.level],
            example.origin,
            weight=example.weight,
            category=example.category,
        )


def answers() -> Iterator[Row]:
    """Labelled sentences, examples of rules, drafts with their questions, and sentences written to be safe."""
    for path in sorted(CODES_FOLDER.glob("sentences*.jsonl")):
        for row in _rows(path):
            codes = [] if row["label"] == "safe" else [row["label"]]
            yield Row("answer", row.get("question", ""), codes, path.stem, (row["text"],))
    for rule in RuleSet.load(CODES_FOLDER).rules:
        yield from (Row("answer", "", [rule.code.value], "rules", (t,)) for t in rule.examples.unsafe)
        yield from (Row("answer", "", [], "rules", (t,)) for t in rule.examples.safe)
    for path in _own("drafts"):
        for row in _rows(path):
            yield Row("answer", row["question"], row["codes"], path.stem, _sentences(row["draft"]))
    for path in sorted(SAMPLES.glob("*/*.jsonl")):
        for row in _rows(path):
            for question, answer in _exchanges(row):
                yield Row("answer", question, [], "samples", _sentences(answer), 0.5)
    texts = [text.strip() for text, _, _ in documents(DOCUMENTS)]
    random.Random(SEED).shuffle(texts)
    yield from (Row("answer", "", [], "documents", (t,), 0.4) for t in texts[:DOCUMENT_SENTENCES])


def requests() -> Iterator[Row]:
    """Labelled inputs of every kind."""
    for row in triage_train.labelled_inputs():
        yield Row("request", fold(row["text"])[:MOST_REQUEST_CHARS], row["expected"], "inputs")


def claims() -> Iterator[Row]:
    """Labelled pairs, the cited sentences of safe drafts, and sentences of the documents beside right and wrong passages."""
    for path in _own("claims"):
        for row in _rows(path):
            yield Row("claim", row["claim"], int(row["supported"]), path.stem, (row["passage"],))
    for path in _own("drafts"):
        for row in _rows(path):
            yield from () if row["codes"] else _cited(row, path.stem)
    yield from _from_documents()


def _cited(row: dict[str, Any], group: str) -> Iterator[Row]:
    for sentence in _CITING.findall(row["draft"]):
        cited = cited_numbers(sentence)
        if cited and min(cited) > 0 and max(cited) <= len(row["evidence"]):
            passage = "。".join(row["evidence"][number - 1]["text"] for number in cited)
            yield Row("claim", without_citations(sentence), 1, group, (passage,), 0.5)


def _from_documents() -> Iterator[Row]:
    """Sentences with their own paragraph, with it lacking them, with another, and with a number changed."""
    chance = random.Random(SEED)
    for path in sorted(DOCUMENTS.glob("*/*.md")):
        body = without_citations(path.read_text("utf-8").split("---", 2)[2])
        whole = [part.strip() for part in re.split(r"\n\s*\n", body)]
        whole = [part for part in whole if len(part) > 60 and not part.startswith(("#", "|", "[^"))]
        for at, paragraph in enumerate(whole):
            fitting = [s.strip() for s in split_sentences(paragraph) if 12 < len(s.strip()) < 90]
            if len(fitting) < 3 or len(whole) < 2:
                continue
            claim = chance.choice(fitting)
            other = whole[chance.choice([i for i in range(len(whole)) if i != at])]
            yield Row("claim", claim, 1, "documents", (paragraph[:MOST_CHARS],), 0.15)
            yield Row("claim", claim, 0, "documents", (other[:MOST_CHARS],), 0.3)
            rest = paragraph.replace(claim, "")
            if len(rest) > 60:
                yield Row("claim", claim, 0, "documents", (rest[:MOST_CHARS],), 0.3)
            number = _NUMBER.search(claim)
            if number is not None:
                value = int(number.group())
                changed = chance.choice([value * 2, max(1, value // 2), value + 1, value + 10, value * 10])
                wrong = claim[: number.start()] + str(changed) + claim[number.end() :]
                if changed != value:
                    yield Row("claim", wrong, 0, "documents", (paragraph[:MOST_CHARS],), 0.3)


def apart_from_measured(rows: Iterable[Row]) -> Iterator[Row]:
    """Leaves out a text that shares most of its character pairs with one of the measured sets."""
    pairs: list[set[str]] = []
    places: defaultdict[str, list[int]] = defaultdict(list)
    for path in sorted(triage_train.SETS.glob("*_measured*.jsonl")):
        for row in _rows(path):
            found = _pairs(row.get("draft") or row.get("text") or row.get("claim") or "")
            for pair in found:
                places[pair].append(len(pairs))
            pairs.append(found)
    for kept in rows:
        own = _pairs(kept.text)
        shared = Counter(place for pair in own for place in places.get(pair, ()))
        near = any(count > NEAR * len(own | pairs[place]) for place, count in shared.most_common(3))
        if kept.task == "claim" or not near:
            yield kept


def _pairs(text: str) -> set[str]:
    plain = re.sub(r"[^\w]", "", text)
    return {plain[at : at + 2] for at in range(len(plain) - 1)}


def _own(kind: str) -> list[Path]:
    return [path for path in sorted(triage_train.SETS.glob(f"{kind}_*.jsonl")) if "measured" not in path.stem]


def _rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text("utf-8").splitlines() if line.strip()]


def _sentences(answer: str) -> tuple[str, ...]:
    found = (sentence.strip() for sentence in split_sentences(without_citations(answer)))
    return tuple(sentence for sentence in found if len(sentence) > 3)


def _exchanges(row: dict[str, Any]) -> Iterator[tuple[str, str]]:
    if "output" in row:
        yield row["instruction"] + row.get("input", ""), row["output"]
    if "Response" in row:
        yield row.get("Question", ""), row["Response"]
    turns = row.get("conversations", [])
    for asked, told_ in pairwise(turns):
        if asked["from"] == "human":
            yield asked["value"], told_["value"]


def safety_rows(background: Path | None) -> list[Row]:
    """Every row, in a fixed order."""
    return list(apart_from_measured([*messages(background), *answers(), *requests(), *claims()]))
