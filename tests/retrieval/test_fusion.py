"""Fusing routes: both ways, and what neither may do."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from retrieval.fusion import min_max, reciprocal_ranks

routes = st.dictionaries(
    st.sampled_from(["dense", "bm25", "lexical"]),
    st.dictionaries(st.sampled_from("abcdefgh"), st.floats(-5, 50), max_size=8).map(
        lambda scores: sorted(scores.items(), key=lambda item: -item[1])
    ),
)


def test_found_by_both_routes_beats_found_by_one() -> None:
    found = {"dense": [("a", 0.9), ("b", 0.8), ("z", 0.1)], "bm25": [("b", 30.0), ("c", 29.0), ("z", 1.0)]}
    assert next(iter(reciprocal_ranks(found))) == "b"
    assert next(iter(min_max(found))) == "b"


def test_exact_name_found_by_keywords_alone_stays_near_the_top() -> None:
    dense = [(f"d{i}", 0.9 - i / 1000) for i in range(100)]
    fused = min_max({"dense": dense, "bm25": [("exact", 40.0), ("d50", 3.0)]})
    assert list(fused).index("exact") < 60
    assert fused["exact"] == pytest.approx(0.4)


def test_one_route_alone_runs_from_zero_to_one() -> None:
    assert min_max({"dense": [("a", 0.7), ("b", 0.6)], "bm25": []}) == {"a": 1.0, "b": 0.0}
    assert min_max({"dense": [("a", 0.7)]}) == {"a": 1.0}
    assert min_max({}) == reciprocal_ranks({}) == {}


@given(routes)
def test_every_chunk_found_comes_out_once_best_first(found: dict[str, list[tuple[str, float]]]) -> None:
    ids = {chunk_id for route in found.values() for chunk_id, _ in route}
    for fused in (min_max(found), reciprocal_ranks(found)):
        assert fused.keys() == ids
        assert list(fused.values()) == sorted(fused.values(), reverse=True)
    assert all(-1e-9 <= score <= 1 + 1e-9 for score in min_max(found).values())


@given(routes, st.floats(0.5, 20), st.floats(-3, 3))
def test_scale_of_a_route_does_not_matter(
    found: dict[str, list[tuple[str, float]]], factor: float, shift: float
) -> None:
    rounded = {name: [(i, round(s, 3)) for i, s in route] for name, route in found.items()}
    scaled = {name: [(i, s * factor + shift) for i, s in route] for name, route in rounded.items()}
    plain, other = min_max(rounded), min_max(scaled)
    assert all(abs(plain[i] - other[i]) < 1e-6 for i in plain)
