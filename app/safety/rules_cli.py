"""The `anxin rules` commands: check, test, diff, explain, build, and `codes` for the review's.

Owns what a department's clinician runs before signing a rule version. The engine and its files are elsewhere; these
commands only read them (`build` writes the semantic detector).
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from app.safety.codes_cli import codes_app
from app.safety.context import Context
from app.safety.normalise import normalise
from app.safety.triage import TriageEngine
from app.safety.triage_rulebook import RULES_FOLDER, Rulebook, RuleFileError, load_rulebook
from app.safety.triage_rules import Rule
from app.safety.triage_semantic import Semantic, is_current

rules_app = typer.Typer(help="Check, test, compare and explain the triage rules.", no_args_is_help=True)
rules_app.add_typer(codes_app, name="codes")

Folder = Annotated[Path, typer.Option("--folder", help="Folder of rule files.")]


def _book(folder: Path) -> Rulebook:
    try:
        return load_rulebook(folder)
    except RuleFileError as error:
        typer.echo(f"not usable: {error}", err=True)
        raise typer.Exit(1) from error


@rules_app.command()
def check(folder: Folder = RULES_FOLDER) -> None:
    """Validate every rule file and the semantic detector; exits non-zero when a file cannot be used."""
    book = _book(folder)
    try:
        semantic = Semantic.load(folder)
    except (ValueError, RuleFileError) as error:
        typer.echo(f"not usable: {error}", err=True)
        raise typer.Exit(1) from error
    categories = 0 if semantic is None else len(semantic.categories)
    typer.echo(
        f"version {book.version}: {len(book.rules)} rules, {len(book.lexicon.findings)} findings, "
        f"{categories} categories of the semantic detector"
    )
    if not is_current(folder):
        typer.echo("the messages changed since the detector was trained; run `anxin rules build`", err=True)
        raise typer.Exit(1)


def failed_examples(engine: TriageEngine) -> list[str]:
    """One line for each rule example that does not do what it says."""
    lines: list[str] = []
    for rule in engine.book.rules:
        lines += [
            f"{rule.id} should fire: {t}" for t in rule.examples.positive if not _fires(engine, rule, t)
        ]
        lines += [
            f"{rule.id} should not fire: {t}" for t in rule.examples.negative if _fires(engine, rule, t)
        ]
    return lines


def _fires(engine: TriageEngine, rule: Rule, text: str) -> bool:
    return rule.id in engine.assess(text).rules


@rules_app.command()
def test(folder: Folder = RULES_FOLDER) -> None:
    """Run every rule's own examples; exits non-zero when one fails."""
    _book(folder)
    engine = TriageEngine.load(folder, embed=None, semantic=False)
    failures = failed_examples(engine)
    for line in failures:
        typer.echo(line)
    examples = sum(len(r.examples.positive) + len(r.examples.negative) for r in engine.book.rules)
    typer.echo(f"{examples - len(failures)} of {examples} examples pass")
    if failures:
        raise typer.Exit(1)


def differences(old: Rulebook, new: Rulebook) -> list[str]:
    """What a reviewer must look at between two rule sets: rules and findings added, removed, changed."""
    before, after = {r.id: r for r in old.rules}, {r.id: r for r in new.rules}
    lines = [f"+ rule {name} ({after[name].level})" for name in sorted(after.keys() - before.keys())]
    lines += [f"- rule {name} ({before[name].level})" for name in sorted(before.keys() - after.keys())]
    for name in sorted(before.keys() & after.keys()):
        fields = [f for f in Rule.model_fields if getattr(before[name], f) != getattr(after[name], f)]
        if fields:
            lines.append(f"~ rule {name}: {', '.join(fields)}")
    first, second = old.lexicon.findings, new.lexicon.findings
    lines += [f"+ finding {name}" for name in sorted(second.keys() - first.keys())]
    lines += [f"- finding {name}" for name in sorted(first.keys() - second.keys())]
    lines += [
        f"~ finding {name}" for name in sorted(first.keys() & second.keys()) if first[name] != second[name]
    ]
    return lines


@rules_app.command()
def diff(old: Path, new: Annotated[Path, typer.Argument()] = RULES_FOLDER) -> None:
    """Compare two folders of rules."""
    before, after = _book(old), _book(new)
    typer.echo(f"{before.version} -> {after.version}")
    for line in differences(before, after):
        typer.echo(line)


@rules_app.command()
def explain(text: str, folder: Folder = RULES_FOLDER, semantic: bool = True) -> None:
    """Show how TEXT is read: findings with their status, numbers, rules that fire, questions."""
    book = _book(folder)
    engine = TriageEngine.load(folder, semantic=semantic)
    scan = book.lexicon.scan(normalise(text).text)
    context = Context(scan)
    typer.echo(f"read as: {scan.text}")
    for mention in scan.mentions:
        status = context.status(mention, book.lexicon.findings[mention.finding].negatable)
        typer.echo(f"  {mention.finding:<24} {scan.text[mention.start : mention.end]}  [{status}]")
    for measurement in scan.measurements:
        typer.echo(f"  {measurement.name:<24} {measurement.value:g}")
    result = engine.assess(text)
    typer.echo(f"level: {result.level}  category: {result.category}  rules: {', '.join(result.rules)}")
    for question in result.questions:
        typer.echo(f"  asks: {question}")


@rules_app.command()
def build(
    folder: Folder = RULES_FOLDER,
    background: Annotated[
        Path | None, typer.Option(help="JSON lines with real questions (question), all taken as routine.")
    ] = None,
) -> None:
    """Fit the semantic detector on the folder's labelled messages again (needs scikit-learn, a few minutes)."""
    try:
        from app.safety.triage_train import build as build_detector
    except ImportError as error:
        typer.echo(f"not possible here: {error}; install the development tools", err=True)
        raise typer.Exit(1) from error
    typer.echo(f"trained on {build_detector(folder, background)} messages")
