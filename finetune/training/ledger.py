"""What a run was: data, code, settings, machine, time, energy and curve, in `run.json` and one line of a ledger.

Owns the record and the reading of the machine. Drawing it is `report.py`.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import importlib.metadata
import json
import platform
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from finetune.training.config import TrainSettings

PACKAGES = ("torch", "transformers", "trl", "peft", "bitsandbytes", "accelerate", "datasets")
# Settings that say where and how to run, not what is learnt: a resumed run may change them.
PLACES = {
    "output_dir",
    "resume",
    "report_to",
    "save_total_limit",
    "memory_limit_gib",
    "data_path",
    "eval_path",
}
PLACES |= {"replay_path", "model_name_or_path"}


def settings_hash(settings: TrainSettings) -> str:
    """Equal for two runs that learn the same in the same way."""
    values = settings.model_dump(mode="json", exclude=PLACES)
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:16]


def code_version() -> str:
    """The commit of the working copy with `+changes` where it differs, or the package's version."""
    root = Path(__file__).parent
    try:
        commit = _git(root, "rev-parse", "--short=12", "HEAD")
        changed = _git(root, "status", "--porcelain", "--untracked-files=no", "--", str(root.parent))
        return commit + ("+changes" if changed else "")
    except (OSError, subprocess.SubprocessError):
        return importlib.metadata.version("anxin")


def _git(root: Path, *arguments: str) -> str:
    done = subprocess.run(  # noqa: S603
        ["git", *arguments],  # noqa: S607
        cwd=root,
        capture_output=True,
        text=True,
        timeout=20,
        check=True,
    )
    return done.stdout.strip()


def versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def hardware() -> dict[str, Any]:
    """Processor, memory and GPUs; only what can be read without asking for anything."""
    import psutil
    import torch

    gpus = []
    for index in range(torch.cuda.device_count()):
        properties = torch.cuda.get_device_properties(index)
        gpus.append({"name": properties.name, "memory_gib": round(properties.total_memory / 2**30, 1)})
    return {
        "machine": platform.machine(),
        "cores": psutil.cpu_count(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "gpus": gpus,
    }


class Meter:
    """Time from its making, and the energy of the GPUs since then where the driver counts it (joule)."""

    def __init__(self) -> None:
        self._started = time.perf_counter()
        self.started_at = dt.datetime.now(dt.UTC).isoformat(timespec="seconds")
        self._energy = _gpu_energy_j()

    def read(self) -> dict[str, float | None]:
        now = _gpu_energy_j()
        energy = None if now is None or self._energy is None else round(now - self._energy, 1)
        return {"duration_s": round(time.perf_counter() - self._started, 1), "energy_j": energy}


def _gpu_energy_j() -> float | None:
    try:
        import pynvml  # type: ignore[import-not-found,import-untyped,unused-ignore]

        pynvml.nvmlInit()
        handles = [pynvml.nvmlDeviceGetHandleByIndex(i) for i in range(pynvml.nvmlDeviceGetCount())]
        return float(sum(pynvml.nvmlDeviceGetTotalEnergyConsumption(handle) for handle in handles)) / 1000
    except Exception:  # no driver, no package, or a GPU that does not count
        return None


def write_run(folder: Path, run: Mapping[str, Any]) -> Path:
    """`run.json` in the folder, and a line in `ledger.jsonl` beside it."""
    path = folder / "run.json"
    temporary = path.with_suffix(".part")
    temporary.write_text(json.dumps(run, ensure_ascii=False, indent=2), encoding="utf-8")
    temporary.replace(path)
    line = {key: value for key, value in run.items() if key not in {"history", "settings"}}
    with (folder.parent / "ledger.jsonl").open("a", encoding="utf-8") as file:
        file.write(json.dumps({"folder": folder.name, **line}, ensure_ascii=False) + "\n")
    return path
