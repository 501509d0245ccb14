"""A raw JSON value or CSV row to the internal record: detection of its format and validation of its fields.

Owns which keys make which format. Containers are `source.py`, the other direction is `write.py`, content is judged by
`checks*.py`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from finetune.formats.fields import Fields, shared_fields
from finetune.formats.source import Item, read_items
from finetune.problems import Code, Problem
from finetune.records import Form, Message, Record

CLASSIFY = "请判断下面这段话属于哪一类。"
_ROLES: dict[str, Literal["system", "user", "assistant"]] = {
    "system": "system",
    "human": "user",
    "user": "user",
    "patient": "user",
    "gpt": "assistant",
    "assistant": "assistant",
    "chatgpt": "assistant",
    "bot": "assistant",
    "bing": "assistant",
    "doctor": "assistant",
    "model": "assistant",
}
_THINK = re.compile(r"\A<think>(.*?)</think>(.*)\Z", re.DOTALL)
# Names under which the same formats go elsewhere, by the name used here.
_ALIASES = {
    "question": "Question",
    "response": "Response",
    "answer": "Response",
    "complex_cot": "Complex_CoT",
    "cot": "Complex_CoT",
}


@dataclass(frozen=True, slots=True)
class Located:
    """One item of a file: its line, its raw value, and the record or the problems that prevented one."""

    file: str
    line: int
    raw: Any
    record: Record | None
    problems: tuple[Problem, ...] = ()


@dataclass(slots=True)
class _Draft:
    """What the format's own fields gave; filled by one of the `_read_*` functions."""

    messages: list[Message] = field(default_factory=list)
    input: str = ""
    reasoning: str | None = None
    chain: tuple[str, ...] = ()
    label: str | None = None
    rejected: str | None = None


def read_records(path: Path) -> Iterator[Located]:
    """Every record of the file with its line; broken ones carry problems and no record.

    Raises:
        DataError: the file cannot be opened.
    """
    for item in read_items(path):
        yield locate(item, str(path))


def locate(item: Item, file: str) -> Located:
    if item.code is not None:
        problem = Problem(file, item.line, item.code, item.message)
        return Located(file, item.line, None, None, (problem,))
    record, found = parse_record(item.value)
    identity = item.value.get("id") if isinstance(item.value, dict) else None
    name = identity if isinstance(identity, str) else None
    problems = tuple(Problem(file, item.line, code, text, record_id=name) for code, text in found)
    return Located(file, item.line, item.value, record, problems)


def parse_record(value: Any) -> tuple[Record | None, list[tuple[Code, str]]]:
    """The record, or None with at least one (code, message)."""
    if not isinstance(value, dict):
        return None, [(Code.TYPE_ERROR, f"a record must be an object, not {type(value).__name__}")]
    fields = Fields(value)
    form = detect(value)
    if form is None:
        known = ", ".join(sorted(map(str, value))[:8])
        return None, [(Code.UNKNOWN_FORMAT, f"no known format has the fields {known or '(none)'}")]
    draft = _READERS[form](fields)
    shared = shared_fields(fields)
    if fields.problems:
        return None, fields.problems
    record = Record(
        form=form,
        messages=tuple(draft.messages),
        input=draft.input,
        reasoning=draft.reasoning,
        chain=draft.chain,
        label=draft.label,
        rejected=draft.rejected,
        **shared,
        extra=fields.rest(),
    )
    return record, []


def detect(value: Mapping[str, Any]) -> Form | None:
    """The format by its keys, the most telling ones first."""
    keys = set(value)
    if "chosen" in keys or "rejected" in keys:
        return Form.PREFERENCE
    if "conversations" in keys or "conversation" in keys:
        return Form.SHAREGPT
    if "messages" in keys:
        return Form.MESSAGES
    folded = {_ALIASES.get(key.lower(), key) for key in keys if isinstance(key, str)}
    if "Complex_CoT" in folded or "chain_of_thought" in keys or {"Question", "Response"} <= keys:
        return Form.REASONING
    if "instruction" in keys or {"input", "output"} <= keys:
        return Form.ALPACA
    if keys & {"question", "prompt", "query"} and keys & {"answer", "response", "completion", "output"}:
        return Form.ALPACA
    if "text" in keys and "label" in keys:
        return Form.CLASSIFICATION
    return None


def _read_alpaca(fields: Fields) -> _Draft:
    draft = _Draft()
    names = ("instruction", "question", "prompt", "query")
    name = next(
        (name for name in names if fields.has(name)), "instruction" if not fields.has("input") else "input"
    )
    instruction = fields.text(name)
    draft.input = "" if name == "input" else fields.text("input", default="")
    output = fields.text(
        next((n for n in ("output", "answer", "response", "completion") if fields.has(n)), "output")
    )
    system = fields.text("system", default="")
    if system:
        draft.messages.append(Message("system", system))
    for asked, answered in _history(fields):
        draft.messages += [Message("user", asked), Message("assistant", answered)]
    draft.messages.append(Message("user", joined(instruction, draft.input)))
    draft.reasoning, answer = split_think(output)
    draft.messages.append(Message("assistant", answer))
    return draft


def _history(fields: Fields) -> list[tuple[str, str]]:
    value = fields.take("history", default=[])
    if value in (None, ""):
        return []
    pairs = value if isinstance(value, list) else [None]
    good = [
        tuple(p) for p in pairs if isinstance(p, list) and len(p) == 2 and all(isinstance(t, str) for t in p)
    ]
    if len(good) != len(pairs):
        fields.problem(Code.TYPE_ERROR, "`history` must be a list of [question, answer] pairs")
        return []
    return [(asked, answered) for asked, answered in good]


