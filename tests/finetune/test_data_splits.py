"""Splits: sizes, groups, strata, time, refusal of near twins, manifest and ledger."""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from finetune import split_files
from finetune.outputs import sha256_of
from finetune.problems import DataError
from finetune.questions import read_rows
from finetune.settings import DataSettings
from finetune.split_files import SplitRequest, SplitResult, split
from finetune.splits import Plan, plan_for

WORDS = [
    "头痛",
    "咳嗽",
    "乏力",
    "皮疹",
    "失眠",
    "腹胀",
    "心悸",
    "耳鸣",
    "便秘",
    "水肿",
    "鼻塞",
    "胸闷",
    "气短",
    "腰酸",
    "发热",
    "口干",
]


def rows(count: int, **extra: Any) -> list[dict[str, Any]]:
    chance = random.Random(5)
    made = []
    for n in range(count):
        text = "".join(chance.sample(WORDS, 5)) + "".join(
            chr(0x4E00 + chance.randint(0, 9000)) for _ in range(12)
        )
        row: dict[str, Any] = {"id": str(n), "instruction": text, "input": "", "output": f"答{n}"}
        row |= {key: value(n) if callable(value) else value for key, value in extra.items()}
        made.append(row)
    return made


def run(tmp_path: Path, data: list[dict[str, Any]], **options: Any) -> SplitResult:
    source = tmp_path / "in.jsonl"
    source.write_text("\n".join(json.dumps(r, ensure_ascii=False) for r in data), encoding="utf-8")
    request = SplitRequest(source, tmp_path / "out", options.pop("seed", 1), **options)
    return split(read_rows(source), request, DataSettings(), embedder=None)


def sets(folder: Path) -> dict[str, list[dict[str, Any]]]:
    return {
        path.relative_to(folder).as_posix(): [
            json.loads(line) for line in path.read_text("utf-8").splitlines()
        ]
        for path in sorted(folder.rglob("*.jsonl"))
    }


def sides(found: Mapping[str, list[dict[str, Any]]], key: str) -> dict[str, set[str]]:
    where: dict[str, set[str]] = {}
    for name, members in found.items():
        for row in members:
            where.setdefault(row[key], set()).add(name)
    return where


def test_the_plan_follows_the_size() -> None:
    sizes = {99: Plan.LEAVE_ONE_OUT, 100: Plan.FIVE_FOLD, 499: Plan.FIVE_FOLD, 500: Plan.HOLD_OUT_15}
    sizes |= {2000: Plan.HOLD_OUT_15, 2001: Plan.HOLD_OUT_10}
    assert {count: plan_for(count) for count in sizes} == sizes


def test_shares_strata_and_groups_of_a_hold_out(tmp_path: Path) -> None:
    data = rows(
        1000,
        disease=lambda n: ("冠心病", "房颤", "川崎病")[0 if n % 10 < 6 else 1 if n % 10 < 9 else 2],
        patient_id=lambda n: f"p{n // 2}",
        reference=lambda n: f"doc-{n // 10}",
    )
    run(tmp_path, data)
    found = sets(tmp_path / "out")
    assert {name: round(len(members) / 1000, 2) for name, members in found.items()} == pytest.approx(
        {"train.jsonl": 0.70, "val.jsonl": 0.15, "test.jsonl": 0.15}, abs=0.02
    )
    for key in ("patient_id", "reference"):
        assert all(len(names) == 1 for names in sides(found, key).values())
    assert all(len(names) == 1 for names in sides(found, "id").values())
    for members in found.values():
        share = Counter(row["disease"] for row in members)["川崎病"] / len(members)
        assert share == pytest.approx(0.1, abs=0.03)


def test_the_same_seed_gives_the_same_files_and_another_one_others(tmp_path: Path) -> None:
    digests = []
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        (tmp_path / name).mkdir()
        run(tmp_path / name, rows(600), seed=seed)
        digests.append(sha256_of(tmp_path / name / "out" / "test.jsonl"))
    assert digests[0] == digests[1] != digests[2]


