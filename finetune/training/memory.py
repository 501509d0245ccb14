"""How much memory a run needs before anything is loaded: what fits starts, what does not is refused with what would.

Owns the estimate, in bytes, from the model's configuration alone. The constants are of this code: which tensors a
layer keeps for its backward pass (`fused.py`), bitsandbytes' formats, and allowances measured on one H100.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from finetune.training.config import Checkpointing, Method, TrainSettings
from finetune.training.errors import DoesNotFit

GIB = 2**30
# The CUDA context, cuBLAS workspaces and the caching allocator's slack.
RUNTIME_BYTES = int(0.7 * GIB)
# nf4: half a byte a weight, one 8-bit scale for each 64 weights with its own scales; flat: float32 scales instead.
NF4_BYTES, NF4_FLAT_BYTES = 0.5 + 0.127 / 8, 0.5 + 4 / 64
HEAD_CHUNK_BYTES = int(0.35 * GIB)


@dataclass(frozen=True, slots=True)
class Shape:
    """What of a causal language model decides its memory."""

    layers: int
    hidden: int
    intermediate: int
    query: int
    key_value: int
    vocabulary: int
    tied: bool

    @property
    def projections(self) -> int:
        """Weights of the seven projections of one layer."""
        attention = self.hidden * (2 * self.query + 2 * self.key_value)
        return attention + 3 * self.hidden * self.intermediate

    @property
    def embeddings(self) -> int:
        return self.vocabulary * self.hidden * (1 if self.tied else 2)

    @property
    def parameters(self) -> int:
        return self.layers * (self.projections + 2 * self.hidden) + self.embeddings

    def adapter(self, rank: int, modules: tuple[str, ...]) -> int:
        """Weights of a rank-`rank` adapter on these modules of every layer."""
        sizes = {
            "q_proj": self.hidden + self.query,
            "k_proj": self.hidden + self.key_value,
            "v_proj": self.hidden + self.key_value,
            "o_proj": self.query + self.hidden,
            "gate_proj": self.hidden + self.intermediate,
            "up_proj": self.hidden + self.intermediate,
            "down_proj": self.intermediate + self.hidden,
        }
        return self.layers * rank * sum(sizes.get(name, 0) for name in modules)


@dataclass(frozen=True, slots=True)
class Estimate:
    """Bytes by purpose; `checkpointed` layers recompute their activations."""

    weights: int
    trainable: int
    activations: int
    working: int
    checkpointed: int

    @property
    def total(self) -> int:
        return self.weights + self.trainable + self.activations + self.working

    def __str__(self) -> str:
        parts = {"weights": self.weights, "trained weights, gradients and optimizer": self.trainable}
        parts |= {"activations": self.activations, "working space": self.working}
        lines = ", ".join(f"{name} {size / GIB:.2f}" for name, size in parts.items())
        return f"{self.total / GIB:.2f} GiB ({lines}; {self.checkpointed} layers recomputed)"


def shape_of(config: Any) -> Shape:
    """The shape from a transformers configuration."""
    config = config.get_text_config()
    heads = config.num_attention_heads
    size = getattr(config, "head_dim", None) or config.hidden_size // heads
    return Shape(
        layers=config.num_hidden_layers,
        hidden=config.hidden_size,
        intermediate=config.intermediate_size,
        query=heads * size,
        key_value=(getattr(config, "num_key_value_heads", None) or heads) * size,
        vocabulary=config.vocab_size,
        tied=bool(config.tie_word_embeddings),
    )


def estimate(shape: Shape, settings: TrainSettings, checkpointed: int, *, on_gpu: bool = True) -> Estimate:
    """Peak bytes of a step of `micro_tokens` tokens with the first `checkpointed` layers recomputed."""
    tokens = micro_tokens(settings)
    width = 2 if on_gpu and settings.bf16 is not False else 4
    kept = _kept_per_token(shape, settings) * width
    plain = shape.layers - checkpointed
    activations = tokens * (plain * kept + checkpointed * shape.hidden * width)
    if checkpointed:
        activations += tokens * kept
    working = tokens * 4 * shape.intermediate * width + HEAD_CHUNK_BYTES * int(on_gpu)
    return Estimate(
        weights=_weights(shape, settings, width),
        trainable=_trainable(shape, settings, width),
        activations=activations,
        working=working + (RUNTIME_BYTES if on_gpu else 0),
        checkpointed=checkpointed,
    )


def micro_tokens(settings: TrainSettings) -> int:
    """The largest number of tokens that goes through the model at once."""
    whole = settings.row_tokens * settings.examples_per_step
    return min(whole, max(settings.row_tokens, settings.micro_batch_tokens))


def _kept_per_token(shape: Shape, settings: TrainSettings) -> int:
    """Elements a layer keeps for each token: inputs of the projections, q, k, v before and after rotation, the
    attention's output, gate and up; without fusing also the copies and masks that peft and autograd keep."""
    attention = 4 * shape.hidden + 3 * shape.query + 4 * shape.key_value
    if settings.fused and settings.method is not Method.FULL and not settings.use_dora:
        return attention + 2 * shape.intermediate
    return 2 * attention + 6 * shape.hidden + 6 * shape.intermediate


