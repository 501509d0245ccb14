"""How vectors travel inside a text field: int8 with a scale per row, base64.

Owns packing and unpacking. A row costs `dim + 4` bytes before base64; the rounding error of a cosine
between two 384-dimensional vectors is below 0.002 (measured in the tests), well under the differences that
decide a ranking.
"""

from __future__ import annotations

import base64
import binascii

import numpy as np

from retrieval.types import Matrix

_SCALE_BYTES = 4


def pack_rows(rows: Matrix, *, max_chars: int) -> str:
    """Encode (n, dim) float32; rows past what fits `max_chars` characters are left out, from the end."""
    matrix = np.ascontiguousarray(np.atleast_2d(rows), dtype=np.float32)
    if matrix.size == 0:
        return ""
    row_bytes = matrix.shape[1] + _SCALE_BYTES
    fitting = max_chars // 4 * 3 // row_bytes
    matrix = matrix[:fitting]
    scales = np.maximum(np.abs(matrix).max(axis=1, keepdims=True), 1e-12).astype(np.float32) / np.float32(127)
    codes = np.rint(matrix / scales).astype(np.int8)
    packed = np.concatenate([scales.view(np.int8).reshape(-1, _SCALE_BYTES), codes], axis=1)
    return base64.b64encode(packed.tobytes()).decode("ascii")


def unpack_rows(text: str, *, dim: int) -> Matrix:
    """Decode what `pack_rows` made to (n, dim) float32. Raises ValueError for anything else."""
    if not text:
        return np.zeros((0, dim), dtype=np.float32)
    try:
        raw = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise ValueError("vector field is not base64") from error
    if len(raw) % (dim + _SCALE_BYTES):
        raise ValueError(f"vector field does not hold rows of {dim} dimensions")
    table = np.frombuffer(raw, dtype=np.int8).reshape(-1, dim + _SCALE_BYTES)
    scales = np.ascontiguousarray(table[:, :_SCALE_BYTES]).view(np.float32)
    return np.asarray(table[:, _SCALE_BYTES:] * scales, dtype=np.float32)
