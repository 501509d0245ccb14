"""Merging runs: the mean of what they changed, of which a share is kept."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from app.safety import reader
from finetune.encoder.merge import merge, save_run
from retrieval.embedders import changes
from retrieval.embedders.e5 import graph_weights, wheel_file

NAME = "l0.aln.b"


def run(folder: Path, moved: float, codes: list[str]) -> Path:
    given = graph_weights(wheel_file())
    matrix = next(name for name, value in given.items() if value.ndim == 2)
    heads = {name: (np.full((1, 384), moved, np.float32), np.zeros(1, np.float32)) for name in reader.HEADS}
    save_run(folder, {NAME: given[NAME] + moved, matrix: given[matrix]}, heads, codes)
    return folder


def test_half_of_the_mean_change_is_kept(tmp_path: Path) -> None:
    runs = [run(tmp_path / str(moved), moved, ["dose_change"]) for moved in (1.0, 3.0)]
    merge(runs, tmp_path / "out", share=0.5)
    kept = changes.read(tmp_path / "out" / changes.FILE.name)
    assert np.allclose(kept[NAME], 1.0, atol=1e-2)
    with np.load(tmp_path / "out" / reader.READER_FILE.name) as stored:
        assert np.allclose(stored["review_weight"], 2.0)


def test_runs_for_other_codes_are_refused(tmp_path: Path) -> None:
    runs = [run(tmp_path / code, 1.0, [code]) for code in ("dose_change", "promotion")]
    with pytest.raises(ValueError, match="different codes"):
        merge(runs, tmp_path / "out")