def _read_conversation(fields: Fields) -> _Draft:
    name = next((n for n in ("conversations", "conversation", "messages") if fields.has(n)), "messages")
    draft = _Draft()
    system = fields.text("system", default="")
    if system:
        draft.messages.append(Message("system", system))
    draft.messages += _messages(fields, name, fields.take(name))
    draft.input = fields.text("input", default="")
    last_user = next((m.content for m in reversed(draft.messages) if m.role == "user"), "")
    if draft.input and not last_user.endswith("\n" + draft.input):
        draft.input = ""
    if draft.messages and draft.messages[-1].role == "assistant":
        draft.reasoning, answer = split_think(draft.messages[-1].content)
        draft.messages[-1] = Message("assistant", answer)
    return draft


def _messages(fields: Fields, name: str, value: Any) -> list[Message]:
    if isinstance(value, str) and value.lstrip().startswith("["):  # a CSV cell
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            value = None
    if not isinstance(value, list):
        fields.problem(Code.TYPE_ERROR, f"`{name}` must be a list of turns")
        return []
    if not value:
        fields.problem(Code.MISSING_FIELD, f"`{name}` is empty")
    turns: list[Message] = []
    for number, turn in enumerate(value, start=1):
        if not isinstance(turn, dict):
            fields.problem(Code.TYPE_ERROR, f"turn {number} of `{name}` is not an object")
            continue
        who = turn.get("from", turn.get("role"))
        text = turn.get("value", turn.get("content"))
        if who is None or text is None:
            fields.problem(Code.MISSING_FIELD, f"turn {number} of `{name}` needs its speaker and its text")
        elif not isinstance(who, str) or who.lower() not in _ROLES:
            fields.problem(
                Code.ROLE_ORDER, f"turn {number} of `{name}` has the unknown speaker {str(who)[:20]!r}"
            )
        elif not isinstance(text, str):
            fields.problem(Code.TYPE_ERROR, f"the text of turn {number} of `{name}` is not a string")
        else:
            turns.append(Message(_ROLES[who.lower()], text))
    return turns


def _read_reasoning(fields: Fields) -> _Draft:
    draft = _Draft()
    question = fields.text(fields.called("Question", "question", "instruction", "input", "prompt"))
    response = fields.text(fields.called("Response", "response", "answer", "Answer", "output"))
    chain = fields.take("chain_of_thought", default=None)
    thought = fields.called("Complex_CoT", "complex_cot", "complex_CoT", "cot")
    if isinstance(chain, str) and chain:
        chain = [chain]
    if chain is not None and chain != "":
        if not isinstance(chain, list) or not all(isinstance(step, str) for step in chain):
            fields.problem(Code.TYPE_ERROR, "`chain_of_thought` must be a list of steps")
        else:
            draft.chain = tuple(chain)
    draft.reasoning = fields.text(thought, default="\n".join(draft.chain) if draft.chain else None)
    draft.messages = [Message("user", question), Message("assistant", response)]
    return draft


def _read_classification(fields: Fields) -> _Draft:
    label = fields.take("label")
    if isinstance(label, int) and not isinstance(label, bool):
        label = str(label)
    if not isinstance(label, str):
        fields.problem(Code.TYPE_ERROR, "`label` must be a string or a whole number")
        label = ""
    text = fields.text("text")
    messages = [Message("user", joined(CLASSIFY, text)), Message("assistant", label)]
    return _Draft(messages=messages, input=text, label=label)


def _read_preference(fields: Fields) -> _Draft:
    draft = _Draft()
    name = fields.called("prompt", "instruction", "question", "conversations", "messages")
    prompt = fields.take(name)
    if isinstance(prompt, list):
        draft.messages += _messages(fields, name, prompt)
    elif isinstance(prompt, str):
        draft.input = fields.text("input", default="")
        draft.messages.append(Message("user", joined(prompt, draft.input)))
    elif prompt is not None:
        fields.problem(Code.TYPE_ERROR, f"`{name}` must be a string or a list of turns")
    draft.messages.append(Message("assistant", _side(fields, "chosen")))
    draft.rejected = _side(fields, "rejected")
    return draft


def _side(fields: Fields, name: str) -> str:
    """`chosen` and `rejected` are strings, a turn, or a list whose last turn is the answer (trl's own form)."""
    value = fields.take(name)
    if isinstance(value, list) and value:
        value = value[-1]
    if isinstance(value, dict):
        value = value.get("content", value.get("value"))
    if not isinstance(value, str):
        if value is not None or fields.has(name):
            fields.problem(Code.TYPE_ERROR, f"`{name}` must be a string or a list of turns")
        return ""
    return value


def joined(instruction: str, text: str) -> str:
    """The user's message as the model sees it."""
    return f"{instruction}\n{text}" if text else instruction


def split_think(output: str) -> tuple[str | None, str]:
    """(think part, answer) of an output that begins with a closed think block; (None, output) otherwise."""
    matched = _THINK.match(output)
    if matched is None:
        return None, output
    thought, answer = matched.group(1), matched.group(2)
    thought = thought.removeprefix("\n").removesuffix("\n")
    return thought, answer.removeprefix("\n").removeprefix("\n")


_READERS = {
    Form.ALPACA: _read_alpaca,
    Form.SHAREGPT: _read_conversation,
    Form.MESSAGES: _read_conversation,
    Form.REASONING: _read_reasoning,
    Form.CLASSIFICATION: _read_classification,
    Form.PREFERENCE: _read_preference,
}
