"""What the data commands share on the way out: problems as lines, results as JSON, foreseeable failures as one line.

Owns exit codes: 0 fine, 1 the data has problems, 2 the command could not do its work.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import NoReturn

import typer

from finetune.outputs import dump
from finetune.problems import DataError, Problem
from knowledge_base.document import DocumentError
from retrieval.errors import EmbedderUnavailable
from retrieval.types import Embedder

MAX_SHOWN = 200


@contextmanager
def reported() -> Iterator[None]:
    try:
        yield
    except DataError as error:
        fail(error.code, str(error))
    except DocumentError as error:
        fail("bad_document", str(error))
    except EmbedderUnavailable as error:
        fail("no_embedder", f"{error}; --no-embeddings leaves paraphrases out")


def fail(code: str, message: str) -> NoReturn:
    typer.echo(f"{code}: {message}", err=True)
    raise typer.Exit(2)


def say(text: str) -> None:
    """To standard error, so that standard output stays machine-readable."""
    typer.echo(text, err=True)


def print_json(value: object) -> None:
    # Lone surrogates in quoted input cannot be encoded; they are shown as they would be escaped.
    sys.stdout.write(dump(value).encode("utf-8", "backslashreplace").decode("utf-8") + "\n")


def show(problems: Iterable[Problem]) -> int:
    """Print the first problems; the number of all of them."""
    count = 0
    for problem in problems:
        count += 1
        if count <= MAX_SHOWN:
            typer.echo(str(problem).encode("utf-8", "backslashreplace").decode("utf-8"))
    if count > MAX_SHOWN:
        typer.echo(f"… and {count - MAX_SHOWN} more (--json lists all)")
    return count


def embedder_unless(no_embeddings: bool) -> Embedder | None:
    """Raises EmbedderUnavailable when it is wanted and does not load."""
    if no_embeddings:
        return None
    from finetune.leak import default_embedder

    return default_embedder()
