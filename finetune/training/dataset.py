"""Training and validation examples from record files: the gate, the prompt and the encoding in one place.

Owns which records may be trained on and what the model reads before the answer. Reading formats is
`finetune.formats`, the text of the prompt `app.chat.prompts`, tokens `encoding.py`.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from app.chat.prompts import system_prompt
from app.safety.types import Audience
from finetune.formats import Located, read_records
from finetune.outputs import sha256_of
from finetune.problems import DataError
from finetune.records import Record, Trainable
from finetune.training.config import TrainSettings
from finetune.training.encoding import ChatEncoder, Encoded
from finetune.training.errors import DataRefused
from finetune.training.templates import Message

TRAIN_NAMES = ("train.jsonl", "train.json")
EVAL_NAMES = ("validation.jsonl", "val.jsonl", "dev.jsonl", "eval.jsonl", "validation.json")
SHOWN = 10


@dataclass(frozen=True, slots=True)
class Loaded:
    """Records with where they came from; `demo` when any of them is a demonstration nobody approved."""

    records: tuple[Located, ...]
    hashes: dict[str, str] = field(default_factory=dict)

    @property
    def demo(self) -> bool:
        return any(_record(item).trainable is Trainable.DEMO for item in self.records)


@dataclass(frozen=True, slots=True)
class Examples:
    """What goes into a trainer, with the places of the records that were too long to learn from whole."""

    encoded: tuple[Encoded, ...]
    places: tuple[str, ...]
    too_long: tuple[str, ...] = ()


def _record(item: Located) -> Record:
    if item.record is None:
        raise DataRefused(f"{item.file}:{item.line}: not a record")
    return item.record


def training_files(paths: Sequence[Path]) -> list[Path]:
    return [found for path in paths for found in _within(path, TRAIN_NAMES, needed=True)]


def validation_files(paths: Sequence[Path], data: Sequence[Path]) -> list[Path]:
    """The files given, or those of a split folder that the training data names."""
    if paths:
        return [found for path in paths for found in _within(path, EVAL_NAMES, needed=True)]
    return [found for path in data if path.is_dir() for found in _within(path, EVAL_NAMES, needed=False)]


def _within(path: Path, names: Sequence[str], *, needed: bool) -> list[Path]:
    if not path.is_dir():
        return [path]
    found = [path / name for name in names if (path / name).exists()][:1]
    if needed and not found:
        fold = (
            " (a folder of folds: name one of them, such as fold-01)" if (path / "fold-01").is_dir() else ""
        )
        raise DataRefused(f"{path}: none of {', '.join(names)}{fold}")
    return found


def load_records(paths: Iterable[Path]) -> Loaded:
    """Every record of the files, all of which may be trained on.

    Raises:
        DataRefused: a file that cannot be read, broken records, records that were rejected, or AI-generated ones
            that no person approved. Each is named with file and line; there is no option that overrides it.
    """
    kept: list[Located] = []
    refused: list[str] = []
    hashes: dict[str, str] = {}
    for path in paths:
        try:
            for item in read_records(path):
                reason = _why_not(item)
                if reason is None:
                    kept.append(item)
                else:
                    refused.append(reason)
            hashes[path.name if path.name not in hashes else str(path)] = sha256_of(path)
        except (DataError, OSError) as error:
            raise DataRefused(f"{path}: {error}") from error
    if refused:
        more = f"\n… and {len(refused) - SHOWN} more" if len(refused) > SHOWN else ""
        raise DataRefused("these records cannot be trained on:\n" + "\n".join(refused[:SHOWN]) + more)
    if not kept:
        raise DataRefused("no records: " + ", ".join(str(path) for path in paths))
    return Loaded(tuple(kept), hashes)


def _why_not(item: Located) -> str | None:
    if item.record is None:
        codes = "; ".join(f"{problem.code}: {problem.message}" for problem in item.problems)
        return f"{item.file}:{item.line}: {codes or 'not a record'}"
    if item.record.trainable is Trainable.UNAPPROVED:
        return f"{item.file}:{item.line}: unapproved_ai_generated: no person has approved this AI-generated record"
    if item.record.trainable is Trainable.REJECTED:
        return f"{item.file}:{item.line}: rejected_by_review: the review rejected this record"
    if not item.record.answer.strip():
        return f"{item.file}:{item.line}: empty_output: there is no answer to learn"
    return None


def conversation(record: Record, settings: TrainSettings) -> list[Message]:
    """The messages the model reads and learns: the service's own system prompt, then the record's turns.

    The think part of a reasoning record stands before its answer, as the clinician prompt asks for it.
    """
    turns: list[Message] = [
        {"role": m.role, "content": m.content.strip()} for m in record.messages if m.role != "system"
    ]
    if record.reasoning is not None and record.reasoning.strip() and settings.think == "keep":
        turns[-1]["content"] = f"<think>\n{record.reasoning.strip()}\n</think>\n\n{turns[-1]['content']}"
    return [*opening(record, settings), *turns]


def opening(record: Record, settings: TrainSettings) -> list[Message]:
    if settings.prompt == "plain":
        return [{"role": m.role, "content": m.content} for m in record.messages[:1] if m.role == "system"]
    department = settings.department if record.department is None else record.department
    audience = Audience(settings.audience if record.audience is None else record.audience)
    text = system_prompt("general" if department is None else department, audience)
    return [{"role": "system", "content": text}]


def encode_records(loaded: Sequence[Located], encoder: ChatEncoder, settings: TrainSettings) -> Examples:
    """Examples no longer than `row_tokens`. A longer one is left out and named: cut, it would teach a model
    to stop in the middle of an advice.

    Raises:
        DataRefused: nothing is left.
    """
    encoded: list[Encoded] = []
    places: list[str] = []
    too_long: list[str] = []
    for item in loaded:
        example = encoder.example(conversation(_record(item), settings))
        place = f"{item.file}:{item.line}"
        if len(example.input_ids) > settings.row_tokens:
            too_long.append(f"{place} ({len(example.input_ids)} tokens)")
        else:
            encoded.append(example)
            places.append(place)
    if not encoded:
        raise DataRefused(f"every record is longer than max_length={settings.max_length}, e.g. {too_long[0]}")
    return Examples(tuple(encoded), tuple(places), tuple(too_long))


def with_replay(own: Examples, replay: Examples, ratio: float, seed: int) -> Examples:
    """The examples with so much general data that it makes up `ratio` of all, drawn with the seed."""
    wanted = round(len(own.encoded) * ratio / (1 - ratio))
    order = list(range(len(replay.encoded)))
    random.Random(seed).shuffle(order)
    chosen = [order[index % len(order)] for index in range(wanted)]
    return Examples(
        own.encoded + tuple(replay.encoded[index] for index in chosen),
        own.places + tuple(replay.places[index] for index in chosen),
        own.too_long + replay.too_long,
    )
