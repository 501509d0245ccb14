"""Fast QLoRA: one autograd step for each quantised projection together with its adapter, and one for the whole MLP.

Plain peft runs a dozen small operations for each projection and keeps their intermediate tensors; here a projection
keeps its input only and an MLP keeps its input, gate and up. The 4-bit weights are unpacked into one shared buffer,
and the doubly quantised block scales are unpacked once at the start (0.4 GiB for 7B). The result is the same function
with the same gradients up to rounding; dropout masks come from the same distribution but other random numbers.

Owns the patching of a peft model. What it cannot take (DoRA, several adapters, biases on adapters, other layer
classes) it leaves as it was.
"""

from __future__ import annotations

import types
from dataclasses import dataclass
from typing import Any

import torch

from finetune.training.kernels import add_dropped_, draw_seed, dropped, swiglu, swiglu_backward_


class Weight:
    """One frozen projection: packed 4-bit or ordinary; `dense()` gives (out, in) in the compute type."""

    _buffers: dict[tuple[torch.device, torch.dtype], torch.Tensor] = {}  # noqa: RUF012 (shared on purpose)

    def __init__(self, layer: torch.nn.Module) -> None:
        self._weight = layer.weight
        self.bias = layer.bias
        state: Any = getattr(self._weight, "quant_state", None)
        self._state = state
        self._absmax = None if state is None else _flat_absmax(state)

    def dense(self, dtype: torch.dtype) -> torch.Tensor:
        """Valid until the next call of any `Weight` on this device: the buffer is shared."""
        if self._state is None:
            return self._weight.to(dtype)
        state = self._state
        arguments = (self._weight.data, self._absmax, state.blocksize, state.quant_type, state.shape, dtype)
        if not self._weight.is_cuda:
            return torch.as_tensor(torch.ops.bitsandbytes.dequantize_4bit.default(*arguments))
        out = self._room(dtype)
        torch.ops.bitsandbytes.dequantize_4bit.out(*arguments, out=out)
        return out

    def _room(self, dtype: torch.dtype) -> torch.Tensor:
        key = (self._weight.device, dtype)
        rows, columns = self._state.shape
        buffer = Weight._buffers.get(key)
        if buffer is None or buffer.numel() < rows * columns:
            buffer = torch.empty(rows * columns, device=key[0], dtype=dtype)
            Weight._buffers[key] = buffer
        return buffer[: rows * columns].view(rows, columns)


def _flat_absmax(state: Any) -> torch.Tensor:
    """The block scales as float32; double quantisation packs them to 8 bits with scales of their own."""
    if not state.nested:
        return torch.as_tensor(state.absmax).float()
    import bitsandbytes.functional as functional

    return (functional.dequantize_blockwise(state.absmax, state.state2) + state.offset).float()


@dataclass(frozen=True, slots=True)
class Step:
    """What a projection needs besides its tensors: scaling of the adapter, dropout and the seed of its mask."""

    weight: Weight
    scaling: float
    p: float
    seed: int


