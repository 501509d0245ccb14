"""The Triton side of `kernels.py`: imported only where Triton is installed and a GPU is used.

Every kernel walks a contiguous array in blocks; `count` is its number of elements, below 2**31.
"""

# mypy: ignore-errors
import triton
import triton.language as tl


@triton.jit
def _keep(source, target, at, count, drawn, p, accumulate: tl.constexpr):
    inside = at < count
    values = tl.load(source + at, mask=inside).to(tl.float32)
    kept = tl.where(drawn >= p, values / (1 - p), 0.0)
    if accumulate:
        kept += tl.load(target + at, mask=inside).to(tl.float32)
    tl.store(target + at, kept.to(target.dtype.element_ty), mask=inside)


@triton.jit
def dropout(source, target, count, p, seed, accumulate: tl.constexpr, BLOCK: tl.constexpr):  # noqa: N803
    """One random draw gives four numbers, so a block is walked in four quarters."""
    quarter: tl.constexpr = BLOCK // 4
    lane = tl.arange(0, quarter)
    first = tl.program_id(0) * BLOCK + lane
    a, b, c, d = tl.rand4x(seed, tl.program_id(0) * quarter + lane)
    _keep(source, target, first, count, a, p, accumulate)
    _keep(source, target, first + quarter, count, b, p, accumulate)
    _keep(source, target, first + 2 * quarter, count, c, p, accumulate)
    _keep(source, target, first + 3 * quarter, count, d, p, accumulate)


@triton.jit
def swiglu_forward(gate, up, out, count, BLOCK: tl.constexpr):  # noqa: N803
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    inside = at < count
    g = tl.load(gate + at, mask=inside).to(tl.float32)
    u = tl.load(up + at, mask=inside).to(tl.float32)
    tl.store(out + at, (g * tl.sigmoid(g) * u).to(out.dtype.element_ty), mask=inside)


@triton.jit
def swiglu_backward(grad, gate, up, count, BLOCK: tl.constexpr):  # noqa: N803
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    inside = at < count
    d = tl.load(grad + at, mask=inside).to(tl.float32)
    g = tl.load(gate + at, mask=inside).to(tl.float32)
    u = tl.load(up + at, mask=inside).to(tl.float32)
    s = tl.sigmoid(g)
    tl.store(gate + at, (d * u * s * (1 + g * (1 - s))).to(gate.dtype.element_ty), mask=inside)
    tl.store(up + at, (d * g * s).to(up.dtype.element_ty), mask=inside)
