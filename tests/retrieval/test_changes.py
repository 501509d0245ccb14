"""The file of what training changed: what goes in comes out, and a broken one is named."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from retrieval.embedders import changes
from retrieval.embedders.changes import BLOCK, LEVELS, Packed
from retrieval.embedders.e5 import E5, anxin_e5, graph_weights, shipped_e5, wheel_file


def test_a_change_survives_packing_within_half_a_step() -> None:
    change = np.random.default_rng(5).normal(0, 0.01, (3, BLOCK)).astype(np.float32)
    packed = Packed.of(change)
    steps = packed.steps.astype(np.float32)[:, None]
    assert np.abs(packed.levels).max() <= LEVELS
    assert (np.abs(packed.values().reshape(change.shape) - change) <= steps * 0.51).all()
    assert not Packed.of(np.zeros((1, BLOCK), np.float32)).values().any()


def test_what_is_saved_is_what_is_read(tmp_path: Path) -> None:
    weights = graph_weights(wheel_file())
    tuned = {name: value * np.float32(1.05) for name, value in weights.items() if name.startswith("l11.")}
    changes.save(tmp_path / "encoder.npz", tuned)
    read = changes.read(tmp_path / "encoder.npz")
    assert {name: value.shape for name, value in read.items()} == {n: v.shape for n, v in tuned.items()}
    model = E5(wheel_file(), tokenizer=shipped_e5().tokenizer, changes=read)
    cosine = float((model.embed(["query: 胸口疼"]) @ shipped_e5().embed(["query: 胸口疼"]).T)[0, 0])
    assert 0.99 < cosine < 0.999999


@pytest.mark.parametrize("content", [b"", b"PK", b"no changes at all"])
def test_a_broken_file_is_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "encoder.npz"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"encoder\.npz holds no changes"):
        changes.read(path)


def test_a_question_is_read_once_however_it_is_spelled(monkeypatch: pytest.MonkeyPatch) -> None:
    model = anxin_e5()
    typed = "我爸血压１５０，怎么办？（这次没见过）"
    first = model.questions([typed])
    monkeypatch.setattr(model, "pooled", lambda _: pytest.fail("read again"))
    assert np.array_equal(model.questions(["我爸血压150,怎么办?(这次没见过)"]), first)
    assert model.questions([]).shape == (0, 384)
