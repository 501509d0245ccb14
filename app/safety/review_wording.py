"""The reviewed sentences that stand in for blocked or missing text, and how they are read from `codes/wording.yaml`.

Owns nothing medical in code: each text is data with an owner and a review date. Wordings of single violation codes
stand beside their rules in `codes/code_*.yaml`; emergency cards are the notices of triage.
"""

from __future__ import annotations

from pathlib import Path

import yaml
from pydantic import BaseModel, ConfigDict, Field

WORDING_FILE = "wording.yaml"


class Wording(BaseModel):
    """Reviewed texts: `fallback` for a blocked answer, `emergency` and `crisis` for one that missed either,

    `combination` for a dangerous pair (with `{a}`, `{b}`, `{why}`), the rest for requests that are refused.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    owner: str
    review_date: str
    fallback: str = Field(min_length=10)
    emergency: str = Field(min_length=10)
    crisis: str = Field(min_length=10)
    combination: str = Field(min_length=10)
    serious_combination: str = Field(min_length=10)

    @classmethod
    def load(cls, folder: Path) -> Wording:
        """Raises `OSError` or `pydantic.ValidationError`."""
        return cls.model_validate(yaml.safe_load((folder / WORDING_FILE).read_text(encoding="utf-8")))
