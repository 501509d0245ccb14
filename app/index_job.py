"""The index job of a deployment: builds and activates the index when there is none for the documents as they are.

    python -m app.index_job

Owns nothing but the start; building is in `app/serving.py` and `knowledge_base/`.
"""

from __future__ import annotations

from rich.console import Console

from app.serving import ensure_index
from app.settings import load_settings


def main() -> None:
    name = ensure_index(load_settings(), Console())
    print(f"index: {name}")


if __name__ == "__main__":
    main()
