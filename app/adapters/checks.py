"""Whether a folder holds a LoRA adapter that the model servers can serve: configuration, base model, weights.

Reads without torch: the safetensors library validates the file, numpy looks at the numbers. What vLLM does not serve
(DoRA, biases, per-layer ranks, extra trained modules) is refused here, where the reason can be said.
"""

from __future__ import annotations

import hashlib
import json
import re
import struct
from collections import defaultdict
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

from app.adapters.errors import AdapterRejected, Reason

CONFIG, WEIGHTS, MARKS = "adapter_config.json", "adapter_model.safetensors", "anxin.json"
MAX_CONFIG_BYTES = 256 * 1024
SERVABLE_MODULES = frozenset({"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"})
_TENSOR = re.compile(r"base_model\.model\.(?P<module>[\w.]+?\.(?P<kind>\w+))\.lora_(?P<side>[AB])\.weight")
_SNAPSHOT = re.compile(r"models--(?P<owner>[^/]+)--(?P<name>[^/]+)/snapshots/[^/]+/?$")
_FLOATS: dict[str, tuple[str, int]] = {
    "F32": ("<u4", 0x7F80_0000),
    "F16": ("<u2", 0x7C00),
    "BF16": ("<u2", 0x7F80),
}

Shape = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class AdapterFacts:
    """What the files say."""

    base_model: str
    rank: int
    target_modules: tuple[str, ...]
    demo: bool


@dataclass(frozen=True, slots=True)
class Claims:
    """What the training side says about an adapter; None and False claim nothing. `sha256` is of the weights."""

    sha256: str | None = None
    rank: int | None = None
    base_model: str | None = None
    demo: bool = False
    evaluation: Mapping[str, Any] | None = None


def check_claims(claims: Claims, facts: AdapterFacts, folder: Path) -> None:
    """Raises AdapterRejected when the files are not those that were announced."""
    if claims.sha256 is not None:
        with (folder / WEIGHTS).open("rb") as file:
            if hashlib.file_digest(file, "sha256").hexdigest() != claims.sha256:
                raise AdapterRejected(Reason.NOT_AS_CLAIMED, "权重与声明的 sha256 不一致。")
    if claims.rank not in (None, facts.rank):
        raise AdapterRejected(Reason.NOT_AS_CLAIMED, f"声明的秩是 {claims.rank}，文件里是 {facts.rank}。")
    if claims.base_model is not None and model_key(claims.base_model) != model_key(facts.base_model):
        raise AdapterRejected(Reason.NOT_AS_CLAIMED, "声明的基础模型与 adapter_config.json 不一致。")


def inspect(folder: Path, *, base_models: Collection[str], max_rank: int) -> AdapterFacts:
    """Checks everything; blocking, reads the weights once.

    Raises:
        AdapterRejected: with the first reason found.
    """
    config = read_object(folder / CONFIG, missing=Reason.CONFIG_MISSING)
    rank = check_config(config, max_rank=max_rank)
    base = check_base_model(config, base_models)
    modules = check_weights(folder / WEIGHTS, rank=rank)
    declared = config.get("target_modules")
    if isinstance(declared, list) and not modules <= set(declared):
        extra = "、".join(sorted(modules - set(declared)))
        raise AdapterRejected(
            Reason.TARGET_MODULES, f"权重里有 adapter_config.json 没有声明的模块：{extra}。"
        )
    marks = read_object(folder / MARKS, missing=None)
    return AdapterFacts(base, rank, tuple(sorted(modules)), marks.get("demo") is True)


def read_object(path: Path, *, missing: Reason | None) -> dict[str, Any]:
    """A JSON object; {} when the file is absent and `missing` is None."""
    if not path.is_file():
        if missing is None:
            return {}
        raise AdapterRejected(missing, f"目录里没有 {path.name}。")
    try:
        if path.stat().st_size > MAX_CONFIG_BYTES:
            raise ValueError
        value = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(value, dict):
            raise ValueError
    except (ValueError, RecursionError) as error:
        raise AdapterRejected(Reason.CONFIG_INVALID, f"{path.name} 不是有效的 JSON 对象。") from error
    return value


def check_config(config: Mapping[str, Any], *, max_rank: int) -> int:
    """The rank, after everything that vLLM would refuse or silently serve wrong."""
    if config.get("peft_type") != "LORA":
        raise AdapterRejected(Reason.NOT_LORA, "peft_type 不是 LORA。")
    if config.get("use_dora"):
        raise AdapterRejected(Reason.DORA, "不支持 DoRA 适配器，请用普通 LoRA 训练。")
    for option, plain in (("bias", (None, "none")), ("modules_to_save", (None, []))):
        if config.get(option) not in plain:
            raise AdapterRejected(Reason.UNSUPPORTED_OPTION, f"不支持 {option}={config[option]!r}。")
    for option in ("rank_pattern", "alpha_pattern", "lora_bias", "trainable_token_indices"):
        if config.get(option):
            raise AdapterRejected(Reason.UNSUPPORTED_OPTION, f"不支持 {option}：各层必须使用同一个秩。")
    rank = config.get("r")
    if not isinstance(rank, int) or isinstance(rank, bool) or rank < 1:
        raise AdapterRejected(Reason.CONFIG_INVALID, "r 不是正整数。")
    if rank > max_rank:
        raise AdapterRejected(Reason.RANK_TOO_HIGH, f"秩 {rank} 超过服务器上限 {max_rank}。")
    declared = config.get("target_modules")
    if isinstance(declared, list) and (unknown := set(declared) - SERVABLE_MODULES):
        raise AdapterRejected(
            Reason.TARGET_MODULES, f"不支持的模块：{'、'.join(sorted(map(str, unknown)))}。"
        )
    return rank


