"""The settings of a training run: one validated object from a TOML run file, the command line, or both.

Owns names, defaults and the checks that need nothing but the settings themselves. What the hardware allows is
`memory.py`; what the server can load is `vllm_limits`.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from finetune.training.errors import SettingsError

SEVEN_PROJECTIONS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
# What the service's vLLM is started with (`--max-lora-rank`); a larger rank is a 500 there.
VLLM_MAX_RANK = 64
# Tokens of the service's own system prompt (248 to 266 with Qwen2.5's tokenizer), which `max_length` does not count.
PROMPT_TOKENS = 320


class Method(StrEnum):
    """How the weights are trained."""

    QLORA = "qlora"
    LORA = "lora"
    FULL = "full"


class Objective(StrEnum):
    """What is learnt."""

    SFT = "sft"
    DPO = "dpo"
    DISTIL = "distil"
    REWARD = "reward"
    REFT = "reft"


class Checkpointing(StrEnum):
    """Which layers recompute their activations: `auto` as many as the memory needs."""

    AUTO = "auto"
    ALL = "all"
    NONE = "none"


class TrainSettings(BaseModel):
    """Everything that decides a run; two runs with equal settings and data give the same curve."""

    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=())

    model_name_or_path: str = Field(description="folder or hub name of the base model")
    data_path: tuple[Path, ...] = Field(description="training files, or a folder written by `data split`")
    output_dir: Path = Field(description="where checkpoints, the adapter and the report go")
    eval_path: tuple[Path, ...] = Field((), description="validation files (default: the split folder's own)")
    department: str | None = Field(None, description="cardiology | allergy | stroke_rehab | general")
    audience: Literal["patient", "clinician"] = "patient"

    objective: Objective = Objective.SFT
    method: Method = Method.QLORA
    lora_r: int = Field(16, ge=1, le=512)
    lora_alpha: int = Field(32, ge=1)
    lora_dropout: float = Field(0.05, ge=0, lt=1)
    target_modules: tuple[str, ...] = SEVEN_PROJECTIONS
    use_rslora: bool = False
    use_dora: bool = Field(False, description="trains, but vLLM cannot load it: publish refuses it")

    learning_rate: float = Field(1e-4, gt=0)
    lr_scheduler_type: str = "cosine"
    warmup_ratio: float = Field(0.03, ge=0, lt=1)
    weight_decay: float = Field(0.0, ge=0)
    max_grad_norm: float = Field(1.0, gt=0)
    optim: str = "paged_adamw_8bit"
    num_train_epochs: float = Field(3.0, gt=0)
    max_steps: int = Field(-1, description="overrides the epochs when positive")
    per_device_train_batch_size: int = Field(1, ge=1)
    gradient_accumulation_steps: int = Field(16, ge=1)
    micro_batch_tokens: int = Field(
        8192,
        ge=0,
        description="accumulated examples are run together up to so many tokens; 0 runs each alone",
    )
    max_length: int = Field(
        2048, ge=16, description="tokens of a conversation, the service's prompt not counted"
    )
    packing: bool = Field(False, description="off by default: a long medical case stays one sequence")
    seed: int = 20261122

    prompt: Literal["service", "plain"] = Field("service", description="the service's system prompt, or none")
    think: Literal["keep", "drop"] = Field("keep", description="the reasoning part of reasoning records")
    chat_template: Path | None = Field(
        None, description="a template with {% generation %} for a base without one"
    )

    eval_steps: int = Field(0, ge=0, description="0: ten times a run")
    save_steps: int = Field(0, ge=0, description="0: with every evaluation")
    save_total_limit: int = Field(2, ge=1)
    early_stopping_patience: int = Field(3, ge=0, description="evaluations without a better loss; 0 is off")
    resume: bool = Field(True, description="go on from the newest whole checkpoint of output_dir")

    replay_path: tuple[Path, ...] = Field((), description="general data mixed in against forgetting")
    replay_ratio: float = Field(0.0, ge=0, le=1, description="share of replay examples among all")
    kl_weight: float = Field(0.0, ge=0, description="weight of KL(base || adapter) on the answer tokens")
    max_grad_norm_seen: float = Field(
        1e4, gt=0, description="a larger gradient norm twice in a row stops the run"
    )
    dpo_beta: float = Field(0.1, gt=0)
    reft_layers: tuple[int, ...] = ()

    gradient_checkpointing: Checkpointing = Checkpointing.AUTO
    fused: bool = Field(True, description="one autograd step for each quantised projection with its adapter")
    liger: bool = Field(False, description="Liger kernels, where installed")
    unsloth: bool = Field(False, description="load through Unsloth, where installed")
    bf16: bool | None = Field(None, description="default: on where the device has it")
    memory_limit_gib: float | None = Field(None, gt=0, description="default: what the device has free")
    report_to: tuple[str, ...] = Field((), description="trackers: trackio, swanlab, wandb; none by default")

    @field_validator(
        "data_path", "eval_path", "replay_path", "target_modules", "report_to", "reft_layers", mode="before"
    )
    @classmethod
    def _several(cls, value: Any) -> Any:
        """A single value, or one written with commas, is a list of them."""
        if isinstance(value, Path):
            return (value,)
        return tuple(part for part in value.split(",") if part) if isinstance(value, str) else value

    @model_validator(mode="after")
    def _consistent(self) -> TrainSettings:
        if not self.data_path:
            raise ValueError("data_path is empty")
        if self.method is Method.FULL and (self.use_dora or self.use_rslora):
            raise ValueError("use_dora and use_rslora need method lora or qlora")
        if self.kl_weight and (
            self.method is Method.FULL or self.objective not in (Objective.SFT, Objective.DISTIL)
        ):
            raise ValueError(
                "kl_weight needs an adapter (the base is the adapter switched off) and objective sft"
            )
        if self.replay_ratio and not self.replay_path:
            raise ValueError("replay_ratio needs replay_path")
        if self.replay_ratio >= 1:
            raise ValueError("replay_ratio must leave room for the training data")
        return self

    @property
    def row_tokens(self) -> int:
        """The longest example with the service's system prompt before it."""
        return self.max_length + (PROMPT_TOKENS if self.prompt == "service" else 0)

    @property
    def examples_per_step(self) -> int:
        return self.per_device_train_batch_size * self.gradient_accumulation_steps


