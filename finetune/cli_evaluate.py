"""The evaluation commands of `python -m finetune`: evaluate, sheet, ab make, ab unblind.

Owns arguments, output and exit codes: 0 gate passed, 1 not passed, 2 something is wrong with what was given.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import httpx
import typer

from finetune.evaluation.answers import (
    Answer,
    Endpoint,
    Service,
    Source,
    Weights,
    ask_all,
    match,
    read_answers,
)
from finetune.evaluation.questions import (
    CHOICES,
    GENERAL,
    QUESTIONS,
    Choice,
    Question,
    load_choices,
    load_questions,
)
from finetune.model_client import ModelClient, ModelSpec
from finetune.training.errors import SettingsError


def register(app: typer.Typer, reported: Any) -> None:
    """Add the commands; `reported` turns foreseeable failures into a line and an exit code."""
    _register_evaluate(app, reported)
    _register_sheet(app, reported)
    group = typer.Typer(no_args_is_help=True, help="blind A/B sheets for clinicians")
    _register_ab(group, reported)
    app.add_typer(group, name="ab")


def _register_evaluate(app: typer.Typer, reported: Any) -> None:
    @app.command(context_settings={"token_normalize_func": lambda name: name.replace("_", "-")})
    def evaluate(
        out: Annotated[Path, typer.Option(help="folder for answers.jsonl, report.json and report.html")],
        answers: Annotated[
            Path | None, typer.Option(help="answers that exist (JSON lines: id, answer)")
        ] = None,
        base_url: Annotated[str | None, typer.Option(help="OpenAI-compatible endpoint, with --model")] = None,
        model: Annotated[str | None, typer.Option(help="the model's or adapter's name there")] = None,
        service: Annotated[str | None, typer.Option(help="address of the running service")] = None,
        model_name_or_path: Annotated[str | None, typer.Option(help="local weights")] = None,
        adapter: Annotated[Path | None, typer.Option(help="adapter for the local weights")] = None,
        baseline: Annotated[
            Path | None, typer.Option(help="another system's answers, for paired tests")
        ] = None,
        questions: Annotated[Path, typer.Option(help="the questions")] = QUESTIONS,
        evidence: Annotated[
            str, typer.Option(help="reference: the documents in the prompt; none")
        ] = "reference",
        judge_url: Annotated[str | None, typer.Option(help="endpoint of an LLM judge")] = None,
        judge_model: Annotated[str | None, typer.Option(help="its name")] = None,
        sheets: Annotated[list[Path] | None, typer.Option(help="filled expert sheets (CSV)")] = None,
        department: Annotated[str | None, typer.Option(help="only this department's questions")] = None,
        limit: Annotated[
            int | None, typer.Option(help="only so many questions (never passes the gate)")
        ] = None,
        max_tokens: int = 768,
    ) -> None:
        """Score answers on five dimensions and apply the release gate (exit code 1 when it is not passed)."""
        with reported():
            from finetune.evaluation.run import Inputs
            from finetune.evaluation.run import evaluate as run_evaluation
            from finetune.evaluation.safety import SafetyExaminer
            from finetune.evaluation.sheets import read_sheets

            everything = load_questions(questions)
            asked = [q for q in everything if department is None or q.department == department][:limit]
            if not asked:
                raise SettingsError("no question is left")
            examiner = SafetyExaminer()
            source = _source(base_url, model, service, model_name_or_path, adapter, max_tokens)
            found = _answers(source, answers, asked, examiner, out, evidence)
            local = source.local if isinstance(source, Weights) else None
            inputs = Inputs(
                answers_from=source.name if source is not None else str(answers),
                judge=_judge(judge_url, judge_model),
                ratings=read_sheets(sheets) if sheets else None,
                choices=_correct(local, load_choices(CHOICES)) if local is not None else (),
                baseline=match(read_answers(baseline), asked) if baseline is not None else (),
                forgetting=_forgetting(local, adapter),
                complete=limit is None,
            )
            verdict = run_evaluation(asked, found, inputs, out, examiner=examiner)
            typer.echo("gate passed" if verdict.passed else "gate not passed: " + "; ".join(verdict.reasons))
            typer.echo(f"report: {out / 'report.html'}")
            if not verdict.passed:
                raise typer.Exit(1)


def _source(
    base_url: str | None,
    model: str | None,
    service: str | None,
    weights: str | None,
    adapter: Path | None,
    tokens: int,
) -> Source | None:
    given = [
        name
        for name, value in (
            ("--base-url", base_url),
            ("--service", service),
            ("--model-name-or-path", weights),
        )
        if value
    ]
    if len(given) > 1:
        raise SettingsError(f"{' and '.join(given)}: one source of answers at a time")
    if base_url is not None:
        if model is None:
            raise SettingsError("--base-url needs --model")
        return Endpoint(_client(base_url, model), f"{model} at {base_url}", max_tokens=tokens)
    if service is not None:
        token = os.environ.get("ANXIN_TOKEN", "")
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        return Service(httpx.Client(base_url=service, headers=headers, timeout=120.0, trust_env=False))
    return Weights(weights, adapter, max_tokens=tokens) if weights is not None else None


def _client(base_url: str, model: str) -> ModelClient:
    return ModelClient(ModelSpec(base_url, model, os.environ.get("OPENAI_API_KEY")))


def _judge(url: str | None, model: str | None) -> ModelClient | None:
    if (url is None) != (model is None):
        raise SettingsError("--judge-url and --judge-model go together")
    return _client(url, model) if url is not None and model is not None else None


def _answers(
    source: Source | None,
    given: Path | None,
    asked: Sequence[Question],
    examiner: Any,
    out: Path,
    evidence: str,
) -> list[Answer]:
    if given is not None:
        if source is not None:
            raise SettingsError("give either --answers or a model to ask")
        return match(read_answers(given), asked)
    if source is None:
        raise SettingsError("give --answers, --base-url with --model, --service, or --model-name-or-path")
    if evidence not in ("reference", "none"):
        raise SettingsError("--evidence is reference or none")
    passages = examiner.evidence if evidence == "reference" else (lambda _: [])
    with typer.progressbar(length=len(asked), label="asking", file=None) as bar:
        return ask_all(source, asked, passages, out / "answers.jsonl", progress=lambda *_: bar.update(1))


def _correct(local: Any, choices: Sequence[Choice]) -> list[bool]:
    from finetune.evaluation.choices import correct

    return correct(local, choices)


def _forgetting(local: Any, adapter: Path | None) -> dict[str, Sequence[bool]]:
    """General knowledge with the adapter off and on; only where both are one set of local weights."""
    if local is None or adapter is None:
        return {}
    general = load_choices(GENERAL)
    with local.model.disable_adapter():
        before = _correct(local, general)
    return {"before": before, "after": _correct(local, general)}


def _register_sheet(app: typer.Typer, reported: Any) -> None:
    @app.command()
    def sheet(
        answers: Annotated[Path, typer.Argument(help="answers (JSON lines)")],
        out: Annotated[Path, typer.Argument(help="the CSV to write")],
        questions: Annotated[Path, typer.Option(help="the questions")] = QUESTIONS,
    ) -> None:
        """Write a rating sheet for clinicians; `evaluate --sheets` reads it back, one file a rater."""
        with reported():
            from finetune.evaluation.sheets import write_sheet

            found = {answer.id: answer for answer in read_answers(answers)}
            asked = [question for question in load_questions(questions) if question.id in found]
            write_sheet(out, asked, [found[question.id] for question in asked])
            typer.echo(f"{out}: {len(asked)} answers")


def _register_ab(group: typer.Typer, reported: Any) -> None:
    @group.command()
    def make(
        a: Annotated[Path, typer.Argument(help="answers of system A")],
        b: Annotated[Path, typer.Argument(help="answers of system B")],
        sheet: Annotated[Path, typer.Option(help="the CSV that raters get")],
        key: Annotated[Path, typer.Option(help="the key, which raters must not get")],
        questions: Annotated[Path, typer.Option(help="the questions")] = QUESTIONS,
        limit: int | None = None,
        seed: int | None = None,
    ) -> None:
        """Put two systems' answers side by side in random order."""
        with reported():
            from finetune.evaluation.ab import write_blind

            left, right = ({answer.id: answer for answer in read_answers(path)} for path in (a, b))
            asked = [q for q in load_questions(questions) if q.id in left and q.id in right][:limit]
            if not asked:
                raise SettingsError("the two files answer no question in common")
            pairs = ((str(a), match(left.values(), asked)), (str(b), match(right.values(), asked)))
            write_blind(sheet, key, asked, pairs, seed=seed)
            typer.echo(f"{sheet}: {len(asked)} pairs; keep {key} to yourself")

    @group.command()
    def unblind(
        sheets: Annotated[list[Path], typer.Argument(help="filled sheets")],
        key: Annotated[Path, typer.Option(help="the key written with them")],
    ) -> None:
        """Count who was preferred, with the sign test."""
        import json

        with reported():
            from finetune.evaluation.ab import unblind as count

            typer.echo(json.dumps(asdict(count(sheets, key)), ensure_ascii=False, indent=1))
