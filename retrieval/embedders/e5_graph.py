"""Writes `retrieval/data/e5_encoder.onnx`, the shape of multilingual-e5-small's encoder without its weights.

`python -m retrieval.embedders.e5_graph [--out FILE]`. Needs `onnx` (a development dependency); the
service only reads the file and hands the weights over (`e5.py`). Owns the graph; knows no texts and no weights.

Inputs: `vectors` (batch, tokens, 384) float32, the token vectors; `mask` (batch, tokens) int64, 1 for a token;
`places` (tokens,) int64, 0 … tokens-1. Output: `pooled` (batch, 384) float32, the mean over each text's tokens.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

WIDTH, HEADS, INNER, PLACES, LAYERS = 384, 12, 1536, 512, 12
EPSILON = 1e-12
OUT = Path(__file__).parents[1] / "data" / "e5_encoder.onnx"
_LINEAR = {
    "q": (WIDTH, WIDTH),
    "k": (WIDTH, WIDTH),
    "v": (WIDTH, WIDTH),
    "ao": (WIDTH, WIDTH),
    "fi": (WIDTH, INNER),
    "fo": (INNER, WIDTH),
}


class _Graph:
    """Collects nodes and initializers; every method returns the name of what it made."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.values: list[onnx.TensorProto] = []

    def constant(self, name: str, value: NDArray[np.generic]) -> str:
        self.values.append(numpy_helper.from_array(value, name))
        return name

    def weight(self, name: str, shape: tuple[int, ...]) -> str:
        """A tensor whose values the reader supplies."""
        value = TensorProto(name=name, data_type=TensorProto.FLOAT, dims=shape)
        value.data_location = TensorProto.EXTERNAL
        length = 4 * int(np.prod(shape))
        for key, entry in (("location", "given"), ("offset", "0"), ("length", str(length))):
            value.external_data.add(key=key, value=entry)
        self.values.append(value)
        return name

    def node(self, kind: str, inputs: list[str], output: str, **attributes: object) -> str:
        self.nodes.append(helper.make_node(kind, inputs, [output], **attributes))
        return output

    def linear(self, source: str, name: str) -> str:
        inner, outer = _LINEAR[name.split(".")[1]]
        product = self.node("MatMul", [source, self.weight(f"{name}.w", (inner, outer))], f"{name}.product")
        return self.node("Add", [product, self.weight(f"{name}.b", (outer,))], f"{name}.out")

    def normed(self, source: str, name: str) -> str:
        scale, shift = self.weight(f"{name}.w", (WIDTH,)), self.weight(f"{name}.b", (WIDTH,))
        return self.node(
            "LayerNormalization", [source, scale, shift], f"{name}.out", axis=-1, epsilon=EPSILON
        )


def build() -> onnx.ModelProto:
    """The graph, weights external; names of weights follow the wheel's file (`emb.ln.w`, `l0.q.w`, …)."""
    graph = _Graph()
    one = graph.constant("one", np.array(1, np.float32))
    places = graph.node("Gather", [graph.weight("emb.pos", (PLACES, WIDTH)), "places"], "place_vectors")
    state = graph.normed(graph.node("Add", ["vectors", places], "emb"), "emb.ln")
    shown = graph.node("Cast", ["mask"], "shown", to=TensorProto.FLOAT)
    hidden = graph.node("Sub", [one, shown], "hidden")
    far = graph.node("Mul", [hidden, graph.constant("minus", np.array(-1e9, np.float32))], "far")
    far = graph.node("Unsqueeze", [far, graph.constant("axes_12", np.array([1, 2], np.int64))], "far_4d")
    split = graph.constant("split", np.array([0, 0, HEADS, WIDTH // HEADS], np.int64))
    whole = graph.constant("whole", np.array([0, 0, WIDTH], np.int64))
    scale = graph.constant("scale", np.array((WIDTH // HEADS) ** -0.5, np.float32))
    half, root = (graph.constant(n, np.array(v, np.float32)) for n, v in (("half", 0.5), ("root", 0.5**0.5)))
    for layer in range(LAYERS):
        at = f"l{layer}"
        parts = {}
        for part, order in (("q", [0, 2, 1, 3]), ("k", [0, 2, 3, 1]), ("v", [0, 2, 1, 3])):
            heads = graph.node("Reshape", [graph.linear(state, f"{at}.{part}"), split], f"{at}.{part}.heads")
            parts[part] = graph.node("Transpose", [heads], f"{at}.{part}.turned", perm=order)
        scores = graph.node("MatMul", [parts["q"], parts["k"]], f"{at}.scores")
        scores = graph.node("Add", [graph.node("Mul", [scores, scale], f"{at}.scaled"), far], f"{at}.seen")
        shares = graph.node("Softmax", [scores], f"{at}.shares", axis=-1)
        mixed = graph.node("MatMul", [shares, parts["v"]], f"{at}.mixed")
        mixed = graph.node("Transpose", [mixed], f"{at}.back", perm=[0, 2, 1, 3])
        mixed = graph.linear(graph.node("Reshape", [mixed, whole], f"{at}.joined"), f"{at}.ao")
        state = graph.normed(graph.node("Add", [state, mixed], f"{at}.sum"), f"{at}.aln")
        inner = graph.linear(state, f"{at}.fi")
        curve = graph.node("Erf", [graph.node("Mul", [inner, root], f"{at}.narrow")], f"{at}.erf")
        curve = graph.node("Mul", [inner, graph.node("Add", [curve, one], f"{at}.shifted")], f"{at}.twice")
        inner = graph.linear(graph.node("Mul", [curve, half], f"{at}.gelu"), f"{at}.fo")
        state = graph.normed(graph.node("Add", [state, inner], f"{at}.sum2"), f"{at}.oln")
    axis_1, axis_2 = (graph.constant(f"axis_{n}", np.array([n], np.int64)) for n in (1, 2))
    kept = graph.node("Mul", [state, graph.node("Unsqueeze", ["shown", axis_2], "shown_3d")], "kept")
    total = graph.node("ReduceSum", [kept, axis_1], "total", keepdims=0)
    count = graph.node("ReduceSum", [shown, axis_1], "count", keepdims=1)
    graph.node("Div", [total, count], "pooled")
    model = helper.make_model(
        helper.make_graph(
            graph.nodes,
            "e5_encoder",
            [
                helper.make_tensor_value_info("vectors", TensorProto.FLOAT, ["batch", "tokens", WIDTH]),
                helper.make_tensor_value_info("mask", TensorProto.INT64, ["batch", "tokens"]),
                helper.make_tensor_value_info("places", TensorProto.INT64, ["tokens"]),
            ],
            [helper.make_tensor_value_info("pooled", TensorProto.FLOAT, ["batch", WIDTH])],
            graph.values,
        ),
        opset_imports=[helper.make_opsetid("", 17)],
    )
    model.ir_version = 8
    return model


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=OUT)
    chosen = parser.parse_args()
    chosen.out.write_bytes(build().SerializeToString())


if __name__ == "__main__":
    main()
