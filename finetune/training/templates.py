"""Which chat template a model is trained with: its own, with the answers marked by `{% generation %}`.

Owns the choice. A marked template is only taken when it renders exactly what the model's own template renders, so
that the model that is served reads what the trained one read. Turning text into tokens is `encoding.py`.
"""

from __future__ import annotations

import re
from functools import lru_cache
from pathlib import Path
from typing import Any

from finetune.training.errors import SettingsError

FOLDER = Path(__file__).with_name("chat_templates")
QWEN2_5 = FOLDER / "qwen2_5_marked.jinja"
_MARK = re.compile(r"\{%-?\s*generation\s*-?%\}")

Message = dict[str, str]
_PROBES: tuple[list[Message], ...] = (
    [{"role": "user", "content": "胸闷"}, {"role": "assistant", "content": "请坐下休息。"}],
    [
        {"role": "system", "content": "规则\n一"},
        {"role": "user", "content": " a\n"},
        {"role": "assistant", "content": "b"},
        {"role": "user", "content": "c"},
        {"role": "assistant", "content": "<d>\n\ne"},
    ],
)


def render(
    template: str, messages: list[Message], tokenizer: Any, *, prompt: bool = False
) -> tuple[str, list[Any]]:
    """The rendered text and the character spans (start, end) of what the model is to generate."""
    from transformers.utils.chat_template_utils import render_jinja_template

    texts, spans = render_jinja_template(
        conversations=[messages],
        chat_template=template,
        return_assistant_tokens_mask=_MARK.search(template) is not None,
        add_generation_prompt=prompt,
        **tokenizer.special_tokens_map,
    )
    return str(texts[0]), list(spans[0]) if spans else []


def training_template(tokenizer: Any, own: Path | None = None) -> str:
    """A template with marked answers for this tokenizer.

    `own` is a file given in the settings: for a base model without a template, or to replace one.

    Raises:
        SettingsError: no template that renders what the model's own renders.
    """
    if own is not None:
        return _from_file(own)
    template = tokenizer.chat_template
    if template is None:
        raise SettingsError(
            f"the base model has no chat template; give one with --chat_template (for example {FOLDER / 'plain_zh.jinja'})"
        )
    if _MARK.search(template) is not None:
        return str(template)
    for candidate in _candidates(template):
        if _same(candidate, template, tokenizer):
            return candidate
    raise SettingsError(
        "no marked template is known that renders what this model's own does; give one with --chat_template"
    )


def _from_file(path: Path) -> str:
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path}: {error}") from error
    if _MARK.search(text) is None:
        raise SettingsError(
            f"{path}: no {{% generation %}} mark, so the answers cannot be told from the questions"
        )
    return text


@lru_cache(maxsize=8)
def _candidates(template: str) -> tuple[str, ...]:
    """This project's Qwen2.5 template, then the one that trl pairs with exactly this original, where it has one."""
    found = [QWEN2_5.read_text(encoding="utf-8")]
    try:
        import trl

        folder = Path(trl.__file__).parent / "chat_templates"
        for original in folder.glob("*.jinja"):
            marked = original.with_name(f"{original.stem}_training.jinja")
            if marked.exists() and original.read_text(encoding="utf-8").strip() == template.strip():
                found.append(marked.read_text(encoding="utf-8"))
    except ImportError:
        pass
    return tuple(found)


def _same(candidate: str, template: str, tokenizer: Any) -> bool:
    for messages in _PROBES:
        for prompt in (False, True):
            turns = messages[:-1] if prompt else messages
            try:
                if (
                    render(candidate, turns, tokenizer, prompt=prompt)[0]
                    != render(template, turns, tokenizer, prompt=prompt)[0]
                ):
                    return False
            except Exception:  # a template may raise anything on a conversation it does not take
                return False
    return True
