"""Small fused element-wise kernels for training on a GPU, with plain torch twins for every other device.

Owns seeded dropout (applied again in the backward pass from its seed, so no mask is stored) and SwiGLU with its
gradient. The Triton kernels are built at first use; without Triton, or on a CPU, the torch twins run.
"""

from __future__ import annotations

import functools
from typing import Any

import torch

_BLOCK = 1024


@functools.lru_cache(maxsize=1)
def _triton_kernels() -> dict[str, Any] | None:
    try:
        import triton  # type: ignore[import-not-found,unused-ignore]

        from finetune.training import triton_kernels
    except ImportError:
        return None
    return {"grid": triton.cdiv, "kernels": triton_kernels}


def _kernels(tensor: torch.Tensor) -> Any | None:
    found = _triton_kernels() if tensor.is_cuda else None
    return None if found is None else found["kernels"]


def _grid(count: int) -> tuple[int]:
    return ((count + _BLOCK - 1) // _BLOCK,)


def draw_seed() -> int:
    """A seed from torch's own CPU generator, so that saving and restoring its state restores the masks."""
    return int(torch.randint(0, 2**31 - 1, (), device="cpu"))


def dropped(x: torch.Tensor, p: float, seed: int) -> torch.Tensor:
    """`x` with a share `p` of its elements zero and the rest scaled up; the same seed gives the same mask."""
    if p == 0:
        return x
    kernels = _kernels(x)
    if kernels is not None:
        x = x.contiguous()
        out = torch.empty_like(x)
        kernels.dropout[_grid(x.numel())](x, out, x.numel(), p, seed, accumulate=False, BLOCK=_BLOCK)
        return out
    return x * _mask(x, p, seed)


def add_dropped_(total: torch.Tensor, x: torch.Tensor, p: float, seed: int) -> torch.Tensor:
    """Adds `dropped(x, p, seed)` to `total` in place."""
    if p == 0:
        return total.add_(x)
    kernels = _kernels(x)
    if kernels is not None and total.is_contiguous():
        x = x.contiguous()
        kernels.dropout[_grid(x.numel())](x, total, x.numel(), p, seed, accumulate=True, BLOCK=_BLOCK)
        return total
    return total.add_(x * _mask(x, p, seed))


def _mask(x: torch.Tensor, p: float, seed: int) -> torch.Tensor:
    generator = torch.Generator(device=x.device).manual_seed(seed)
    keep = torch.rand(x.shape, generator=generator, device=x.device, dtype=torch.float32) >= p
    return keep.to(x.dtype) / (1 - p)


def swiglu(gate: torch.Tensor, up: torch.Tensor) -> torch.Tensor:
    """silu(gate) * up, computed in float32, in the type of `up`."""
    kernels = _kernels(gate)
    if kernels is not None:
        out = torch.empty_like(gate)
        kernels.swiglu_forward[_grid(gate.numel())](gate, up, out, gate.numel(), BLOCK=_BLOCK)
        return out
    return (torch.nn.functional.silu(gate.float()) * up.float()).to(up.dtype)


def swiglu_backward_(
    grad: torch.Tensor, gate: torch.Tensor, up: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Gradients for `gate` and `up`; on a GPU they take the memory of `gate` and `up`, which end here."""
    kernels = _kernels(gate)
    if kernels is not None:
        grad = grad.contiguous()
        kernels.swiglu_backward[_grid(gate.numel())](grad, gate, up, gate.numel(), BLOCK=_BLOCK)
        return gate, up
    gate32, up32, grad32 = gate.float(), up.float(), grad.float()
    sigmoid = torch.sigmoid(gate32)
    silu = gate32 * sigmoid
    for_gate = grad32 * up32 * (sigmoid * (1 + gate32 * (1 - sigmoid)))
    return for_gate.to(gate.dtype), (grad32 * silu).to(up.dtype)
