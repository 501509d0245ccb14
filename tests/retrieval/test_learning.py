"""Training and calibrating on made data whose right answer is known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from retrieval.calibrate import Judged, cut, fit, margins, report, shares, write
from retrieval.calibration import Calibration, shipped_calibration
from retrieval.rerank import train
from retrieval.rerank.features import FEATURES

PASSAGE, TERMS, HEADING = (FEATURES.index(name) for name in ("passage", "terms", "heading"))


def groups(number: int, source: str = "a", seed: int = 0) -> list[train.Group]:
    """The answer has the highest passage + terms, among noise; the heading never varies."""
    rng = np.random.default_rng(seed)
    made = []
    for _ in range(number):
        rows = rng.normal(size=(20, len(FEATURES)))
        rows[:, HEADING] = 0.0
        made.append(train.Group(rows, int(np.argmax(rows[:, PASSAGE] + rows[:, TERMS])), source))
    return made


def test_training_finds_what_decides_and_leaves_the_unseen_to_the_prior() -> None:
    learned = train.fit(groups(200))
    others = np.delete(np.abs(learned), [PASSAGE, TERMS, HEADING, FEATURES.index("entities")])
    assert min(learned[PASSAGE], learned[TERMS]) > 4 * others.max()
    assert learned[HEADING] == train.PRIORS["heading"]


def test_cross_validation_never_trains_on_a_source_left_out() -> None:
    misleading = [train.Group(-group.features, group.answer, "b") for group in groups(100, seed=3)]
    ranks = train.cross_validate(groups(100) + misleading, frozenset({"b"}))
    assert train.figures(ranks[:100])["R@1"] > 0.9
    assert train.figures(ranks[100:])["R@1"] < 0.1


def test_answer_that_was_not_found_counts_as_missed() -> None:
    lost = train.Group(np.zeros((3, len(FEATURES))), None, "a")
    assert train.rank_of_answer(lost, np.ones(len(FEATURES))) == float("inf")
    assert train.figures(np.array([1.0, float("inf")])) == {
        "R@1": 0.5,
        "R@10": 0.5,
        "R@100": 0.5,
        "nDCG@10": 0.5,
    }


def test_features_of_another_version_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "old.npz"
    np.savez(path, names=np.array(["passage"]))
    with pytest.raises(ValueError, match="other features"):
        train.read_groups(path)


def questions(number: int, *, answerable: bool, split: str, seed: int) -> list[Judged]:
    rng = np.random.default_rng(seed)
    rows = rng.normal(size=(number, len(FEATURES)))
    rows[:, PASSAGE] += 3.0 if answerable else 0.0
    return [Judged(row, answerable, split) for row in rows]


def test_calibration_keeps_its_promise_on_questions_it_has_not_seen(tmp_path: Path) -> None:
    judged = [
        item
        for seed, split in enumerate(["dev", "test"])
        for known in (True, False)
        for item in questions(300, answerable=known, split=split, seed=2 * seed + known)
    ]
    parameters, figures = report(judged, "dev", 0.02)
    assert figures["dev, cross-validated"]["answerable_lost"] <= 0.02
    assert figures["test"]["answerable_lost"] <= 0.06
    assert figures["test"]["unanswerable_turned_away"] > 0.6
    write(parameters, figures, "embedded/mine", tmp_path / "calibration.json")
    read = shipped_calibration("embedded", "mine", tmp_path / "calibration.json")
    rows = np.stack([item.features for item in judged if item.features is not None])
    above = read.probabilities(FEATURES, rows) >= read.threshold
    assert (
        np.array_equal(above, margins(judged, parameters) >= 0)
        or (above != (margins(judged, parameters) >= 0)).mean() < 0.01
    )


def test_question_that_found_nothing_is_turned_away() -> None:
    judged = [
        *questions(50, answerable=True, split="dev", seed=1),
        *questions(50, answerable=False, split="dev", seed=2),
    ]
    parameters = fit(judged)
    log_odds = margins([*judged, Judged(None, False, "dev")], parameters)
    assert log_odds[-1] < log_odds[:-1].min()
    at = cut(judged, log_odds[:-1], 0.0)
    assert shares(judged, log_odds[:-1], at)["answerable_lost"] == 0.0


def test_one_kind_of_question_cannot_be_calibrated() -> None:
    with pytest.raises(ValueError, match="answerable"):
        fit(questions(10, answerable=True, split="dev", seed=1))


def test_probability_is_monotone_and_never_overflows() -> None:
    curve = Calibration({"passage": 2.0}, -1.0)
    chances = curve.probabilities(["passage"], np.array([[-1e6], [0.5], [1e6]]))
    assert chances.tolist() == pytest.approx([0.0, 0.5, 1.0])