def check_base_model(config: Mapping[str, Any], accepted: Collection[str]) -> str:
    """The name of the base model in the configuration, which must be one of `accepted`.

    Names are compared by their last part, so that `Qwen/X`, `/models/X` and a hub cache folder of X are the same.
    """
    base = config.get("base_model_name_or_path")
    if not isinstance(base, str) or not base.strip():
        raise AdapterRejected(Reason.CONFIG_INVALID, "adapter_config.json 没有写基础模型。")
    if model_key(base) not in {model_key(name) for name in accepted}:
        raise AdapterRejected(
            Reason.WRONG_BASE_MODEL, f"适配器的基础模型是 {base}，服务使用的是 {'、'.join(accepted)}。"
        )
    return base


def model_key(name: str) -> str:
    cached = _SNAPSHOT.search(name)
    return (cached["name"] if cached is not None else PurePosixPath(name.rstrip("/")).name).lower()


def check_weights(path: Path, *, rank: int) -> set[str]:
    """The kinds of module with weights, after shapes, finiteness and effect were checked."""
    if not path.is_file():
        raise AdapterRejected(Reason.WEIGHTS_MISSING, f"目录里没有 {path.name}（不接受 .bin 权重）。")
    try:
        with safe_open(str(path), framework="np") as opened:
            names = list(opened.keys())
    except (SafetensorError, OSError, ValueError) as error:
        raise AdapterRejected(Reason.WEIGHTS_CORRUPT, "adapter_model.safetensors 不完整或已损坏。") from error
    header, start = _header(path)
    tensors = {name: header[name] for name in names}
    kinds = check_shapes({name: tuple(t["shape"]) for name, t in tensors.items()}, rank=rank)
    check_numbers(path, tensors, start)
    return kinds


def check_shapes(shapes: Mapping[str, Shape], *, rank: int) -> set[str]:
    """Every module has an A (rank, in) and a B (out, rank); modules of one kind have the same shapes in all layers."""
    modules: dict[str, dict[str, Shape]] = defaultdict(dict)
    by_kind: dict[str, set[tuple[Shape, Shape]]] = defaultdict(set)
    for name, shape in shapes.items():
        match = _TENSOR.fullmatch(name)
        if match is None or match["kind"] not in SERVABLE_MODULES:
            raise AdapterRejected(Reason.TARGET_MODULES, f"权重里有不能服务的张量：{name[:80]}。")
        modules[match["module"]][match["side"]] = shape
    for module, sides in modules.items():
        a, b = sides.get("A", ()), sides.get("B", ())
        if len(a) != 2 or len(b) != 2 or a[0] != rank or b[1] != rank:
            raise AdapterRejected(Reason.WRONG_SHAPES, f"{module} 的形状与秩 {rank} 不符。")
        by_kind[module.rsplit(".", 1)[1]].add((a, b))
    mixed = sorted(kind for kind, seen in by_kind.items() if len(seen) > 1)
    if not modules or mixed:
        raise AdapterRejected(
            Reason.WRONG_SHAPES, f"各层形状不一致：{'、'.join(mixed)}。" if mixed else "没有权重。"
        )
    return set(by_kind)


def check_numbers(path: Path, tensors: Mapping[str, Mapping[str, Any]], start: int) -> None:
    """Every number is finite, and not every B is zero (such an adapter is the base model)."""
    effect = False
    for name, tensor in tensors.items():
        if tensor["dtype"] not in _FLOATS:
            raise AdapterRejected(Reason.WEIGHTS_CORRUPT, f"{name[:80]} 的类型 {tensor['dtype']} 不支持。")
        kind, exponent = _FLOATS[tensor["dtype"]]
        begin, end = tensor["data_offsets"]
        bits = _bits(path, kind, start + begin, end - begin)
        if bool(((bits & exponent) == exponent).any()):
            raise AdapterRejected(Reason.WEIGHTS_NOT_FINITE, f"{name[:80]} 含有 NaN 或无穷大。")
        sign_free = bits & (exponent | (exponent & -exponent) - 1)
        effect = effect or (".lora_B." in name and bool(sign_free.any()))
    if not effect:
        raise AdapterRejected(Reason.WEIGHTS_WITHOUT_EFFECT, "所有 lora_B 都是 0，适配器没有作用。")


def _bits(path: Path, kind: str, offset: int, size: int) -> NDArray[np.unsignedinteger[Any]]:
    """The raw bits of one tensor; numpy has no bfloat16, and finiteness needs only the exponent."""
    count = size // np.dtype(kind).itemsize
    if count == 0:
        return np.zeros(0, dtype=kind)
    return np.memmap(path, dtype=kind, mode="r", offset=offset, shape=(count,))


def _header(path: Path) -> tuple[dict[str, Any], int]:
    """The header of a file that the library has already found valid, and where the data begins."""
    with path.open("rb") as file:
        (size,) = struct.unpack("<Q", file.read(8))
        header: dict[str, Any] = json.loads(file.read(size))
    return header, 8 + size
