"""Makes one encoder of several training runs: `python -m finetune.encoder.merge RUN … --out FOLDER [--share 0.75]`.

Owns the averaging. The mean of runs that differ only in their order is better than any of them, and keeping only a share
of what they changed keeps more of what the model knew before: both help on texts by strangers (docs/decisions/0010). A RUN is
the folder that `train.py` wrote.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.safety import reader
from retrieval.embedders import changes
from retrieval.embedders.e5 import graph_weights, wheel_file

RUN_FILE = "run.npz"
SHARE = 0.75

Weights = dict[str, NDArray[np.float32]]


def save_run(
    folder: Path,
    weights: Mapping[str, NDArray[np.float32]],
    heads: Mapping[str, reader.Head],
    codes: Sequence[str],
) -> None:
    """Write one run as it is, unpacked: weights by the graph's names, heads of `reader.HEADS`."""
    folder.mkdir(parents=True, exist_ok=True)
    stored: dict[str, Any] = {f"weight_{name}": value.astype(np.float32) for name, value in weights.items()}
    for name in reader.HEADS:
        stored |= {f"{part}_{name}": value for part, value in zip(("head", "bias"), heads[name], strict=True)}
    np.savez(folder / RUN_FILE, codes=np.array("\n".join(codes)), **stored)


def read_run(folder: Path) -> tuple[Weights, list[str]]:
    """Every array of a run by its name, and the codes. Raises OSError when the folder holds no run."""
    with np.load(folder / RUN_FILE, allow_pickle=False) as stored:
        codes = str(stored["codes"]).split("\n")
        return {name: stored[name] for name in stored.files if name != "codes"}, codes


def merge(runs: Sequence[Path], out: Path, *, share: float = SHARE) -> None:
    """Write the mean of `runs` to `out` as the service reads it, with `share` (0 to 1) of what they changed.

    Raises:
        ValueError: the runs do not name the same codes.
    """
    read = [read_run(folder) for folder in runs]
    codes = read[0][1]
    if any(other != codes for _, other in read):
        raise ValueError("the runs were trained for different codes")
    mean: Weights = {
        name: np.asarray(np.mean([arrays[name] for arrays, _ in read], axis=0), dtype=np.float32)
        for name in read[0][0]
    }
    base = graph_weights(wheel_file())
    kept = {
        name: base[name] + share * (mean[f"weight_{name}"] - base[name])
        for name in (key.removeprefix("weight_") for key in mean if key.startswith("weight_"))
    }
    heads = {name: (mean[f"head_{name}"], mean[f"bias_{name}"]) for name in reader.HEADS}
    out.mkdir(parents=True, exist_ok=True)
    changes.save(out / changes.FILE.name, kept)
    reader.save(out / reader.READER_FILE.name, heads, codes)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs", type=Path, nargs="+")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--share", type=float, default=SHARE)
    chosen = parser.parse_args()
    merge(chosen.runs, chosen.out, share=chosen.share)
    return 0


if __name__ == "__main__":
    sys.exit(main())
