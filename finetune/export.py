"""`finetune export`: an adapter folder as it is handed over, with its model card; GGUF where llama.cpp is installed.

Owns the card and the copy. What the figures are comes from the run record and the evaluation report; nothing is
claimed that is not in them.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from finetune.training.errors import MissingPackage, SettingsError, TrainingFailed
from finetune.training.model import read_metadata

CARRIED = ("adapter_config.json", "adapter_model.safetensors", "anxin.json")
CONVERTERS = ("convert_hf_to_gguf.py", "convert-hf-to-gguf.py", "llama-convert-hf-to-gguf")


def export(
    adapter: Path, out: Path, *, version: str, evaluation: Path | None = None, licence: str = ""
) -> Path:
    """Copy a finished adapter to `out` as `<department>-v<N>` is published: weights, metadata, card, figures.

    Raises:
        SettingsError: no finished adapter there, or `out` exists.
    """
    metadata = read_metadata(adapter)
    missing = [name for name in CARRIED if not (adapter / name).is_file()]
    if missing:
        raise SettingsError(f"{adapter} is no finished adapter (no {', '.join(missing)})")
    if out.exists():
        raise SettingsError(f"{out} exists; a published version is never written again")
    figures = _figures(evaluation)
    run = _run_record(adapter)
    part = out.with_name(out.name + ".part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    for name in CARRIED:
        shutil.copy2(adapter / name, part / name)
    metadata |= {"version": version, "licence": licence if licence else None, "evaluation": figures}
    (part / "anxin.json").write_text(json.dumps(metadata, ensure_ascii=False, indent=2), encoding="utf-8")
    (part / "README.md").write_text(card(metadata, run, figures), encoding="utf-8")
    part.replace(out)
    return out


def _figures(evaluation: Path | None) -> dict[str, Any] | None:
    if evaluation is None:
        return None
    try:
        report = json.loads(evaluation.read_text(encoding="utf-8"))
        return {key: report[key] for key in ("total", "dimensions", "gate", "questions", "answers_from")}
    except (OSError, ValueError, KeyError) as error:
        raise SettingsError(f"{evaluation} is no evaluation report: {error!r}") from error


def _run_record(adapter: Path) -> dict[str, Any]:
    path = adapter.parent / "run.json"
    return dict(json.loads(path.read_text(encoding="utf-8"))) if path.is_file() else {}


def card(metadata: Mapping[str, Any], run: Mapping[str, Any], figures: Mapping[str, Any] | None) -> str:
    """The model card (Markdown): use, limits, data, training, figures, licence."""
    demo = bool(metadata.get("demo"))
    parts = [f"# {metadata['version']}", ""]
    if demo:
        parts += [
            "> Trained on demonstration records that no person approved. For development only: the service's",
            "",
        ]
        parts[-2] += " registry refuses to activate it elsewhere."
    parts += [
        f"LoRA adapter for `{metadata['base']}` (fingerprint `{metadata['base_fingerprint']}`).",
        "",
        "## Intended use",
        "Answers of a hospital department's health Q&A service, with the department's documents in the prompt and the",
        "service's triage before and review after it. Not for use without them, not for diagnosis, not for dosing.",
        f"Department: {metadata.get('department') or 'general'}; audience: {metadata.get('audience')}.",
        "",
        "## Data",
        *(f"- `{name}` sha256 `{value}`" for name, value in sorted(metadata.get("data", {}).items())),
        ""
        if demo
        else "Every AI-generated record was approved by a named person before training; the gate has no override.",
        "",
        "## Training",
        f"{metadata['objective']} with {metadata['method']}, rank {metadata['rank']}, code `{metadata['code']}`.",
        *_run_lines(run),
        "",
        "## Figures",
        *_figure_lines(figures),
        "",
        "## Licence",
        str(
            metadata.get("licence")
            or "As the base model's licence and the data's owners allow; none was given at export."
        ),
        "",
    ]
    return "\n".join(parts)


def _run_lines(run: Mapping[str, Any]) -> list[str]:
    if not run:
        return ["No run record lies beside this adapter."]
    keys = ("steps", "examples", "tokens", "duration_s", "energy_j", "train_loss", "best_eval_loss")
    return [f"- {key}: {run[key]}" for key in keys if run.get(key) is not None]


def _figure_lines(figures: Mapping[str, Any] | None) -> list[str]:
    if figures is None:
        return ["Not evaluated."]
    lines = [
        f"- {name}: {value['score']:.1f} (95 % CI {value['low']:.1f}-{value['high']:.1f})"
        for name, value in figures["dimensions"].items()
    ]
    total, gate = figures["total"], figures["gate"]
    lines.append(f"- total: {total['score']:.1f} (95 % CI {total['low']:.1f}-{total['high']:.1f})")
    return [
        *lines,
        f"- release gate: {'passed' if gate['passed'] else 'not passed: ' + '; '.join(gate['reasons'])}",
    ]


def to_gguf(merged: Path, out: Path, *, quantisation: str = "q8_0") -> Path:
    """Convert a merged model with llama.cpp's converter, where it is on the PATH.

    Raises:
        MissingPackage: no converter. TrainingFailed: it failed. SettingsError: `out` exists.
    """
    if out.exists():
        raise SettingsError(f"{out} exists")
    tool = next((found for name in CONVERTERS if (found := shutil.which(name)) is not None), None)
    if tool is None:
        raise MissingPackage(f"llama.cpp's converter ({CONVERTERS[0]}) is not on the PATH")
    command = [tool, str(merged), "--outfile", str(out), "--outtype", quantisation]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
    if done.returncode != 0 or not out.exists():
        out.unlink(missing_ok=True)
        raise TrainingFailed(f"{tool} failed: {done.stderr.strip()[-400:]}")
    return out
