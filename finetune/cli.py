"""`python -m finetune`: the data commands of this half, and the training commands of `cli_train.py` where it loads.

Owns the composition of the command line only.
"""

from __future__ import annotations

import importlib
import sys

import typer

from finetune.cli_data import app as data_app
from finetune.cli_material import register as register_material
from finetune.cli_watermark import app as watermark_app

app = typer.Typer(no_args_is_help=True, add_completion=False, rich_markup_mode=None, help=__doc__)
register_material(data_app)
app.add_typer(data_app, name="data", help="check, convert, clean, divide and make training data")
app.add_typer(watermark_app, name="watermark", help="provenance of a served model")
_TRAINING = "finetune.cli_train"


def mount_training(target: typer.Typer) -> None:
    """Add the commands of the training half; without its packages the data commands still work."""
    try:
        module = importlib.import_module(_TRAINING)
    except ImportError as error:
        target.info.epilog = f"training commands are not available here ({error.name} is not installed)"
        return
    training: typer.Typer = module.app
    target.registered_commands += training.registered_commands
    target.registered_groups += training.registered_groups


mount_training(app)


def main() -> None:
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(encoding="utf-8", errors="replace")
    app()
