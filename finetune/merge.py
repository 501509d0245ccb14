"""`finetune merge`: an adapter written into its base model, checked by comparing logits.

Owns the merge and its proof. An adapter of another base is refused; nothing is overwritten.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from finetune.training.errors import BaseMismatch, FinetuneError, SettingsError
from finetune.training.model import check_base, fingerprint, load_config, load_tokenizer, read_metadata

PROBES = (
    "阿司匹林和氯吡格雷可以一起吃吗？",
    "打喷嚏流清涕，每天早上都这样，怎么办？",
    "中风后右手没力气，什么时候开始康复？",
)


class MergeFailed(FinetuneError):
    """The merged model does not answer as base and adapter do."""

    code = "merge_failed"
    exit_code = 3


@dataclass(frozen=True, slots=True)
class Merged:
    """`difference` is the largest difference of any logit on the probes, `scale` the largest logit."""

    folder: Path
    difference: float
    scale: float


def merge(base: str, adapter: Path, out: Path, *, dtype: str = "bfloat16", tolerance: float = 2e-2) -> Merged:
    """Write base + adapter to `out`.

    `tolerance` is relative to the largest logit; the two are compared in float32, so that what is checked is the
    merge and not the rounding of `dtype`, in which the result is saved.

    Raises:
        SettingsError: `out` exists, or something cannot be loaded. BaseMismatch: the adapter is of another base.
        MergeFailed: the logits differ; `out` is not written.
    """
    if out.exists() and any(out.iterdir()):
        raise SettingsError(f"{out} exists; choose another folder")
    tokenizer = load_tokenizer(base)
    check_base(adapter, fingerprint(load_config(base), tokenizer))
    model, before = _with_adapter(base, adapter, tokenizer)
    merged = model.merge_and_unload(safe_merge=True)
    after = _logits(merged, tokenizer)
    difference = max(float((left - right).abs().max()) for left, right in zip(before, after, strict=True))
    scale = max(float(values.abs().max()) for values in before)
    if not difference <= tolerance * scale:
        raise MergeFailed(
            f"logits differ by {difference:.3g} (largest logit {scale:.3g}); nothing was written"
        )
    _write(merged, tokenizer, adapter, out, dtype)
    return Merged(out, difference, scale)


def _with_adapter(base: str, adapter: Path, tokenizer: Any) -> tuple[Any, list[Any]]:
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    try:
        loaded = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
        model = PeftModel.from_pretrained(loaded, str(adapter)).eval()
    except (OSError, ValueError, KeyError) as error:
        raise SettingsError(f"{adapter} on {base}: {error}") from error
    except RuntimeError as error:  # peft reports tensors of other shapes this way
        raise BaseMismatch(f"{adapter} does not fit {base}: {str(error).splitlines()[0]}") from error
    return model, _logits(model, tokenizer)


def _logits(model: Any, tokenizer: Any) -> list[Any]:
    import torch

    with torch.no_grad():
        return [model(**tokenizer(text, return_tensors="pt")).logits.float() for text in PROBES]


def _write(merged: Any, tokenizer: Any, adapter: Path, out: Path, dtype: str) -> None:
    import torch

    part = out.with_name(out.name + ".part")
    shutil.rmtree(part, ignore_errors=True)
    merged.to(getattr(torch, dtype)).save_pretrained(part)
    tokenizer.save_pretrained(part)
    metadata = read_metadata(adapter) | {"merged_from": adapter.name, "dtype": dtype}
    (part / "anxin.json").write_text(json.dumps(metadata, ensure_ascii=False, indent=2), encoding="utf-8")
    if out.exists():
        out.rmdir()
    part.replace(out)
