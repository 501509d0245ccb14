"""Writes a split: the sets, a manifest with their hashes, and the ledger of who opened the test set when.

Owns the folder. How rows are divided is `splits.py`; the refusal of a leaking split happens here, before anything is
written.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from finetune.formats import Located
from finetune.leak import Leak, leaks_between
from finetune.outputs import atomic_text, sha256_of, write_json, write_rows
from finetune.problems import DataError
from finetune.records import Record
from finetune.settings import DataSettings
from finetune.splits import Division, Plan, by_time, folds, group_rows, hold_out, plan_for
from retrieval.types import Embedder

MANIFEST = "manifest.json"
LEDGER = "test_ledger.jsonl"


@dataclass(frozen=True, slots=True)
class SplitRequest:
    """What the command was asked for; `source` is the input file (for the manifest)."""

    source: Path
    out: Path
    seed: int
    time_order: bool = False
    group_keys: tuple[str, ...] = ()
    group_twins: bool = False
    force: bool = False
    benchmarks: tuple[Path, ...] = ()


@dataclass(frozen=True, slots=True)
class SplitResult:
    plan: Plan
    divisions: list[Division]
    leaks: list[Leak]
    manifest: dict[str, Any]


def split(
    rows: Sequence[Located],
    request: SplitRequest,
    settings: DataSettings,
    *,
    embedder: Embedder | None,
    benchmarks: Sequence[Sequence[Located]] = (),
) -> SplitResult:
    """Divide, look for near twins across, and write when there are none; with leaks nothing is written.

    Raises:
        DataError: too few records, output_exists, missing_date, one_group.
    """
    good = [row for row in rows if row.record is not None]
    records = [row.record for row in good if row.record is not None]
    if len(records) < 2:
        raise DataError("too_few", f"{len(records)} readable records cannot be split")
    if (
        request.out.exists()
        and (not request.out.is_dir() or any(request.out.iterdir()))
        and not request.force
    ):
        raise DataError("output_exists", f"{request.out} is not empty; choose another folder or pass --force")
    within = leaks_between(good, good, settings, embedder=embedder)
    place = {row.line: number for number, row in enumerate(good)}
    twins = [(place[leak.test_line], place[leak.train_line], leak) for leak in within]
    together = [(a, b) for a, b, _ in twins] if request.group_twins else []
    groups = group_rows(records, request.group_keys, together)
    plan = plan_for(len(records))
    divisions = _divided(records, groups, plan, request)
    leaks = _straddling(twins, divisions)
    for benchmark in benchmarks:
        leaks += leaks_between(good, benchmark, settings, embedder=embedder)
    if leaks:
        return SplitResult(plan, divisions, leaks, {})
    return SplitResult(plan, divisions, [], _written(good, records, groups, divisions, plan, request))


def _divided(
    records: Sequence[Record], groups: Sequence[Sequence[int]], plan: Plan, request: SplitRequest
) -> list[Division]:
    if request.time_order:
        return by_time(records, groups, plan)
    if plan in (Plan.LEAVE_ONE_OUT, Plan.FIVE_FOLD):
        return folds(records, groups, plan, request.seed)
    return hold_out(records, groups, plan, request.seed)


def _straddling(twins: Iterable[tuple[int, int, Leak]], divisions: Sequence[Division]) -> list[Leak]:
    """Twins of which one is tested or validated on and the other one is not."""
    pairs = list(twins)
    found: dict[tuple[int, int], Leak] = {}
    for division in divisions:
        side = {row: part for part, rows in division.parts.items() for row in rows}
        for one, two, leak in pairs:
            if {side.get(one), side.get(two)} & {"val", "test"} and side.get(one) != side.get(two):
                found[(one, two)] = leak
    return [found[key] for key in sorted(found)]


def _written(
    rows: Sequence[Located],
    records: Sequence[Record],
    groups: Sequence[Sequence[int]],
    divisions: Sequence[Division],
    plan: Plan,
    request: SplitRequest,
) -> dict[str, Any]:
    single = len(divisions) == 1 and "val" in divisions[0].parts
    folders = (
        [request.out] if single else [request.out / f"fold-{n:02d}" for n in range(1, len(divisions) + 1)]
    )
    sets = []
    for folder, division in zip(folders, divisions, strict=True):
        for part, numbers in division.parts.items():
            path = folder / f"{part}.jsonl"
            write_rows(path, (rows[number].raw for number in numbers), force=request.force)
            sets.append(_set_entry(path, request.out, [records[number] for number in numbers]))
    manifest = {
        "plan": str(plan),
        "seed": request.seed,
        "by_time": request.time_order,
        "group_keys": ["patient_id", "reference", *request.group_keys],
        "source": request.source.name,
        "source_sha256": sha256_of(request.source),
        "records": len(records),
        "groups": len(groups),
        "left_out_lines": [rows[number].line for division in divisions for number in division.left_out],
        "demo": any(record.trainable == "demo" for record in records),
        "sets": sets,
    }
    write_json(request.out / MANIFEST, manifest, force=request.force)
    return manifest


def _set_entry(path: Path, base: Path, records: Sequence[Record]) -> dict[str, Any]:
    diseases = Counter(record.disease or record.department or "unknown" for record in records)
    dates = sorted(record.date for record in records if record.date is not None)
    return {
        "file": path.relative_to(base).as_posix(),
        "sha256": sha256_of(path),
        "records": len(records),
        "strata": dict(sorted(diseases.items())),
        "dates": [dates[0], dates[-1]] if dates else [],
    }


def open_test(folder: Path, release: str, *, now: datetime | None = None) -> list[Path]:
    """The test files of a split, once per release; the ledger beside them records every opening.

    Raises:
        DataError: no_manifest, changed (a file is not the one of the manifest) or already_opened.
    """
    manifest = _manifest(folder)
    ledger = folder / LEDGER
    opened = [json.loads(line) for line in ledger.read_text("utf-8").splitlines()] if ledger.exists() else []
    if any(entry["release"] == release for entry in opened):
        raise DataError(
            "already_opened", f"release {release!r} has opened this test set before (see {LEDGER})"
        )
    tests = [entry for entry in manifest["sets"] if Path(entry["file"]).name == "test.jsonl"]
    for entry in tests:
        if sha256_of(folder / entry["file"]) != entry["sha256"]:
            raise DataError("changed", f"{entry['file']} is not the file that the manifest describes")
    moment = datetime.now(UTC) if now is None else now
    entry = {"release": release, "opened_at": moment.isoformat(timespec="seconds")}
    with atomic_text(ledger, force=True) as file:
        for row in [*opened, entry]:
            file.write(json.dumps(row, ensure_ascii=False) + "\n")
    return [folder / entry["file"] for entry in tests]


def _manifest(folder: Path) -> Mapping[str, Any]:
    path = folder / MANIFEST
    try:
        value = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(
            "no_manifest", f"{path} cannot be read; is {folder} the folder of a split?"
        ) from error
    if not isinstance(value, dict) or not isinstance(value.get("sets"), list):
        raise DataError("no_manifest", f"{path} is not the manifest of a split")
    return value
