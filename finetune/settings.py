"""Limits of the data checks, settable by environment (`ANXIN_FINETUNE_…`).

Owns sizes only. What is medically right or wrong is reviewed data of `app/safety`, not a setting.
"""

from __future__ import annotations

from pydantic_settings import BaseSettings, SettingsConfigDict


class DataSettings(BaseSettings):
    """Sizes in characters, turns as questions with their replies; a text must be shorter than its limit."""

    model_config = SettingsConfigDict(env_prefix="ANXIN_FINETUNE_")

    input_chars: int = 500
    output_chars: int = 1000
    reasoning_chars: int = 8000
    min_turns: int = 3
    max_turns: int = 8
    near_duplicate: float = 0.8
    paraphrase: float = 0.5
    dedupe_paraphrase: float = 0.6
    max_identical_answers: int = 3
