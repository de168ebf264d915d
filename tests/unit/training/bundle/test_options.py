"""--set key=value: typed, within its range, and helpful where it is wrong."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

import pytest
from pydantic import Field

from wheeltapper.models.settings import DetectorSettings, settings_of, text_of
from wheeltapper.schemas.errors import InputError
from wheeltapper.training.fitting.options import TrainOptions, parse_assignments
from wheeltapper.training.fitting.spec import DetectorSpec, Preset
from wheeltapper.training.fitting.trainer_options import TrainerOptions


@dataclass(frozen=True)
class Example(DetectorSettings):
    DETECTOR: ClassVar[str] = "example"

    rows: Annotated[int, Field(ge=1, description="rows")] = 1
    share: Annotated[float, Field(ge=0, lt=1, description="a share")] = 0.5
    fast: Annotated[bool, Field(description="whether")] = False
    name: Annotated[str, Field(description="a word")] = "a"
    mode: Annotated[Literal["slow", "quick"], Field(description="how")] = "slow"
    limit: Annotated[int | None, Field(ge=2, description="a limit")] = None
    batch_size: Annotated[int, Field(ge=1, description="the detector's own")] = 3
    inner: tuple[int, ...] = ()

    def check(self) -> None:
        if self.limit is not None and self.limit > 10 * self.rows:
            self.refuse("limit", "at most ten times rows")


SPEC = DetectorSpec(
    name="example",
    title="Example",
    summary="",
    watches="",
    trains_in="",
    choose_it="",
    train="nowhere:at_all",
    presets={"one": Preset(Example(), TrainerOptions(epochs=9)), "two": Preset(Example(rows=2), TrainerOptions())},
    battery=TrainOptions(),
)


def chosen(*texts: str, **options: Any) -> Example:
    return SPEC.settings_for(TrainOptions(settings=parse_assignments(texts), **options))


def test_values_take_the_type_of_their_field() -> None:
    found = chosen("rows=3", "share=.25", "fast=yes", "name=b=c", "mode=quick", "limit=7")
    assert found == Example(3, 0.25, True, "b=c", "quick", 7)
    assert [chosen(f"fast={text}").fast for text in ("on", "off", "True", "0")] == [True, False, True, False]
    assert SPEC.settings_for(TrainOptions(settings={"limit": "none"})).limit is None
    assert Example(limit=3).with_texts({"limit": "auto"}).limit is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("row=3", "example has no setting 'row'; did you mean 'rows'.; it has .*batch_size.*preset.*rows"),
        ("inner=3", "no setting 'inner'"),
        ("stride=3", "no setting 'stride'; it is an option of every detector: --stride"),
        ("rows=3.5", "example: --set rows=3.5: expected a whole number of 1 or more"),
        ("rows=0", "example: --set rows=0: expected a whole number of 1 or more"),
        ("share=much", "--set share=much: expected a number from 0 to below 1"),
        ("share=1", "--set share=1: expected a number from 0 to below 1"),
        ("share=nan", "--set share=nan: expected a number"),
        ("fast=2", "expected true or false"),
        ("mode=fast", "expected one of slow, quick"),
        ("limit=many", "expected a whole number of 2 or more or none"),
        ("limit=11", "example: limit is 11, expected at most ten times rows"),
        ("preset=three", "example: --set preset=three: expected one of one, two"),
        ("patience=0", "example: --set patience=0: expected a whole number of 1 or more"),
    ],
)
def test_what_cannot_be_set_is_refused(text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        (chosen(text), SPEC.trainer_for(TrainOptions(settings=parse_assignments([text]))))


def test_a_preset_is_where_settings_start_from() -> None:
    assert (chosen().rows, chosen("preset=two").rows, chosen("preset=two", "rows=5").rows) == (1, 2, 5)
    trainer = SPEC.trainer_for(TrainOptions(epochs=4, seed=8, settings={"patience": "7", "batch_size": "2"}))
    # a setting that both have is the detector's
    assert (trainer.epochs, trainer.seed, trainer.patience, trainer.batch_size) == (4, 8, 7, 128)
    assert SPEC.trainer_for(TrainOptions()).epochs == 9


@pytest.mark.parametrize("wrong", [{"rows": 0}, {"share": 1.0}, {"mode": "fast"}, {"rows": "many"}, {"limit": 1}])
def test_settings_are_checked_wherever_they_are_made(wrong: dict[str, Any]) -> None:
    # the error names detector, setting, what was found and what was expected
    ((name, found),) = wrong.items()
    with pytest.raises(InputError, match=rf"^example: {name} is {found}, expected (a whole number|a number|one of) "):
        Example(**wrong)


def test_a_setting_says_what_it_is() -> None:
    described = {setting.name: setting for setting in settings_of(Example)}
    assert list(described) == ["rows", "share", "fast", "name", "mode", "limit", "batch_size"]
    assert (described["limit"].optional, described["limit"].default, described["limit"].kind) == (True, None, int)
    assert [text_of(value) for value in (None, True, 1e-3, 1000.0, 5)] == ["none", "true", "0.001", "1000", "5"]


@pytest.mark.parametrize("texts", [["leak"], ["=3"], ["leak="], ["leak=1", "leak=2"]])
def test_assignments_without_key_or_value_or_twice_are_refused(texts: list[str]) -> None:
    with pytest.raises(InputError, match="--set"):
        parse_assignments(texts)
