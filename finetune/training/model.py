"""Loading what is trained: tokenizer, base model (4-bit where asked), adapter, and the base's fingerprint.

Owns the loading and the check that an adapter or a checkpoint belongs to this base. Fused paths are `fused.py`.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from finetune.training.config import Checkpointing, Method, Objective, TrainSettings
from finetune.training.errors import BaseMismatch, MissingPackage, SettingsError
from finetune.training.memory import Estimate

FINGERPRINT_KEYS = (
    "model_type",
    "hidden_size",
    "intermediate_size",
    "num_hidden_layers",
    "num_attention_heads",
    "num_key_value_heads",
    "vocab_size",
)


def load_tokenizer(name: str) -> Any:
    """The base's tokenizer, with a padding token.

    Raises:
        SettingsError: there is none under this name.
    """
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(name)
    except (OSError, ValueError) as error:
        raise SettingsError(f"{name}: no tokenizer can be loaded ({_first_line(error)})") from error
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    if not tokenizer.is_fast:
        raise SettingsError(f"{name}: a fast tokenizer is needed to tell answers from questions")
    return tokenizer


def load_config(name: str) -> Any:
    from transformers import AutoConfig

    try:
        return AutoConfig.from_pretrained(name)
    except (OSError, ValueError) as error:
        raise SettingsError(f"{name}: no model can be loaded ({_first_line(error)})") from error


def fingerprint(config: Any, tokenizer: Any) -> str:
    """Identifies a base model by its architecture and its vocabulary, wherever its folder lies."""
    text = config.get_text_config()
    parts = {key: getattr(text, key, None) for key in FINGERPRINT_KEYS}
    vocabulary = sorted(tokenizer.get_vocab().items(), key=lambda item: item[1])
    digest = hashlib.sha256(json.dumps([parts, vocabulary], ensure_ascii=False).encode())
    return digest.hexdigest()[:16]


def check_base(folder: Path, expected: str) -> None:
    """Refuse to go on from a checkpoint or adapter of another base.

    Raises:
        BaseMismatch: `folder` says it was trained on another base model.
    """
    found = read_metadata(folder).get("base_fingerprint")
    if found is not None and found != expected:
        raise BaseMismatch(
            f"{folder} was trained on another base model (fingerprint {found}, this base is {expected}); "
            "nothing was changed. Give its own base, or another --output_dir."
        )


def read_metadata(folder: Path) -> dict[str, Any]:
    """`anxin.json` beside an adapter's or a checkpoint's weights; empty when there is none."""
    path = folder / "anxin.json"
    if not path.is_file():
        return {}
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError) as error:
        raise BaseMismatch(f"{path} cannot be read: {error}") from error


def load_base(settings: TrainSettings, *, bf16: bool) -> Any:
    """The base model on the device that trains.

    Raises:
        SettingsError: no such model. MissingPackage: bitsandbytes or Unsloth is asked for and not installed.
    """
    import torch
    from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification

    if settings.unsloth:
        return _load_unsloth(settings)
    options: dict[str, Any] = {"dtype": torch.bfloat16 if bf16 else torch.float32}
    if torch.cuda.is_available():
        options["device_map"] = {"": torch.cuda.current_device()}
    if settings.method is Method.QLORA:
        options["quantization_config"] = quantisation(options["dtype"])
    loader = AutoModelForCausalLM
    if settings.objective is Objective.REWARD:
        loader, options["num_labels"] = AutoModelForSequenceClassification, 1
    try:
        return loader.from_pretrained(settings.model_name_or_path, **options)
    except (OSError, ValueError) as error:
        raise SettingsError(f"{settings.model_name_or_path}: {_first_line(error)}") from error


def quantisation(compute: Any) -> Any:
    """nf4 with double quantisation, as the QLoRA paper has it."""
    try:
        import bitsandbytes  # noqa: F401
    except ImportError as error:
        raise MissingPackage("method qlora needs bitsandbytes; install it or take --method lora") from error
    from transformers import BitsAndBytesConfig

    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=compute,
    )


def _load_unsloth(settings: TrainSettings) -> Any:
    try:
        from unsloth import FastLanguageModel  # type: ignore[import-not-found,unused-ignore]
    except ImportError as error:
        raise MissingPackage("--unsloth needs the package unsloth, which is not installed") from error
    model, _ = FastLanguageModel.from_pretrained(
        settings.model_name_or_path,
        max_seq_length=settings.max_length,
        load_in_4bit=settings.method is Method.QLORA,
    )
    return model


def adapter_config(settings: TrainSettings) -> Any | None:
    """peft's configuration, or None when all weights are trained."""
    from peft import LoraConfig

    if settings.method is Method.FULL:
        return None
    return LoraConfig(
        r=settings.lora_r,
        lora_alpha=settings.lora_alpha,
        lora_dropout=settings.lora_dropout,
        target_modules=list(settings.target_modules),
        use_rslora=settings.use_rslora,
        use_dora=settings.use_dora,
        task_type="SEQ_CLS" if settings.objective is Objective.REWARD else "CAUSAL_LM",
    )


def checkpoint_layers(model: Any, settings: TrainSettings, planned: Estimate) -> None:
    """Let the first layers of the plan recompute their activations, and no others."""
    if settings.gradient_checkpointing is Checkpointing.NONE or planned.checkpointed == 0:
        return
    model.gradient_checkpointing_enable({"use_reentrant": False})
    layers = [m for m in model.modules() if type(m).__name__.endswith("DecoderLayer")]
    for index, layer in enumerate(layers):
        layer.gradient_checkpointing = index < planned.checkpointed


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