def _weights(shape: Shape, settings: TrainSettings, width: int) -> int:
    linear = shape.layers * shape.projections
    rest = shape.embeddings + 2 * shape.layers * shape.hidden
    if settings.method is not Method.QLORA:
        return (linear + rest) * width
    packed = NF4_FLAT_BYTES + NF4_BYTES - 0.5 if settings.fused else NF4_BYTES
    return int(linear * packed) + rest * width + shape.hidden * shape.intermediate * width


def _trainable(shape: Shape, settings: TrainSettings, width: int) -> int:
    states = 2 if "8bit" in settings.optim else 8
    if settings.method is Method.FULL:
        return shape.parameters * (width + states)
    return shape.adapter(settings.lora_r, settings.target_modules) * (2 * width + states)


def plan(shape: Shape, settings: TrainSettings, free_bytes: int, *, on_gpu: bool = True) -> Estimate:
    """The fastest estimate that fits: as few recomputed layers as possible.

    Raises:
        DoesNotFit: nothing fits; the message says what is needed and which changes would do.
    """
    for checkpointed in _tries(shape, settings):
        found = estimate(shape, settings, checkpointed, on_gpu=on_gpu)
        if found.total <= free_bytes:
            return found
    needed = estimate(shape, settings, _tries(shape, settings)[-1], on_gpu=on_gpu)
    ways = "; ".join(_would_fit(shape, settings, free_bytes, on_gpu=on_gpu))
    raise DoesNotFit(
        f"needs {needed}, {free_bytes / GIB:.2f} GiB are free. "
        + (
            f"This would fit: {ways}"
            if ways
            else "No change of these settings fits; take a smaller base model"
        )
    )


def _tries(shape: Shape, settings: TrainSettings) -> list[int]:
    if settings.gradient_checkpointing is Checkpointing.ALL:
        return [shape.layers]
    if settings.gradient_checkpointing is Checkpointing.NONE:
        return [0]
    return list(range(shape.layers + 1))


def _would_fit(shape: Shape, settings: TrainSettings, free_bytes: int, *, on_gpu: bool) -> Iterator[str]:
    """Changes, each of which alone or with those before it fits."""
    changes: list[tuple[str, dict[str, Any]]] = [
        ("--gradient_checkpointing auto", {"gradient_checkpointing": Checkpointing.AUTO}),
        ("--micro_batch_tokens 0 --per_device_train_batch_size 1", {"micro_batch_tokens": 0}),
        ("--method qlora", {"method": Method.QLORA}),
        (
            "--method qlora --max_length 1024",
            {"method": Method.QLORA, "max_length": min(1024, settings.max_length)},
        ),
        (
            "--method qlora --max_length 512",
            {"method": Method.QLORA, "max_length": min(512, settings.max_length)},
        ),
    ]
    base = settings.model_copy(update={"gradient_checkpointing": Checkpointing.AUTO})
    for text, change in changes:
        tried = base.model_copy(update=change)
        if tried.method is Method.QLORA and "8bit" not in tried.optim:
            tried = tried.model_copy(update={"optim": "paged_adamw_8bit"})
        alone = replace(estimate(shape, tried, shape.layers, on_gpu=on_gpu))
        if alone.total <= free_bytes:
            yield f"{text} ({alone.total / GIB:.2f} GiB)"


def free_memory(limit_gib: float | None) -> tuple[int, bool]:
    """Free bytes of the device that trains, held to `limit_gib`, and whether it is a GPU."""
    import psutil
    import torch

    on_gpu = torch.cuda.is_available()
    free = torch.cuda.mem_get_info()[0] if on_gpu else psutil.virtual_memory().available
    return (free if limit_gib is None else min(free, int(limit_gib * GIB))), on_gpu