def _forward(x: torch.Tensor, step: Step, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """x (n, in) -> (n, out): frozen projection plus adapter."""
    out = torch.nn.functional.linear(x, step.weight.dense(x.dtype), _like(step.weight.bias, x))
    low = dropped(x, step.p, step.seed) @ a.to(x.dtype).t()
    return out.addmm_(low, b.to(x.dtype).t(), alpha=step.scaling)


def _backward(
    grad: torch.Tensor,
    x: torch.Tensor,
    step: Step,
    a: torch.Tensor,
    b: torch.Tensor,
    *,
    into: torch.Tensor | None,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Gradients for the input (added to `into` where given), for A and for B."""
    a16, b16 = a.to(x.dtype), b.to(x.dtype)
    kept = dropped(x, step.p, step.seed)
    inner = (grad @ b16).mul_(step.scaling)
    for_a = inner.t() @ kept
    for_b = (grad.t() @ (kept @ a16.t())).mul_(step.scaling)
    dense = step.weight.dense(x.dtype)
    for_x = grad @ dense if into is None else into.addmm_(grad, dense)
    if step.p == 0:
        for_x.addmm_(inner, a16)
    else:
        add_dropped_(for_x, inner @ a16, step.p, step.seed)
    return for_x, for_a.to(a.dtype), for_b.to(b.dtype)


def _like(bias: torch.Tensor | None, x: torch.Tensor) -> torch.Tensor | None:
    return None if bias is None else bias.to(x.dtype)


class FusedProjection(torch.autograd.Function):  # type: ignore[misc]
    """A frozen projection with its adapter; keeps the input only."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, a: torch.Tensor, b: torch.Tensor, step: Step) -> torch.Tensor:
        flat = x.reshape(-1, x.shape[-1])
        ctx.save_for_backward(flat, a, b)
        ctx.step, ctx.shape = step, x.shape
        return _forward(flat, step, a, b).view(*x.shape[:-1], -1)

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[Any, ...]:
        x, a, b = ctx.saved_tensors
        for_x, for_a, for_b = _backward(grad.reshape(-1, grad.shape[-1]), x, ctx.step, a, b, into=None)
        return for_x.view(ctx.shape), for_a, for_b, None


class FusedMlp(torch.autograd.Function):  # type: ignore[misc]
    """down(silu(gate(x)) * up(x)) with three adapters; keeps the input, gate and up."""

    @staticmethod
    def forward(
        ctx: Any, x: torch.Tensor, steps: tuple[Step, Step, Step], *adapters: torch.Tensor
    ) -> torch.Tensor:
        flat = x.reshape(-1, x.shape[-1])
        ga, gb, ua, ub, da, db = adapters
        gate = _forward(flat, steps[0], ga, gb)
        up = _forward(flat, steps[1], ua, ub)
        ctx.save_for_backward(flat, gate, up, *adapters)
        ctx.steps, ctx.shape = steps, x.shape
        return _forward(swiglu(gate, up), steps[2], da, db).view(x.shape)

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[Any, ...]:
        x, gate, up, ga, gb, ua, ub, da, db = ctx.saved_tensors
        flat = grad.reshape(-1, grad.shape[-1])
        inner, for_da, for_db = _backward(flat, swiglu(gate, up), ctx.steps[2], da, db, into=None)
        for_gate, for_up = swiglu_backward_(inner, gate, up)
        for_x, for_ga, for_gb = _backward(for_gate, x, ctx.steps[0], ga, gb, into=None)
        for_x, for_ua, for_ub = _backward(for_up, x, ctx.steps[1], ua, ub, into=for_x)
        return for_x.view(ctx.shape), None, for_ga, for_gb, for_ua, for_ub, for_da, for_db


def _takes(layer: Any) -> bool:
    """A peft projection with exactly one plain adapter over a frozen linear layer."""
    from peft.tuners.lora import LoraLayer

    if not isinstance(layer, LoraLayer) or len(layer.active_adapters) != 1 or layer.merged:
        return False
    name = layer.active_adapters[0]
    if name not in layer.lora_A or layer.lora_variant.get(name) is not None or layer.lora_bias.get(name):
        return False
    base = layer.get_base_layer()
    return isinstance(base, torch.nn.Linear) and not base.weight.requires_grad


def _parts(layer: Any) -> tuple[torch.Tensor, torch.Tensor]:
    name = layer.active_adapters[0]
    return layer.lora_A[name].weight, layer.lora_B[name].weight


def _step(layer: Any) -> Step:
    name = layer.active_adapters[0]
    dropout = layer.lora_dropout[name]
    p = float(getattr(dropout, "p", 0.0)) if layer.training else 0.0
    return Step(layer.fused_weight, float(layer.scaling[name]), p, draw_seed() if p else 0)


def _usable(layer: Any) -> bool:
    """Adapters may be switched off (for the KL term) or merged at any time; then peft's own path runs."""
    return not layer.disable_adapters and not layer.merged


def _projection_forward(self: Any, x: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
    if args or kwargs or not _usable(self):
        return self.unfused_forward(x, *args, **kwargs)
    x = _compute_type(x)
    return FusedProjection.apply(x, *_parts(self), _step(self))


def _mlp_forward(self: Any, x: torch.Tensor) -> torch.Tensor:
    layers = (self.gate_proj, self.up_proj, self.down_proj)
    if not all(_usable(layer) for layer in layers):
        return self.unfused_forward(x)
    steps = tuple(_step(layer) for layer in layers)
    adapters = [tensor for layer in layers for tensor in _parts(layer)]
    return FusedMlp.apply(_compute_type(x), steps, *adapters)


def _compute_type(x: torch.Tensor) -> torch.Tensor:
    if torch.is_autocast_enabled(x.device.type):
        return x.to(torch.get_autocast_dtype(x.device.type))
    return x


def _norm_forward(self: Any, hidden_states: torch.Tensor) -> torch.Tensor:
    size = (hidden_states.shape[-1],)
    return torch.nn.functional.rms_norm(
        hidden_states, size, self.weight.to(hidden_states.dtype), self.variance_epsilon
    )


def fuse(model: torch.nn.Module) -> int:
    """Patch a peft model in place; the number of projections that now run fused. Fusing twice changes nothing."""
    count = 0
    for module in model.modules():
        if _takes(module) and not hasattr(module, "unfused_forward"):
            module.fused_weight = Weight(module.get_base_layer())
            _replace(module, _projection_forward)
            count += 1
    for module in model.modules():
        if hasattr(module, "unfused_forward"):
            continue
        if _is_swiglu_mlp(module):
            _replace(module, _mlp_forward)
        elif type(module).__name__ in {"Qwen2RMSNorm", "LlamaRMSNorm", "MistralRMSNorm", "Qwen3RMSNorm"}:
            _replace(module, _norm_forward)
    return count


def _is_swiglu_mlp(module: Any) -> bool:
    names = ("gate_proj", "up_proj", "down_proj")
    if type(module).__name__ not in {"Qwen2MLP", "LlamaMLP", "MistralMLP", "Qwen3MLP"}:
        return False
    activation = getattr(module, "act_fn", None)
    silu = isinstance(activation, torch.nn.SiLU) or type(activation).__name__ in {"SiLUActivation", "SiLU"}
    return silu and all(hasattr(getattr(module, name), "fused_weight") for name in names)


def _replace(module: Any, forward: Any) -> None:
    module.unfused_forward = module.forward
    module.forward = types.MethodType(forward, module)
