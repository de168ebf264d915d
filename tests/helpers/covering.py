"""Parameters whose full product is for the night: of independent axes, `make test` takes enough of it to hold every pair, or every value."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from typing import Any

import pytest


def covering(strength: int = 2, indirect: Sequence[str] = (), **axes: Iterable[Any]) -> pytest.MarkDecorator:
    """`pytest.mark.parametrize` over the product of the axes; all but a covering part of it is marked `nightly`.

    Args:
        strength: 2: of any two axes every pair of values is in that part; 1: every value is.
        indirect: axes whose values are parameters of the fixture of that name.
    """
    values = {name: list(choices) for name, choices in axes.items()}
    chosen = covering_part([len(choices) for choices in values.values()], strength)
    parameters = []
    for places in itertools.product(*(range(len(choices)) for choices in values.values())):
        row = [choices[place] for choices, place in zip(values.values(), places, strict=True)]
        marks = [] if places in chosen else [pytest.mark.nightly]
        parameters.append(pytest.param(*row, marks=marks, id="-".join(map(str, row))))
    return pytest.mark.parametrize(tuple(values), parameters, indirect=indirect)


def covering_part(sizes: list[int], strength: int) -> set[tuple[int, ...]]:
    """Places in the product of axes of these sizes that hold every combination of values of any `strength` axes.

    Greedy: each next one holds as many combinations as possible that none before held; of several such, the first whose values
    were taken least often, so that the values of other axes change from one to the next.
    """
    groups = list(itertools.combinations(range(len(sizes)), min(strength, len(sizes))))
    missing = {
        (group, values) for group in groups for values in itertools.product(*(range(sizes[axis]) for axis in group))
    }
    taken = [[0] * size for size in sizes]
    chosen: set[tuple[int, ...]] = set()

    def held(places: tuple[int, ...]) -> set[tuple[tuple[int, ...], tuple[int, ...]]]:
        return {(group, tuple(places[axis] for axis in group)) for group in groups} & missing

    def worth(places: tuple[int, ...]) -> tuple[int, int]:
        return len(held(places)), -sum(taken[axis][place] for axis, place in enumerate(places))

    while missing:
        best = max(itertools.product(*map(range, sizes)), key=worth)
        missing -= held(best)
        chosen.add(best)
        for axis, place in enumerate(best):
            taken[axis][place] += 1
    return chosen
