"""What may be done about a machine that changes: nothing, a refit every day, the operating layer alone, the whole ladder."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType

from wheeltapper.schemas.errors import InputError
from wheeltapper.stream.core.judging import Judge
from wheeltapper.stream.core.policies import AlarmPolicy, AlarmRules
from wheeltapper.stream.core.rule import RuleSpec
from wheeltapper.stream.core.thresholds import SECONDS_PER_DAY
from wheeltapper.training.lab.shifts.bundles import fit_bundle
from wheeltapper.training.lab.shifts.climbing import LADDER, WholeLadder
from wheeltapper.training.lab.shifts.course import Adaptation, Course, Strategy

NO_ADAPTATION, REFIT_ALWAYS, BUDGET = "none", "refit-always", "budget"


def _fixed() -> AlarmRules:
    return AlarmPolicy(method="fixed")


@dataclass(frozen=True)
class FixedLevel:
    """No adaptation: the bundle and its alarm level stay as they are."""

    name: str = NO_ADAPTATION
    alarms: AlarmRules = field(default_factory=_fixed)
    takes_accept: bool = False

    def judges(self, rule: RuleSpec) -> Sequence[Judge]:
        return ()

    def look(self, course: Course) -> None:
        pass


@dataclass(frozen=True)
class RefitAlways(FixedLevel):
    """The detector is trained anew every day on the rows of the last days, whatever they hold; nothing is checked."""

    name: str = REFIT_ALWAYS
    days: float = 3.0

    def look(self, course: Course) -> None:
        interval_s = course.scenario.series.sampling_interval_s
        day, wanted = (max(1, round(days * SECONDS_PER_DAY / interval_s)) for days in (1.0, self.days))
        last = course.adaptations[-1].row if course.adaptations else 0
        if course.rows < wanted or course.rows - last < day:
            return
        rows = slice(course.rows - wanted, course.rows)
        series = replace(course.scenario.series, train=course.scenario.rows[rows], train_ts=course.scenario.times[rows])
        started = time.monotonic()
        try:
            bundle = fit_bundle(
                course.parent.manifest.detector, series, course.out / f"refit-{course.rows}", seed=course.seed
            )
        except InputError as error:
            course.take_over(Adaptation(course.rows, None, "", time.monotonic() - started, str(error)))
            return
        course.take_over(Adaptation(course.rows, bundle, "refit", time.monotonic() - started, "every day"))


@dataclass(frozen=True)
class OperatingLayer(FixedLevel):
    """The threshold of the worker's default settings keeps the asked rate; the bundle stays as it is."""

    name: str = BUDGET
    alarms: AlarmRules = field(default_factory=AlarmPolicy)
    takes_accept: bool = True


STRATEGIES: Mapping[str, Callable[[], Strategy]] = MappingProxyType(
    {NO_ADAPTATION: FixedLevel, REFIT_ALWAYS: RefitAlways, BUDGET: OperatingLayer, LADDER: WholeLadder}
)


def make_strategy(name: str) -> Strategy:
    """
    Raises:
        InputError: no such strategy.
    """
    if name not in STRATEGIES:
        raise InputError(f"no strategy '{name}'; expected one of {', '.join(STRATEGIES)}")
    return STRATEGIES[name]()
