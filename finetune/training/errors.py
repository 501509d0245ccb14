"""What can stop a training, evaluation or publishing command, each with a stable code.

    FinetuneError
    ├── SettingsError      settings that contradict each other or name an unknown option
    ├── DataRefused        data that may not be trained on, or from which nothing is left
    ├── DoesNotFit         the memory estimate exceeds what is there
    ├── BaseMismatch       a checkpoint or adapter that belongs to another base model
    ├── TrainingFailed     NaN loss, exploding gradients, out of memory, full disk
    ├── MissingPackage     an optional package is needed and not installed
    └── PublishRefused     the server could not load it, or the service said no

The command line prints `code: message` and ends with `exit_code`.
"""

from __future__ import annotations

from typing import ClassVar


class FinetuneError(Exception):
    """Base of all; `code` is stable, the message says what to do."""

    code: ClassVar[str] = "finetune_error"
    exit_code: ClassVar[int] = 2


class SettingsError(FinetuneError):
    code = "bad_settings"


class DataRefused(FinetuneError):
    code = "data_refused"
    exit_code = 1


class DoesNotFit(FinetuneError):
    code = "does_not_fit"


class BaseMismatch(FinetuneError):
    code = "base_mismatch"


class TrainingFailed(FinetuneError):
    code = "training_failed"
    exit_code = 3


class MissingPackage(FinetuneError):
    code = "missing_package"


class PublishRefused(FinetuneError):
    code = "publish_refused"
