"""The training half of `python -m finetune`: train, distil, merge, export, publish (evaluation: `cli_evaluate.py`).

Owns arguments, output and exit codes only. Nothing heavy is imported before a command runs.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import httpx
import typer

from finetune import cli_evaluate
from finetune.model_client import ModelClient, ModelSpec
from finetune.training.config import describe_options, load_settings, parse_overrides
from finetune.training.errors import FinetuneError

app = typer.Typer(no_args_is_help=True, add_completion=False, rich_markup_mode=None)
_EXTRA = {"allow_extra_args": True, "ignore_unknown_options": True}


@contextmanager
def reported() -> Iterator[None]:
    """A foreseeable failure as one line on standard error and its exit code."""
    from finetune.problems import DataError

    try:
        yield
    except FinetuneError as error:
        typer.echo(f"{error.code}: {error}", err=True)
        raise typer.Exit(error.exit_code) from error
    except DataError as error:
        typer.echo(f"{error.code}: {error}", err=True)
        raise typer.Exit(2) from error


def offline() -> None:
    """A base that is a folder needs no hub; trackers stay off unless a run asks for one."""
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")


@app.command(context_settings=_EXTRA, epilog=describe_options())
def train(
    context: typer.Context,
    config: Annotated[Path | None, typer.Option(help="a TOML run file; options override it")] = None,
    dry_run: Annotated[bool, typer.Option(help="check data and memory, train nothing")] = False,
) -> None:
    """Train an adapter (or a whole model). Every setting is an option: --model_name_or_path, --data_path, …"""
    offline()
    with reported():
        settings = load_settings(config, parse_overrides(context.args))
        from finetune.training import run

        if dry_run:
            typer.echo(run.dry_run(settings))
            return
        folder = run.train(settings)
        typer.echo(f"finished: {folder}\nreport: {settings.output_dir / 'report.html'}")


@app.command()
def distil(
    source: Path,
    target: Path,
    base_url: Annotated[str, typer.Option(help="OpenAI-compatible endpoint, such as http://host:8000/v1")],
    model: Annotated[str, typer.Option(help="the teacher's name there")],
    api_key_env: Annotated[
        str, typer.Option(help="environment variable that holds the key")
    ] = "OPENAI_API_KEY",
    max_tokens: int = 1024,
    limit: int | None = None,
) -> None:
    """Let a larger teacher answer SOURCE's questions; TARGET's records wait for human review."""
    from finetune.training.distil import distil as ask_all

    with reported():
        teacher = ModelClient(ModelSpec(base_url, model, os.environ.get(api_key_env)))
        count = ask_all(source, target, teacher, model, max_tokens=max_tokens, limit=limit)
        typer.echo(f"{count} new answers in {target}; a person must approve each before it can be trained on")


def client_for(base_url: str, key_env: str) -> httpx.Client:
    key = os.environ.get(key_env, "")
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    return httpx.Client(base_url=base_url, headers=headers, timeout=60.0, trust_env=False)


@app.command()
def merge(
    base: Annotated[str, typer.Option(help="the base model")],
    adapter: Annotated[Path, typer.Option(help="the adapter folder")],
    out: Annotated[Path, typer.Option(help="where the whole model goes")],
    dtype: str = "bfloat16",
    gguf: Annotated[Path | None, typer.Option(help="also convert with llama.cpp, where installed")] = None,
) -> None:
    """Write an adapter into its base; refused when the logits of the two differ."""
    offline()
    with reported():
        from finetune.export import to_gguf
        from finetune.merge import merge as run_merge

        done = run_merge(base, adapter, out, dtype=dtype)
        typer.echo(
            f"{done.folder}: largest logit difference {done.difference:.2e} (largest logit {done.scale:.3g})"
        )
        if gguf is not None:
            typer.echo(str(to_gguf(out, gguf)))


@app.command()
def export(
    adapter: Path,
    out: Path,
    version: Annotated[str, typer.Option(help="<department>-v<N>")],
    evaluation: Annotated[Path | None, typer.Option(help="report.json of `evaluate`")] = None,
    licence: str = "",
) -> None:
    """Copy a finished adapter with its model card and figures."""
    with reported():
        from finetune.export import export as run_export

        typer.echo(str(run_export(adapter, out, version=version, evaluation=evaluation, licence=licence)))


@app.command()
def publish(
    adapter: Path,
    name: Annotated[str, typer.Option(help="<department>-v<N>; never used twice")],
    service: Annotated[str, typer.Option(help="address of the service")] = "http://127.0.0.1:8000",
    token_env: Annotated[
        str, typer.Option(help="environment variable with an operator's token")
    ] = "ANXIN_TOKEN",
    served_path: Annotated[str | None, typer.Option(help="the folder as the model server sees it")] = None,
) -> None:
    """Register an exported adapter with the service; loading and activating it happens there."""
    with reported():
        from finetune import publish as publishing

        body = publishing.registration(adapter, name, served_path)
        reply = publishing.publish(client_for(service, token_env), body)
        typer.echo(f"registered {reply.get('name', name)}: {reply.get('state', 'registered')}")


cli_evaluate.register(app, reported)
