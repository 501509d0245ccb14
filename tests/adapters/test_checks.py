"""Folders that must not become adapters, each with its own reason; and the disk that is full."""

from __future__ import annotations

import json
import os
import resource
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from app.adapters.errors import AdapterExists, AdapterRejected, AdapterStorageFull, Reason
from app.adapters.storage import AdapterStorage
from app.errors import InvalidPayload
from tests.adapters.conftest import tensors, write_adapter

Make = Callable[..., Any]


def broken(change: Callable[[dict[str, np.ndarray]], None]) -> dict[str, np.ndarray]:
    weights = tensors()
    change(weights)
    return weights


KEY = "base_model.model.model.layers.1.self_attn.v_proj"


def with_value(value: float) -> dict[str, np.ndarray]:
    def change(weights: dict[str, np.ndarray]) -> None:
        weights[f"{KEY}.lora_A.weight"][-1, -1] = value

    return broken(change)


CASES: list[tuple[str, Reason, dict[str, Any]]] = [
    ("wrong base", Reason.WRONG_BASE_MODEL, {"base_model_name_or_path": "Qwen/Qwen2.5-14B-Instruct"}),
    ("no base", Reason.CONFIG_INVALID, {"base_model_name_or_path": None}),
    ("rank", Reason.RANK_TOO_HIGH, {"r": 64}),
    ("rank not a number", Reason.CONFIG_INVALID, {"r": "4"}),
    ("dora", Reason.DORA, {"use_dora": True}),
    ("not lora", Reason.NOT_LORA, {"peft_type": "LOHA"}),
    ("bias", Reason.UNSUPPORTED_OPTION, {"bias": "all"}),
    ("per-layer rank", Reason.UNSUPPORTED_OPTION, {"rank_pattern": {"q_proj": 8}}),
    ("saved modules", Reason.UNSUPPORTED_OPTION, {"modules_to_save": ["lm_head"]}),
    ("module", Reason.TARGET_MODULES, {"target_modules": ["q_proj", "lm_head"]}),
    ("undeclared module", Reason.TARGET_MODULES, {"target_modules": ["q_proj"]}),
    ("nan", Reason.WEIGHTS_NOT_FINITE, {"weights": with_value(np.nan)}),
    ("inf", Reason.WEIGHTS_NOT_FINITE, {"weights": with_value(-np.inf)}),
    ("no effect", Reason.WEIGHTS_WITHOUT_EFFECT, {"weights": tensors(fill=0.0)}),
    ("rank differs from weights", Reason.WRONG_SHAPES, {"weights": tensors(rank=2)}),
    ("half a pair", Reason.WRONG_SHAPES, {"weights": broken(lambda w: w.pop(f"{KEY}.lora_B.weight"))}),
    (
        "layers differ",
        Reason.WRONG_SHAPES,
        {"weights": broken(lambda w: w.update({f"{KEY}.lora_A.weight": np.ones((4, 9), np.float32)}))},
    ),
    (
        "foreign tensor",
        Reason.TARGET_MODULES,
        {
            "weights": broken(
                lambda w: w.update({"base_model.model.lm_head.weight": np.ones((2, 2), np.float32)})
            )
        },
    ),
    (
        "integers",
        Reason.WEIGHTS_CORRUPT,
        {"weights": broken(lambda w: w.update({f"{KEY}.lora_A.weight": np.ones((4, 8), np.int32)}))},
    ),
]


@pytest.mark.parametrize(("reason", "changes"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
async def test_bad_folder_is_refused_with_its_reason(
    bench: Make, reason: Reason, changes: dict[str, Any]
) -> None:
    made = await bench()
    with pytest.raises(AdapterRejected) as refused:
        await made.register("cardiology-v1", **changes)
    assert refused.value.details == {"reason": reason.value}
    assert await made.service.every() == []
    assert [p.name for p in made.root.iterdir()] == ["incoming"], "nothing may be left behind"


def truncate(folder: Path) -> None:
    path = folder / "adapter_model.safetensors"
    path.write_bytes(path.read_bytes()[:-20])


def lie_about_offsets(folder: Path) -> None:
    path = folder / "adapter_model.safetensors"
    data = path.read_bytes()
    (size,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + size])
    next(iter(header.values()))["data_offsets"] = [0, 10**9]
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data[8 + size :])


def link_weights(folder: Path) -> None:
    path = folder / "adapter_model.safetensors"
    path.rename(folder / "real.safetensors")
    path.symlink_to(folder / "real.safetensors")


DAMAGE: list[tuple[Callable[[Path], Any], Reason]] = [
    (truncate, Reason.WEIGHTS_CORRUPT),
    (lie_about_offsets, Reason.WEIGHTS_CORRUPT),
    (lambda f: (f / "adapter_model.safetensors").write_bytes(b"\xff" * 64), Reason.WEIGHTS_CORRUPT),
    (lambda f: (f / "adapter_model.safetensors").unlink(), Reason.WEIGHTS_MISSING),
    (lambda f: (f / "adapter_config.json").unlink(), Reason.CONFIG_MISSING),
    (lambda f: (f / "adapter_config.json").write_text("[" * 5000), Reason.CONFIG_INVALID),
    (lambda f: (f / "adapter_config.json").write_text("[]"), Reason.CONFIG_INVALID),
    (link_weights, Reason.SYMLINK),
]


