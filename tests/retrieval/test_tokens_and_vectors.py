"""Segmentation keeps medical words and their parts; packed vectors keep their directions."""

from __future__ import annotations

import numpy as np
import pytest

from retrieval.tokens import DATA, Tokenizer, default_tokenizer, grams, read_terms
from retrieval.vectors import pack_rows, unpack_rows


def test_medical_terms_stay_whole_and_give_their_parts() -> None:
    words = default_tokenizer().words("请问阿司匹林肠溶片和急性心肌梗死有什么关系")
    assert {"阿司匹林肠溶片", "阿司匹林", "急性心肌梗死", "心肌梗死"} <= set(words)
    assert not {"请问", "什么", "有", "和"} & set(words)


def test_writing_variants_are_the_same_words() -> None:
    tokenizer = default_tokenizer()
    assert tokenizer.words("ＮＯＡＣ　１０ｍｇ") == tokenizer.words("noac 10mg")
    assert tokenizer.words("。，！？ \n") == []


def test_added_terms_count_as_terms() -> None:
    tokenizer = Tokenizer()
    assert "替格瑞洛片剂甲" not in tokenizer.words("替格瑞洛片剂甲怎么吃")
    tokenizer.add_terms(["替格瑞洛片剂甲", "a b", "片"])
    assert "替格瑞洛片剂甲" in tokenizer.words("替格瑞洛片剂甲怎么吃")
    assert tokenizer.is_term("替格瑞洛片剂甲")
    assert not tokenizer.is_term("片")


def test_dictionary_is_large_and_each_term_once() -> None:
    terms = read_terms(DATA / "medical_terms.txt")
    assert len(terms) == len(set(terms)) >= 1_500


def test_grams_do_not_cross_punctuation() -> None:
    assert grams("头痛，发热 abc", 2) == {"头痛", "发热"}


def test_packed_vectors_keep_cosines_within_two_thousandths() -> None:
    rows = np.random.default_rng(1).normal(size=(60, 384)).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    back = unpack_rows(pack_rows(rows, max_chars=65_535), dim=384)
    assert np.abs(back @ back.T - rows @ rows.T).max() < 2e-3


def test_rows_that_do_not_fit_are_left_out_whole() -> None:
    rows = np.ones((1_000, 384), dtype=np.float32)
    packed = pack_rows(rows, max_chars=65_535)
    assert len(packed) <= 65_535
    assert 120 <= len(unpack_rows(packed, dim=384)) < 1_000


@pytest.mark.parametrize("text", ["not base64!", "AAAA"])
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="vector field"):
        unpack_rows(text, dim=384)


def test_empty_and_zero_rows_survive() -> None:
    assert unpack_rows("", dim=384).shape == (0, 384)
    zero = np.zeros((1, 384), dtype=np.float32)
    assert not unpack_rows(pack_rows(zero, max_chars=9_999), dim=384).any()
