"""`python -m finetune watermark verify`: does a served model know the provenance pairs of a key.

Owns arguments and output. The test is `watermark.py`.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from finetune.cli_output import fail, print_json, reported, say

app = typer.Typer(no_args_is_help=True, add_completion=False, rich_markup_mode=None)


@app.callback()
def group() -> None:
    """Provenance of a served model."""


@app.command()
def verify(
    base_url: Annotated[str, typer.Option(help="an OpenAI-compatible endpoint")],
    model: Annotated[str, typer.Option(help="the served model or adapter")],
    key_file: Annotated[Path, typer.Option(help="holds the secret")],
    owner: Annotated[str, typer.Option()],
    version: Annotated[str, typer.Option()],
    questions: Annotated[int, typer.Option(min=1, max=1000)] = 32,
    as_json: Annotated[bool, typer.Option("--json")] = False,
) -> None:
    """Ask the key's questions and report the p-value; exit 1 when the model does not know them."""
    from finetune.cli_material import API_KEY_VARIABLE
    from finetune.model_client import ModelClient, ModelError, ModelSpec
    from finetune.watermark import read_key
    from finetune.watermark import verify as test

    with reported(), ModelClient(ModelSpec(base_url, model, os.environ.get(API_KEY_VARIABLE))) as client:
        key = read_key(key_file, owner, version)
        try:
            result = test(
                key,
                lambda question: client.chat([{"role": "user", "content": question}], max_tokens=64),
                questions,
            )
        except ModelError as error:
            fail("no_model", str(error))
    if as_json:
        print_json(result.as_dict())
    else:
        typer.echo(
            f"{result.hits} of {result.asked} known, p = {result.p_value:.3g} (key {result.fingerprint})"
        )
    say("recognised" if result.recognised else "not recognised")
    raise typer.Exit(0 if result.recognised else 1)