@pytest.mark.parametrize(
    ("damage", "reason"), DAMAGE, ids=[f"{r.value}-{i}" for i, (_, r) in enumerate(DAMAGE)]
)
async def test_damaged_files_are_refused(bench: Make, damage: Callable[[Path], Any], reason: Reason) -> None:
    made = await bench()
    folder = write_adapter(made.root / "incoming" / "x")
    damage(folder)
    with pytest.raises(AdapterRejected) as refused:
        await made.service.register("op", "incoming/x", name="cardiology-v1")
    assert refused.value.reason is reason
    assert await made.service.every() == []


async def test_pipe_instead_of_weights_does_not_hang(bench: Make) -> None:
    made = await bench()
    folder = write_adapter(made.root / "incoming" / "x")
    (folder / "adapter_model.safetensors").unlink()
    os.mkfifo(folder / "adapter_model.safetensors")
    with pytest.raises(AdapterRejected):
        await made.service.register("op", "incoming/x", name="cardiology-v1")


async def test_paths_outside_and_links_are_refused(bench: Make, tmp_path: Path) -> None:
    made = await bench()
    outside = write_adapter(tmp_path / "outside")
    made.root.mkdir(exist_ok=True)
    write_adapter(outside / "inside")
    (made.root / "link").symlink_to(outside)
    cases = {
        str(outside): Reason.OUTSIDE_ROOT,
        "../outside": Reason.OUTSIDE_ROOT,
        "x/../../outside": Reason.OUTSIDE_ROOT,
        ".": Reason.OUTSIDE_ROOT,
        "link": Reason.SYMLINK,
        "link/inside": Reason.SYMLINK,
        "nothing-here": Reason.NOT_A_FOLDER,
    }
    for path, reason in cases.items():
        with pytest.raises(AdapterRejected) as refused:
            await made.service.register("op", path, name="cardiology-v1")
        assert refused.value.reason is reason, path


@pytest.mark.parametrize(
    "name", ["cardiology", "cardiology-v0", "cardiology-v01", "../x-v1", "surgery-v1", "cardiology-v1/.."]
)
async def test_bad_names_are_refused(bench: Make, name: str) -> None:
    made = await bench()
    write_adapter(made.root / "incoming")
    with pytest.raises(AdapterRejected) as refused:
        await made.service.register("op", "incoming", name=name)
    assert refused.value.reason is Reason.BAD_NAME


async def test_good_folder_becomes_a_read_only_copy_of_exactly_what_is_served(bench: Make) -> None:
    made = await bench()
    folder = write_adapter(made.root / "incoming" / "x")
    (folder / "optimizer.pt").write_bytes(b"pickle")
    row = await made.service.register("op", "incoming/x", department="cardiology")
    assert (row.name, row.state, row.rank, row.target_modules) == (
        "cardiology-v1",
        "registered",
        4,
        ["q_proj", "v_proj"],
    )
    kept = made.root / row.name
    assert sorted(p.name for p in kept.iterdir()) == ["adapter_config.json", "adapter_model.safetensors"]
    assert all(oct(p.stat().st_mode)[-3:] == "444" for p in kept.iterdir())
    assert (await made.service.register("op", "incoming/x", department="cardiology")).name == "cardiology-v2"


async def test_name_is_never_used_twice(bench: Make) -> None:
    made = await bench()
    await made.register("cardiology-v1")
    with pytest.raises(AdapterExists):
        await made.register("cardiology-v1")
    await made.service.retire("op", "cardiology-v1")
    with pytest.raises(AdapterExists):
        await made.register("cardiology-v1")
    (made.root / "cardiology-v7").mkdir()
    with pytest.raises(AdapterExists):
        await made.register("cardiology-v7")
    assert [row.name for row in await made.service.every()] == ["cardiology-v1"]


async def test_neither_name_nor_department(bench: Make) -> None:
    made = await bench()
    with pytest.raises(InvalidPayload):
        await made.service.register("op", "incoming")
    with pytest.raises(InvalidPayload):
        await made.service.register("op", "incoming", name="cardiology-v1", department="allergy")


@contextmanager
def files_no_larger_than(size: int) -> Iterator[None]:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_disk_that_fills_up_during_the_copy_leaves_nothing(tmp_path: Path) -> None:
    storage = AdapterStorage(tmp_path / "root")
    folder = write_adapter(tmp_path / "source", weights=tensors(hidden=4096))
    with files_no_larger_than(8192), pytest.raises(AdapterStorageFull), storage.staged(folder):
        raise AssertionError("the copy was complete")
    assert list(storage.root.iterdir()) == []


async def test_disk_that_is_full_at_registration_harms_nothing(bench: Make) -> None:
    made = await bench()
    await made.register("cardiology-v1")
    write_adapter(made.root / "incoming" / "large", weights=tensors(hidden=4096))
    with files_no_larger_than(8192), pytest.raises(AdapterStorageFull):
        await made.service.register("op", "incoming/large", department="cardiology")
    assert [row.name for row in await made.service.every()] == ["cardiology-v1"]
    assert sorted(p.name for p in made.root.iterdir()) == ["cardiology-v1", "incoming"]
    row = await made.service.register("op", "incoming/large", department="cardiology")
    assert row.name == "cardiology-v2", "the number was not used up"


def test_disk_without_room_is_refused_before_the_copy(tmp_path: Path) -> None:
    storage = AdapterStorage(tmp_path / "root", free_bytes=lambda _: 1000)
    folder = write_adapter(tmp_path / "source")
    with pytest.raises(AdapterStorageFull), storage.staged(folder):
        raise AssertionError("there was no room")
