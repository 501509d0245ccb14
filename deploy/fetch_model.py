"""Brings a model into a folder once, from Hugging Face or ModelScope; does nothing where the folder already has it.

Runs as a job of its own with access to the internet, so that the model server needs none. Environment: MODEL_DIR,
MODEL_ID, MODEL_HUB (huggingface, modelscope or none), MODEL_REVISION (optional).
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

DONE = ".complete"
PATTERNS = ["*.json", "*.safetensors", "*.txt", "*.jinja", "*.model", "tokenizer*"]


def is_there(folder: Path, wanted: str) -> bool:
    """A folder that this job completed for the same model, or one that somebody filled by hand (no mark at all)."""
    if not (folder / "config.json").is_file():
        return False
    mark = folder / DONE
    return mark.read_text().strip() == wanted if mark.exists() else not (folder / ".fetching").exists()


def fetch(hub: str, model: str, revision: str | None, folder: Path) -> None:
    if hub == "huggingface":
        from huggingface_hub import snapshot_download

        snapshot_download(model, revision=revision, local_dir=str(folder), allow_patterns=PATTERNS)
    elif hub == "modelscope":
        from modelscope import snapshot_download as from_modelscope

        from_modelscope(model, revision=revision, local_dir=str(folder), allow_patterns=PATTERNS)
    else:
        raise SystemExit(
            f"no model in {folder} and MODEL_HUB={hub!r}: use huggingface or modelscope, or fill the folder"
        )


def main() -> int:
    folder = Path(os.environ["MODEL_DIR"])
    hub, model = os.environ.get("MODEL_HUB", "huggingface"), os.environ["MODEL_ID"]
    revision = os.environ.get("MODEL_REVISION", "")
    wanted = f"{model}@{revision if revision else 'default'}"
    if is_there(folder, wanted):
        print(f"{folder}: {wanted} is there")
        return 0
    folder.mkdir(parents=True, exist_ok=True)
    (folder / ".fetching").touch()
    fetch(hub, model, revision if revision else None, folder)
    (folder / DONE).write_text(wanted)
    (folder / ".fetching").unlink()
    print(f"{folder}: {wanted} fetched from {hub}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
