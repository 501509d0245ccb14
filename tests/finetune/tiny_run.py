"""A tiny Qwen2 to train and the settings of a short run on it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from finetune.training.config import TrainSettings, load_settings
from tests.models.tiny import CORPUS, small_tokenizer, write_qwen2

PAIRS = [
    ("拜阿司匹灵饭前吃还是饭后吃？", "宜在饭前用温水整片吞服。"),
    ("漏服了阿司匹林怎么办？", "当天想起来就补，不要吃双份。"),
    ("过敏性鼻炎喷药要坚持多久？", "按医嘱坚持用，不要自己停。"),
    ("中风后多久能做康复？", "病情稳定后由康复医师评估。"),
]


def tiny_base(folder: Path) -> Path:
    """Writes the untrained model with a tokenizer that knows `PAIRS`."""
    tokenizer = small_tokenizer([*CORPUS, *(text for pair in PAIRS for text in pair)], vocab=800)
    return write_qwen2(folder / "qwen2", tokenizer)


def settings(base: Path, data: Path, out: Path, **changes: Any) -> TrainSettings:
    values: dict[str, Any] = {
        "model_name_or_path": str(base),
        "data_path": data,
        "output_dir": out,
        "prompt": "plain",
        "max_length": 128,
        "learning_rate": 5e-3,
        "gradient_accumulation_steps": 4,
        "max_steps": 6,
        "save_steps": 2,
        "eval_steps": 2,
        "warmup_ratio": 0.0,
    }
    return load_settings(None, {**values, **changes})
