"""Loads everything triage knows from a folder of YAML files and checks that it fits together.

Owns reading, validation and the version of the rule set. Files name their `kind`: `findings` (the lexicon), `context`
(cue words), `questions` (what to ask for which complaint), `triage` (a department's rules); other kinds belong to other parts and are left alone.
"""

from __future__ import annotations

import datetime as dt
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from app.safety.findings import Lexicon, LexiconFile
from app.safety.notices import EMERGENCY_NOTICES, URGENT_NOTICES
from app.safety.triage_rules import Rule, RulesFile
from app.safety.types import Level

RULES_FOLDER = Path(__file__).parent / "rules"


class RuleFileError(ValueError):
    """A rule file cannot be used; the message names the file and the place."""


class ContextFile(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)
    kind: str
    cues: dict[str, str]


class QuestionsFile(BaseModel):
    """`complaints`: for each complaint the findings worth asking for, most telling first."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    kind: str
    owner: str
    review_date: dt.date
    complaints: dict[str, tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class Rulebook:
    """A validated rule set; `version` is a digest of the files it came from, `asks` what to ask for each complaint."""

    lexicon: Lexicon
    rules: tuple[Rule, ...]
    departments: Mapping[str, str]
    version: str
    vetoes: frozenset[str]
    asks: Mapping[str, tuple[str, ...]]


def read_yaml(path: Path) -> dict[str, Any]:
    """The mapping in `path`. Raises RuleFileError when it cannot be read or is no mapping."""
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise RuleFileError(f"{path.name}: {error}") from error
    if not isinstance(content, dict):
        raise RuleFileError(f"{path.name}: not a mapping")
    return content


def load_rulebook(folder: Path = RULES_FOLDER) -> Rulebook:
    """The rule set in `folder`. Raises RuleFileError when any file is missing, malformed or inconsistent."""
    lexicons: list[LexiconFile] = []
    cues: dict[str, str] = {}
    rules: list[Rule] = []
    departments: dict[str, str] = {}
    asks: dict[str, tuple[str, ...]] = {}
    digest = hashlib.sha256()
    for path in sorted(folder.glob("*.yaml")):
        content = read_yaml(path)
        try:
            match content.get("kind"):
                case "findings":
                    lexicons.append(LexiconFile.model_validate(content))
                case "context":
                    cues |= {
                        f"ctx.{name}": words
                        for name, words in ContextFile.model_validate(content).cues.items()
                    }
                case "questions":
                    asks |= QuestionsFile.model_validate(content).complaints
                case "triage":
                    file = RulesFile.model_validate(content)
                    rules.extend(file.rules)
                    departments |= {rule.id: file.department for rule in file.rules}
                case _:
                    continue
        except ValidationError as error:
            raise RuleFileError(f"{path.name}: {error}") from error
        digest.update(path.name.encode() + path.read_bytes())
    if not (lexicons and cues and rules):
        raise RuleFileError(f"{folder}: findings, context and triage files are all needed")
    try:
        lexicon = Lexicon(lexicons, cues)
    except ValueError as error:
        raise RuleFileError(str(error)) from error
    _check(rules, lexicon)
    _check_questions(asks, lexicon)
    vetoes = frozenset[str]().union(*(rule.when.vetoes for rule in rules))
    return Rulebook(lexicon, tuple(rules), departments, digest.hexdigest()[:12], vetoes, asks)


def _check_questions(asks: Mapping[str, tuple[str, ...]], lexicon: Lexicon) -> None:
    for complaint, names in asks.items():
        for name in (complaint, *names):
            if name not in lexicon.findings:
                raise RuleFileError(f"questions for {complaint}: unknown finding {name}")
        for name in names:
            if lexicon.findings[name].question is None:
                raise RuleFileError(f"questions for {complaint}: nothing is written to ask for {name}")


def _check(rules: list[Rule], lexicon: Lexicon) -> None:
    ids: set[str] = set()
    for rule in rules:
        if rule.id in ids:
            raise RuleFileError(f"rule {rule.id} is defined twice")
        ids.add(rule.id)
        unknown = rule.when.names() - set(lexicon.findings)
        if unknown:
            raise RuleFileError(f"rule {rule.id} uses unknown findings {sorted(unknown)}")
        texts = EMERGENCY_NOTICES if rule.level is Level.EMERGENCY else URGENT_NOTICES
        if rule.level is not Level.ROUTINE and rule.category not in texts:
            raise RuleFileError(f"rule {rule.id}: no {rule.level} notice for category {rule.category}")
