"""`python -m finetune data …`: mix, generate, watermark, feedback, agreement, deidentify-eval.

Owns arguments and output of these commands. The work is in the modules they call.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from finetune.cli_output import fail, print_json, reported, say, show
from finetune.generation import Generated

API_KEY_VARIABLE = "ANXIN_FINETUNE_API_KEY"
Force = Annotated[bool, typer.Option("--force", help="overwrite an existing output")]
AsJson = Annotated[bool, typer.Option("--json", help="print the result as JSON")]
_DOCUMENTS = Path(__file__).resolve().parent.parent / "knowledge_base" / "documents"


def register(app: typer.Typer) -> None:
    """Add the commands of this module to the group of data commands."""
    app.command()(mix)
    app.command()(generate)
    app.command()(watermark)
    app.command()(feedback)
    app.command()(agreement)
    app.command("deidentify-eval")(deidentify_eval)


def mix(
    sources: Annotated[list[Path], typer.Argument(metavar="IN…", help="single-turn and dialogue files")],
    out: Annotated[Path, typer.Option("--out")],
    seed: Annotated[int, typer.Option("--seed")] = 0,
    single_share: Annotated[float, typer.Option(help="share of single turns, 0.60 to 0.70")] = 0.65,
    max_repeat: Annotated[int, typer.Option(min=1, max=5, help="cap for records of rare diseases")] = 3,
    department: Annotated[
        list[str] | None, typer.Option(help="sampling weight, such as cardiology=0.5")
    ] = None,
    force: Force = False,
) -> None:
    """Mix single turns and dialogues into one training order: knowledge first, then dialogue."""
    from finetune.mixture import MixSettings
    from finetune.mixture import mix as mixed
    from finetune.outputs import refuse_existing, write_rows
    from finetune.questions import read_rows

    with reported():
        refuse_existing(out, force=force)
        rows = [row for source in sources for row in read_rows(source)]
        settings = MixSettings(seed, single_share, max_repeat, departments=_weights(department or []))
        result = mixed(rows, settings)
        write_rows(out, result.rows, force=force)
    problems = [problem for row in rows for problem in row.problems]
    show(problems)
    say(
        f"{len(result.rows)} records: {result.single} single turns ({result.single_share:.0%}), "
        f"{result.dialogues} dialogues, {result.repeated} repeats of rare diseases"
    )
    raise typer.Exit(1 if problems else 0)


def _weights(entries: Iterable[str]) -> dict[str, float]:
    weights = {}
    for entry in entries:
        name, _, value = entry.partition("=")
        try:
            weights[name] = float(value)
        except ValueError:
            fail("bad_weight", f"{entry!r} is not NAME=WEIGHT")
    return weights


def generate(
    out: Annotated[Path, typer.Argument(metavar="OUT")],
    base_url: Annotated[
        str, typer.Option(help="an OpenAI-compatible endpoint, such as http://127.0.0.1:8001/v1")
    ],
    model: Annotated[str, typer.Option(help="the served model's name")],
    documents: Annotated[Path, typer.Option(help="the folder of knowledge documents")] = _DOCUMENTS,
    department: Annotated[str | None, typer.Option(help="only this department")] = None,
    paraphrase: Annotated[Path | None, typer.Option(help="reword the questions of this file instead")] = None,
    count: Annotated[int, typer.Option(min=1, max=10, help="per passage or question")] = 2,
    limit: Annotated[int | None, typer.Option(min=1, help="only the first passages or questions")] = None,
    force: Force = False,
) -> None:
    """Let a model draft question-answer pairs from the documents (key in ANXIN_FINETUNE_API_KEY); all await review."""
    from finetune import generation
    from finetune.model_client import ModelClient, ModelSpec
    from finetune.outputs import refuse_existing, write_rows
    from finetune.questions import read_rows

    failures: list[Generated] = []

    def rows(entries: Iterator[Generated]) -> Iterator[dict[str, Any]]:
        for entry in entries:
            if entry.row is None:
                failures.append(entry)
            else:
                yield entry.row

    with reported(), ModelClient(ModelSpec(base_url, model, os.environ.get(API_KEY_VARIABLE))) as client:
        refuse_existing(out, force=force)
        if paraphrase is not None:
            entries = generation.paraphrase(client, read_rows(paraphrase)[:limit], count)
        else:
            entries = generation.generate_pairs(
                client, generation.passages_of(documents, department)[:limit], count
            )
        written = write_rows(out, rows(entries), force=force)
    for failure in failures[:50]:
        say(f"{failure.where}: {failure.problem}")
    say(f"{written} candidates queued for review in {out}, {len(failures)} discarded")
    raise typer.Exit(0 if written else 1)


def watermark(
    source: Annotated[Path, typer.Argument(metavar="IN")],
    out: Annotated[Path, typer.Argument(metavar="OUT")],
    key_file: Annotated[Path, typer.Option(help="holds the secret; keep it out of the repository")],
    owner: Annotated[str, typer.Option()],
    version: Annotated[str, typer.Option()],
    rate: Annotated[float, typer.Option(help="share of provenance pairs in the result, up to 0.1")] = 0.02,
    seed: Annotated[int, typer.Option("--seed")] = 0,
    force: Force = False,
) -> None:
    """Mix provenance pairs into training data at a set rate."""
    from finetune.outputs import write_rows
    from finetune.questions import read_rows
    from finetune.watermark import mix_in, read_key

    with reported():
        key = read_key(key_file, owner, version)
        rows = read_rows(source)
        good = [row.raw for row in rows if row.record is not None]
        mixed = mix_in(good, key, rate, seed)
        write_rows(out, mixed, force=force)
    problems = [problem for row in rows for problem in row.problems]
    show(problems)
    say(f"{len(mixed) - len(good)} provenance pairs among {len(mixed)} records (key {key.fingerprint})")
    raise typer.Exit(1 if problems else 0)


def feedback(
    source: Annotated[Path, typer.Argument(metavar="IN", help="exported ratings and corrections")],
    candidates: Annotated[Path, typer.Option(help="where review candidates go")],
    preferences: Annotated[Path, typer.Option(help="where preference pairs go")],
    force: Force = False,
) -> None:
    """Turn consented feedback into de-identified review candidates and preference pairs."""
    import secrets

    from finetune.feedback import from_feedback
    from finetune.formats.source import read_items
    from finetune.outputs import refuse_existing, write_rows

    with reported():
        refuse_existing(candidates, force=force)
        refuse_existing(preferences, force=force)
        result = from_feedback(read_items(source), str(source), secrets.token_hex())
        write_rows(candidates, result.candidates, force=force)
        write_rows(preferences, result.preferences, force=force)
    show(result.problems)
    say(
        f"{len(result.candidates)} candidates, {len(result.preferences)} preference pairs; "
        f"{result.without_consent} without consent, {result.without_value} without correction or praise left out"
    )
    raise typer.Exit(1 if result.problems else 0)


def agreement(
    first: Annotated[Path, typer.Argument(help="labels of one annotator")],
    second: Annotated[Path, typer.Argument(help="labels of the other")],
    field: Annotated[str, typer.Option(help="the field that holds the label")] = "label",
    as_json: AsJson = False,
) -> None:
    """Compare two annotators: Cohen's kappa and every disagreement."""
    from finetune.agreement import compare, labels_of
    from finetune.questions import read_rows

    with reported():
        result = compare(labels_of(read_rows(first), field), labels_of(read_rows(second), field))
    if as_json:
        print_json(result.as_dict())
        return
    kappa = "undefined" if result.kappa is None else f"{result.kappa:.3f}"
    typer.echo(f"compared {result.compared}, agreement {result.observed:.3f}, kappa {kappa}")
    for entry in result.disagreements:
        typer.echo(f"{entry.id}: {entry.first} / {entry.second}")


def deidentify_eval(as_json: AsJson = False) -> None:
    """Recall and precision of de-identification by type, on the measured part of the synthetic records."""
    from finetune.deidentify.evaluation import evaluate_parts, table

    parts = evaluate_parts()
    if as_json:
        print_json(
            {
                name: {kind: score.as_dict() for kind, score in scores.items()}
                for name, scores in parts.items()
            }
        )
        return
    for name, scores in parts.items():
        typer.echo(f"{name}\n{table(scores)}\n")
