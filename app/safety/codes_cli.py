"""The `anxin rules codes` commands: check, test and diff of the review codes and the input rules.

Owns what a department's clinician runs before signing a version of the codes. Reading and applying the files is in
`review_rules.py` and `injection.py`; these commands only read.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated

import typer

from app.safety.injection import InputGuard, InputRule
from app.safety.review import CODES_FOLDER, UNUSABLE, SafetyReviewer, folder_version
from app.safety.review_rules import Rule, RuleSet, Surroundings
from app.safety.review_text import View, fold
from app.safety.types import Audience

codes_app = typer.Typer(help="Check, test and compare the review codes.", no_args_is_help=True)

Folder = Annotated[Path, typer.Option("--folder", help="Folder of code files.")]
_COMPARED = (
    "pattern",
    "also",
    "about",
    "never",
    "question",
    "unless",
    "audience",
    "action",
    "wording",
    "examples",
)


def _loaded(folder: Path) -> tuple[RuleSet, InputGuard]:
    try:
        SafetyReviewer.load(folder)
        return RuleSet.load(folder), InputGuard.of_folder(folder)
    except UNUSABLE as error:
        typer.echo(f"not usable: {error}", err=True)
        raise typer.Exit(1) from error


def input_rules(guard: InputGuard) -> dict[str, InputRule]:
    """Every input and document rule by id."""
    kinds = (rule for rules in guard.file.kinds.values() for rule in rules.rules)
    return {rule.id: rule for rule in (*kinds, *guard.file.document)}


@codes_app.command()
def check(folder: Folder = CODES_FOLDER) -> None:
    """Validate every file of the folder; exits non-zero when one cannot be used."""
    rules, guard = _loaded(folder)
    codes = {rule.code for rule in rules.rules}
    typer.echo(
        f"version {folder_version(folder)}: {len(rules.rules)} rules of {len(codes)} codes, "
        f"{len(input_rules(guard))} input rules"
    )


def failed_examples(rules: RuleSet, guard: InputGuard) -> list[str]:
    """One line for each example that its rule does not judge as it says."""
    return [*_failed_codes(rules), *_failed_inputs(guard)]


def _failed_codes(rules: RuleSet) -> Iterator[str]:
    for rule in rules.rules:
        for text in rule.examples.unsafe:
            if rule.id not in _broken(rules, rule, text):
                yield f"{rule.id} should stop: {text}"
        for text in rule.examples.safe:
            if _broken(rules, rule, text):
                yield f"{rule.id} should pass: {text}"


def _broken(rules: RuleSet, rule: Rule, text: str) -> list[str]:
    question = fold(rule.question_example)
    audience = Audience.PATIENT if Audience.PATIENT in rule.audience else Audience.CLINICIAN
    around = Surroundings(rules.lexicon.mask(question), question, audience)
    return [found.rule.id for found in rules.check(View(text, rules.lexicon), around)]


def _failed_inputs(guard: InputGuard) -> Iterator[str]:
    for kind, group in guard.file.kinds.items():
        for rule in group.rules:
            yield from (
                f"{rule.id} should refuse: {t}" for t in rule.unsafe if guard.assess(t).kind is not kind
            )
            yield from (f"{rule.id} should pass: {t}" for t in rule.safe if guard.assess(t).refused)
    for rule in guard.file.document:
        yield from (f"{rule.id} should flag: {t}" for t in rule.unsafe if not guard.flag_document(t))
        yield from (f"{rule.id} should pass: {t}" for t in rule.safe if guard.flag_document(t))


@codes_app.command("test")
def run_examples(folder: Folder = CODES_FOLDER) -> None:
    """Run every rule's own examples; exits non-zero when one fails."""
    rules, guard = _loaded(folder)
    failures = failed_examples(rules, guard)
    for line in failures:
        typer.echo(line)
    examples = sum(len(rule.examples.unsafe) + len(rule.examples.safe) for rule in rules.rules)
    examples += sum(len(rule.unsafe) + len(rule.safe) for rule in input_rules(guard).values())
    typer.echo(f"{examples - len(failures)} of {examples} examples pass")
    if failures:
        raise typer.Exit(1)


def differences(old: tuple[RuleSet, InputGuard], new: tuple[RuleSet, InputGuard]) -> list[str]:
    """What a reviewer must look at between two folders: rules added, removed, changed, and a changed lexicon."""
    before, after = ({rule.id: rule for rule in rules.rules} for rules, _ in (old, new))
    lines = list(_changes("rule", before, after, _COMPARED))
    first, second = input_rules(old[1]), input_rules(new[1])
    lines += _changes("input rule", first, second, tuple(InputRule.model_fields))
    lines += [
        f"~ cue {name}"
        for name in sorted(old[0].lexicon.cues.keys() | new[0].lexicon.cues.keys())
        if old[0].lexicon.cues.get(name) != new[0].lexicon.cues.get(name)
    ]
    if old[0].lexicon.macros != new[0].lexicon.macros:
        lines.append("~ macros")
    return lines


def _changes(
    what: str, before: dict[str, Rule] | dict[str, InputRule], after: dict[str, Rule] | dict[str, InputRule],
    fields: Iterable[str],
) -> Iterator[str]:  # fmt: skip
    yield from (f"+ {what} {name}" for name in sorted(after.keys() - before.keys()))
    yield from (f"- {what} {name}" for name in sorted(before.keys() - after.keys()))
    for name in sorted(before.keys() & after.keys()):
        changed = [f for f in fields if getattr(before[name], f) != getattr(after[name], f)]
        if changed:
            yield f"~ {what} {name}: {', '.join(changed)}"


@codes_app.command()
def diff(old: Path, new: Annotated[Path, typer.Argument()] = CODES_FOLDER) -> None:
    """Compare two folders of codes."""
    before, after = _loaded(old), _loaded(new)
    typer.echo(f"{folder_version(old)} -> {folder_version(new)}")
    for line in differences(before, after):
        typer.echo(line)
