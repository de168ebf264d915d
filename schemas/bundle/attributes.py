"""From the attributes of a chunk or clip to the columns of a graph's input `attributes`."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from wheeltapper.schemas.bundle.manifest import AttributeSpec


def attribute_row(attributes: Mapping[str, float | str], specs: Sequence[AttributeSpec]) -> np.ndarray:
    """One operating point as a graph takes it.

    Args:
        attributes: as messages and clips carry them; what `specs` does not name is left out.
        specs: of the bundle, in order.

    Returns:
        [A] float32. A number stands as it is, NaN where it is missing, infinite or a text that is no number. A category is
        one-hot, all zeros where it is missing or unknown; a number stands for the category that reads the same ('2' for 2.0).
    """
    row: list[float] = []
    for spec in specs:
        value = attributes.get(spec.name)
        if spec.categories:
            text = category_text(value)
            row += [float(text == category) for category in spec.categories]
        else:
            row.append(_number(value))
    return np.array(row, dtype=np.float32)


def category_text(value: float | str | None) -> str | None:
    """How a value of an attribute reads as a category: whole numbers without a point; None stays None."""
    if value is None or isinstance(value, str):
        return value
    return str(int(value)) if float(value).is_integer() else repr(float(value))


def _number(value: float | str | None) -> float:
    try:
        number = float("nan") if value is None else float(value)
    except ValueError:
        return float("nan")
    return number if math.isfinite(number) else float("nan")
