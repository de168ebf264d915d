"""Who takes part, with which seeds, as typed on the command line."""

from __future__ import annotations

import pytest

from wheeltapper.schemas.errors import InputError
from wheeltapper.training.detectors.registry import detectors_of
from wheeltapper.training.lab.compare.contenders import Contender, parse_contenders, parse_seeds


def test_all_is_every_detector_and_auto() -> None:
    contenders, auto = parse_contenders(["all"])
    assert [contender.label for contender in contenders] == list(detectors_of("sensors"))
    assert auto
    of_sound, _ = parse_contenders(["all"], "audio")
    assert [contender.label for contender in of_sound] == list(detectors_of("audio"))


def test_detectors_of_another_kind_of_input_are_refused() -> None:
    with pytest.raises(
        InputError, match=r"--detectors spectral-bands takes sound, but the data sets hold rows of sensors"
    ):
        parse_contenders(["pca", "spectral-bands"])
    with pytest.raises(
        InputError, match=r"--detectors pca takes rows of sensors, but the data sets hold sound; give 'all' or"
    ):
        parse_contenders(["pca"], "audio")


def test_other_settings_are_another_contender_and_their_order_is_none() -> None:
    contenders, auto = parse_contenders(["pca", "pca:window=8,components=3", "pca:components=3,window=8"])
    assert [contender.label for contender in contenders] == ["pca", "pca:components=3,window=8"]
    assert contenders[1] == Contender.of("pca", {"window": "8", "components": "3"})
    assert not auto


def test_auto_alone() -> None:
    assert parse_contenders(["auto"]) == ((), True)


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (["pcaa"], "did you mean 'pca'"),
        (["pca:"], "no setting after the colon"),
        (["pca:window"], "expected key=value"),
        (["all:window=8"], "'all' takes no settings"),
        (["pca:window=8,window=9"], "given twice"),
    ],
)
def test_what_is_no_detector_is_refused(texts: list[str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        parse_contenders(texts)


@pytest.mark.parametrize(
    ("texts", "seeds"), [(["3"], (0, 1, 2)), (["1"], (0,)), (["4", "7"], (4, 7)), (["4,7"], (4, 7)), (["7,"], (7,))]
)
def test_one_number_is_how_many_several_are_the_seeds(texts: list[str], seeds: tuple[int, ...]) -> None:
    assert parse_seeds(texts) == seeds


@pytest.mark.parametrize("texts", [["0"], ["-1"], ["x"], ["1,1"], [","], ["1.5"]])
def test_seeds_that_make_no_sense(texts: list[str]) -> None:
    with pytest.raises(InputError, match="--seeds"):
        parse_seeds(texts)