def vllm_limits(settings: TrainSettings) -> list[str]:
    """Why the service's vLLM could not load what these settings train; empty when it can."""
    reasons = []
    if settings.use_dora:
        reasons.append("vLLM cannot load DoRA adapters")
    if settings.method is not Method.FULL and settings.lora_r > VLLM_MAX_RANK:
        reasons.append(f"rank {settings.lora_r} is above the server's largest ({VLLM_MAX_RANK})")
    if settings.objective in (Objective.REWARD, Objective.REFT):
        reasons.append(f"{settings.objective} does not give an adapter that answers")
    return reasons


def load_settings(path: Path | None, overrides: Mapping[str, Any]) -> TrainSettings:
    """The run file's settings with the command line's on top; relative paths in a run file are from where one stands.

    Raises:
        SettingsError: unreadable file, unknown names, values out of range.
    """
    values: dict[str, Any] = {}
    if path is not None:
        try:
            values = tomllib.loads(path.read_text(encoding="utf-8-sig"))
        except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
            raise SettingsError(f"{path}: {error}") from error
    values.update(overrides)
    try:
        return TrainSettings.model_validate(values)
    except ValidationError as error:
        where = "the command line" if path is None else str(path)
        raise SettingsError(f"{where}: {_explain(error)}") from error


def _explain(error: ValidationError) -> str:
    parts = []
    for problem in error.errors():
        name = ".".join(str(piece) for piece in problem["loc"])
        parts.append(f"{name}: {problem['msg']}" if name else str(problem["msg"]))
    return "; ".join(parts)


def parse_overrides(arguments: Sequence[str]) -> dict[str, Any]:
    """`--name value`, `--name=value` and bare `--flag` (true) as settings; dashes in names are underscores.

    Raises:
        SettingsError: something that is no option, or an option nobody knows (with the nearest known ones).
    """
    values: dict[str, Any] = {}
    index = 0
    while index < len(arguments):
        argument = arguments[index]
        if not argument.startswith("--"):
            raise SettingsError(f"unexpected argument {argument!r}")
        name, equals, value = argument[2:].partition("=")
        name = name.replace("-", "_")
        if name not in TrainSettings.model_fields:
            raise SettingsError(f"unknown option --{name}{_nearest(name)}")
        if not equals:
            follows = index + 1 < len(arguments) and not arguments[index + 1].startswith("--")
            value = arguments[index + 1] if follows else "true"
            index += int(follows)
        values[name] = value
        index += 1
    return values


def _nearest(name: str) -> str:
    import difflib

    close = difflib.get_close_matches(name, TrainSettings.model_fields, n=3)
    return f" (did you mean {', '.join('--' + other for other in close)}?)" if close else ""


def describe_options() -> str:
    """All options with their defaults, for the command's help."""
    lines = []
    for name, field in TrainSettings.model_fields.items():
        default = "required" if field.is_required() else f"default {field.default!s}"
        lines.append(f"--{name}  {field.description + '; ' if field.description else ''}{default}")
    return "\n\n".join(lines)
