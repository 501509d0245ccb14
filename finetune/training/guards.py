"""What watches a run: broken numbers stop it, whole checkpoints are marked, and the way back after a kill is found.

Owns the callbacks and the search for the checkpoint to go on from. The loop itself is transformers'.
"""

from __future__ import annotations

import json
import math
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from transformers import TrainerCallback

from finetune.training.errors import SettingsError, TrainingFailed
from finetune.training.model import check_base, read_metadata

_CHECKPOINT = re.compile(r"checkpoint-(\d+)$")


class NumbersGuard(TrainerCallback):  # type: ignore[misc]
    """Stops before a broken step is saved: a loss that is no number, or a gradient norm out of bounds twice."""

    def __init__(self, largest_norm: float) -> None:
        self._largest = largest_norm
        self._over = 0

    def on_log(
        self, args: Any, state: Any, control: Any, logs: Mapping[str, Any] | None = None, **_: Any
    ) -> None:
        """Raises TrainingFailed."""
        values = dict(logs) if logs is not None else {}
        for name in ("loss", "eval_loss"):
            value = values.get(name)
            if value is not None and not math.isfinite(float(value)):
                raise TrainingFailed(_advice(f"{name} is {value} at step {state.global_step}"))
        norm = values.get("grad_norm")
        if norm is None:
            return
        bad = not math.isfinite(float(norm)) or float(norm) > self._largest
        self._over = self._over + 1 if bad else 0
        if not math.isfinite(float(norm)) or self._over >= 2:
            raise TrainingFailed(_advice(f"the gradient norm is {norm} at step {state.global_step}"))


def _advice(what: str) -> str:
    return (
        f"{what}; the run was stopped before this step was saved. Lower the learning rate, look at the records of "
        "this step, and start again: it goes on from the last checkpoint."
    )


class WholeCheckpoints(TrainerCallback):  # type: ignore[misc]
    """Marks a checkpoint as whole, by writing `anxin.json` into it after everything else."""

    def __init__(self, metadata: Mapping[str, Any]) -> None:
        self._metadata = dict(metadata)

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        folder = Path(args.output_dir) / f"checkpoint-{state.global_step}"
        if not folder.is_dir():
            return
        temporary = folder / "anxin.json.part"
        temporary.write_text(json.dumps(self._metadata, ensure_ascii=False, indent=2), encoding="utf-8")
        temporary.replace(folder / "anxin.json")


def checkpoint_to_resume(folder: Path, metadata: Mapping[str, Any], *, resume: bool) -> Path | None:
    """The newest whole checkpoint of this very run under `folder`, or None to start anew.

    Checkpoints that a kill left half-written are removed; they hold nothing that can be read.

    Raises:
        BaseMismatch: the checkpoints belong to another base model.
        SettingsError: the folder holds a finished run, or one with other settings or data.
    """
    if (folder / "adapter" / "anxin.json").exists() or (folder / "model" / "anxin.json").exists():
        raise SettingsError(f"{folder} holds a finished run; give another --output_dir")
    found = sorted(_checkpoints(folder), reverse=True)
    whole = [path for _, path in found if (path / "anxin.json").exists()]
    if not whole:
        _remove_broken(found)
        return None
    newest = whole[0]
    check_base(newest, str(metadata["base_fingerprint"]))
    if not resume:
        raise SettingsError(f"{folder} holds checkpoints; give another --output_dir, or let the run resume")
    before = read_metadata(newest)
    for key, what in (("data", "data"), ("settings_hash", "settings")):
        if before.get(key) != metadata[key]:
            raise SettingsError(f"{newest} was trained with other {what}; give another --output_dir")
    _remove_broken(found)
    return newest


def _checkpoints(folder: Path) -> list[tuple[int, Path]]:
    if not folder.is_dir():
        return []
    matches = ((path, _CHECKPOINT.search(path.name)) for path in folder.iterdir() if path.is_dir())
    return [(int(match.group(1)), path) for path, match in matches if match is not None]


def _remove_broken(found: list[tuple[int, Path]]) -> None:
    for _, path in found:
        if not (path / "anxin.json").exists():
            shutil.rmtree(path)