def test_folds_cover_every_record_once_and_keep_patients_together(tmp_path: Path) -> None:
    result = run(tmp_path, rows(200, patient_id=lambda n: f"p{n // 3}"))
    assert result.plan is Plan.FIVE_FOLD
    found = sets(tmp_path / "out")
    assert len(found) == 10
    tested = [row["id"] for name, members in found.items() if name.endswith("test.jsonl") for row in members]
    assert sorted(tested) == sorted(str(n) for n in range(200))
    for fold in range(1, 6):
        one = {name: members for name, members in found.items() if name.startswith(f"fold-{fold:02d}")}
        assert all(len(names) == 1 for names in sides(one, "patient_id").values())


def test_few_records_are_left_out_one_by_one(tmp_path: Path) -> None:
    result = run(tmp_path, rows(12))
    assert result.plan is Plan.LEAVE_ONE_OUT
    assert len(result.divisions) == 12


def test_time_order_and_patients_both_hold(tmp_path: Path) -> None:
    data = rows(
        600, date=lambda n: f"2026-{n // 60 + 1:02d}-{n % 28 + 1:02d}", patient_id=lambda n: f"p{n % 400}"
    )
    random.Random(3).shuffle(data)
    result = run(tmp_path, data, time_order=True)
    found = sets(tmp_path / "out")
    latest = max(row["date"] for row in found["train.jsonl"])
    assert latest < min(row["date"] for row in found["test.jsonl"])
    assert all(len(names) == 1 for names in sides(found, "patient_id").values())
    total = sum(len(members) for members in found.values())
    assert total + len(result.manifest["left_out_lines"]) == 600


def test_time_order_needs_dates(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no `date`"):
        run(tmp_path, rows(600), time_order=True)


def test_another_key_groups_too(tmp_path: Path) -> None:
    run(tmp_path, rows(600, ward=lambda n: f"w{n % 60}"), group_keys=("ward",))
    assert all(len(names) == 1 for names in sides(sets(tmp_path / "out"), "ward").values())


def test_near_twins_on_both_sides_refuse_the_split(tmp_path: Path) -> None:
    data = rows(600)
    data += [
        {**row, "id": f"twin{n}", "instruction": row["instruction"] + "呢？"}
        for n, row in enumerate(data[:40])
    ]
    result = run(tmp_path, data)
    assert result.leaks
    assert not (tmp_path / "out").exists()
    grouped = run(tmp_path, data, group_twins=True)
    assert grouped.leaks == []
    found = sets(tmp_path / "out")
    where = {row["id"]: name for name, members in found.items() for row in members}
    assert all(where[f"twin{n}"] == where[str(n)] for n in range(40))


def test_the_manifest_describes_the_files(tmp_path: Path) -> None:
    run(tmp_path, rows(600))
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text("utf-8"))
    assert manifest["source_sha256"] == sha256_of(tmp_path / "in.jsonl")
    for entry in manifest["sets"]:
        assert entry["sha256"] == sha256_of(tmp_path / "out" / entry["file"])


def test_nothing_is_overwritten_unasked(tmp_path: Path) -> None:
    run(tmp_path, rows(600))
    with pytest.raises(DataError, match="not empty"):
        run(tmp_path, rows(600))


def test_the_test_set_opens_once_per_release_and_only_unchanged(tmp_path: Path) -> None:
    run(tmp_path, rows(600))
    out = tmp_path / "out"
    assert split_files.open_test(out, "1.0") == [out / "test.jsonl"]
    with pytest.raises(DataError, match="before"):
        split_files.open_test(out, "1.0")
    assert split_files.open_test(out, "1.1")
    with (out / "test.jsonl").open("a") as file:
        file.write("\n")
    with pytest.raises(DataError, match="not the file"):
        split_files.open_test(out, "1.2")
