"""`python -m finetune data …`: check, convert, deidentify, dedupe, split, open-test, leak.

Owns arguments and output of these commands. The work is in the modules they call; the commands that make new material
are `cli_material.py`.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from finetune.cli_output import embedder_unless, print_json, reported, say, show
from finetune.formats.write import Target
from finetune.problems import Code, Problem, Severity
from finetune.settings import DataSettings

app = typer.Typer(no_args_is_help=True, add_completion=False, rich_markup_mode=None)

Force = Annotated[bool, typer.Option("--force", help="overwrite an existing output")]
AsJson = Annotated[bool, typer.Option("--json", help="print the whole result as JSON")]
NoEmbeddings = Annotated[
    bool, typer.Option("--no-embeddings", help="leave out the search for paraphrases (faster)")
]


@app.command()
def check(
    file: Annotated[Path, typer.Argument(help="JSON lines, JSON array or CSV")], as_json: AsJson = False
) -> None:
    """Check every record; exit 1 when there are errors, each with file, line and code."""
    from finetune.checks_file import check_file

    with reported():
        report = check_file(file)
    if as_json:
        print_json(report.as_dict())
    else:
        show(report.problems)
        say(
            f"{file}: {report.records} records, {len(report.errors)} errors, {len(report.warnings)} warnings"
            + (f", {report.demo} marked demo" if report.demo else "")
        )
    raise typer.Exit(1 if report.errors else 0)


@app.command()
def convert(
    source: Annotated[Path, typer.Argument(metavar="IN")],
    out: Annotated[Path, typer.Argument(metavar="OUT", help="*.json gives an array, else JSON lines")],
    to: Annotated[Target, typer.Option("--to", help="the format to write")],
    force: Force = False,
) -> None:
    """Write every readable record in another format; what cannot be read or held is reported and left out."""
    from finetune.formats import ConversionError, read_records, to_target
    from finetune.outputs import write_rows

    problems: list[Problem] = []

    def rows() -> Iterator[dict[str, Any]]:
        for item in read_records(source):
            problems.extend(item.problems)
            if item.record is None:
                continue
            try:
                row = to_target(item.record, to)
                str(row).encode("utf-8")
            except ConversionError as error:
                problems.append(Problem(item.file, item.line, Code.CANNOT_CONVERT, str(error)))
            except UnicodeEncodeError:
                text = "contains half of a surrogate pair"
                problems.append(Problem(item.file, item.line, Code.BAD_ENCODING, text))
            else:
                yield row

    with reported():
        count = write_rows(out, rows(), force=force)
    show(problems)
    say(f"{count} records written to {out}, {len(problems)} left out")
    raise typer.Exit(1 if problems else 0)


@app.command()
def deidentify(
    source: Annotated[
        Path, typer.Argument(metavar="IN", help="records of any shape; *.txt is read line by line")
    ],
    out: Annotated[Path, typer.Argument(metavar="OUT")],
    report: Annotated[
        Path, typer.Option("--report", help="where to list the finds (positions, no originals)")
    ],
    secret_file: Annotated[
        Path | None, typer.Option(help="keeps patient keys and stand-ins equal between runs")
    ] = None,
    force: Force = False,
) -> None:
    """Replace personal data by consistent stand-ins; the report lists type and position of each find."""
    from finetune.deidentify.files import deidentify_file

    with reported():
        result = deidentify_file(source, out, report, secret_file=secret_file, force=force)
    show(result.problems)
    kinds = ", ".join(f"{name} {count}" for name, count in sorted(result.counts.items()))
    say(f"{result.records} records written to {out}; found: {kinds or 'nothing'}")
    raise typer.Exit(1 if result.problems else 0)


@app.command()
def dedupe(
    source: Annotated[Path, typer.Argument(metavar="IN")],
    out: Annotated[Path, typer.Argument(metavar="OUT")],
    no_embeddings: NoEmbeddings = False,
    as_json: AsJson = False,
    force: Force = False,
) -> None:
    """Remove exact repeats, near-duplicates and the same question in other words."""
    from finetune.dedupe import counts
    from finetune.dedupe import dedupe as clean
    from finetune.outputs import refuse_existing, write_rows
    from finetune.questions import read_rows

    with reported():
        refuse_existing(out, force=force)
        rows = read_rows(source)
        kept, removed = clean(rows, DataSettings(), embedder=embedder_unless(no_embeddings))
        write_rows(out, (row.raw for row in kept), force=force)
    problems = [problem for row in rows for problem in row.problems]
    if as_json:
        listed = [entry.as_dict() for entry in removed]
        print_json(
            {"kept": len(kept), "removed": listed, "counts": counts(removed), "unreadable": len(problems)}
        )
    else:
        show(problems)
        say(f"{len(kept)} kept, {len(removed)} removed: {counts(removed)}")
    raise typer.Exit(1 if problems else 0)


@app.command()
def split(
    source: Annotated[Path, typer.Argument(metavar="IN")],
    out: Annotated[Path, typer.Option("--out", help="a new or empty folder")],
    seed: Annotated[int, typer.Option("--seed")],
    by_time: Annotated[
        bool, typer.Option("--by-time", help="train on the oldest, test on the newest")
    ] = False,
    group: Annotated[
        list[str] | None, typer.Option("--group", help="another field that must not straddle")
    ] = None,
    group_twins: Annotated[bool, typer.Option("--group-twins", help="keep near twins on one side")] = False,
    benchmark: Annotated[list[Path] | None, typer.Option(help="files no record may be a twin of")] = None,
    no_embeddings: NoEmbeddings = False,
    as_json: AsJson = False,
    force: Force = False,
) -> None:
    """Divide by size, disease, patient and document; refused while near twins lie on both sides."""
    from finetune import split_files
    from finetune.leak import BENCHMARKS
    from finetune.questions import read_rows

    against = tuple(path for path in BENCHMARKS if path.exists()) if benchmark is None else tuple(benchmark)
    request = split_files.SplitRequest(
        source, out, seed, by_time, tuple(group or ()), group_twins, force, against
    )
    with reported():
        rows = read_rows(source)
        problems = [problem for row in rows for problem in row.problems]
        result = split_files.split(
            rows,
            request,
            DataSettings(),
            embedder=embedder_unless(no_embeddings),
            benchmarks=[read_rows(path) for path in against],
        )
    leaks = [leak.as_dict() for leak in result.leaks]
    if as_json:
        print_json({"plan": str(result.plan), "leaks": leaks, "unreadable": len(problems), **result.manifest})
    else:
        show(problems)
        for leak in result.leaks[:50]:
            typer.echo(f"twin: line {leak.test_line} and line {leak.train_line} ({leak.kind}, {leak.score})")
        for part in result.manifest.get("sets", []):
            say(f"{part['file']}: {part['records']} records")
    if result.leaks:
        say(
            f"refused: {len(leaks)} near twins would straddle; run `data dedupe` first, or pass --group-twins"
        )
    raise typer.Exit(1 if result.leaks or problems else 0)


@app.command("open-test")
def open_test(
    folder: Annotated[Path, typer.Argument(help="the folder of a split")],
    release: Annotated[str, typer.Option("--release", help="the release that is measured")],
) -> None:
    """Print the test files and record the opening; a release can open them once."""
    from finetune import split_files

    with reported():
        paths = split_files.open_test(folder, release)
    for path in paths:
        typer.echo(str(path))


@app.command()
def leak(
    train: Annotated[Path, typer.Argument(metavar="TRAIN")],
    test: Annotated[Path, typer.Argument(metavar="TEST", help="records or bare questions")],
    no_embeddings: NoEmbeddings = False,
    as_json: AsJson = False,
) -> None:
    """List test questions that have a near twin in training; exit 1 when there are any."""
    from finetune.leak import leaks_between
    from finetune.questions import questions_of, read_rows

    with reported():
        rows = read_rows(train), read_rows(test)
        leaks = leaks_between(*rows, DataSettings(), embedder=embedder_unless(no_embeddings))
    unreadable = _unreadable(rows[0], bare=False) + _unreadable(
        rows[1], bare=bool(questions_of(rows[1], openings=False))
    )
    if as_json:
        print_json({"leaks": [entry.as_dict() for entry in leaks]})
    else:
        for entry in leaks:
            typer.echo(f"test {entry.test} is like train {entry.train} ({entry.kind}, {entry.score})")
    for problem in unreadable:
        say(str(problem))
    say(f"{len(leaks)} leaks")
    raise typer.Exit(1 if leaks or unreadable else 0)


def _unreadable(rows: Any, *, bare: bool) -> list[Problem]:
    """Broken items; a benchmark file of bare questions is no broken training file."""
    found = [problem for row in rows for problem in row.problems if problem.severity is Severity.ERROR]
    format_codes = {Code.UNKNOWN_FORMAT, Code.MISSING_FIELD}
    return [problem for problem in found if not (bare and problem.code in format_codes)]
