"""Attributes of an operating point as a graph takes them."""

from __future__ import annotations

import numpy as np

from wheeltapper.schemas.bundle.attributes import attribute_row
from wheeltapper.schemas.bundle.manifest import AttributeSpec

SPECS = (AttributeSpec(name="rpm"), AttributeSpec(name="product", categories=("1", "ale", "stout")))


def test_numbers_stand_as_they_are_and_categories_are_one_hot() -> None:
    row = attribute_row({"rpm": 1200, "product": "ale", "unasked": 7.0}, SPECS)
    np.testing.assert_array_equal(row, np.array([1200, 0, 1, 0], dtype=np.float32))
    assert row.dtype == np.float32


def test_a_number_stands_for_the_category_that_reads_the_same() -> None:
    np.testing.assert_array_equal(attribute_row({"rpm": "900.5", "product": 1.0}, SPECS), [900.5, 1, 0, 0])


def test_what_is_unknown_is_nan_or_all_zeros() -> None:
    for attributes in ({}, {"rpm": "fast", "product": "porter"}, {"rpm": float("inf"), "product": "ALE"}):
        np.testing.assert_array_equal(attribute_row(attributes, SPECS), [np.nan, 0, 0, 0])
