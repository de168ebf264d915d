"""Settings to compare, and what the alarms would have been under each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from wheeltapper.schemas.errors import InputError
from wheeltapper.stream.core.alarm_history import AlarmHistory, PastAlarm, alarm_history
from wheeltapper.stream.core.policies import AlarmRules
from wheeltapper.stream.settings import Settings, load_settings
from wheeltapper.what_if.scores import PastScores

EARLY_WINDOWS = 30
"""An alarm that opens at most so many windows before a labelled fault tells of it."""


@dataclass(frozen=True)
class Variant:
    """
    Attributes:
        name: for tables: the settings that differ.
        policy: the section [threshold].
    """

    name: str
    policy: AlarmRules


@dataclass(frozen=True)
class Outcome:
    """One variant over one machine's scores."""

    past: PastScores
    variant: Variant
    history: AlarmHistory

    @property
    def alarms(self) -> tuple[PastAlarm, ...]:
        return self.history.alarms

    @property
    def per_day(self) -> float:
        """Alarms a day."""
        return len(self.alarms) / self.past.days

    @cached_property
    def open_share(self) -> float:
        """Share of the scored windows with an alarm open."""
        times = self.past.times
        is_open = np.zeros(len(times), np.bool_)
        for alarm in self.alarms:
            until = times[-1] + 1 if alarm.cleared_at is None else alarm.cleared_at
            is_open |= (times >= alarm.told_at) & (times < until)
        return float(is_open.mean())

    @property
    def longest_s(self) -> float:
        """Seconds of the longest alarm; 0 without one."""
        end = int(self.past.times[-1])
        return max(((alarm.cleared_at or end) - alarm.opened_at for alarm in self.alarms), default=0) / 1e6

    @property
    def told(self) -> int | None:
        """Labelled faults in which, or shortly before which, an alarm opened; None without labels."""
        events = self.past.events
        if events is None:
            return None
        early = round(EARLY_WINDOWS * 86_400e6 / self.past.basis.windows_per_day)
        opened = np.array([alarm.told_at for alarm in self.alarms], np.int64)
        return sum(bool(((opened >= start - early) & (opened < stop)).any()) for start, stop in events)


def read_variants(settings: Settings, config: Path | None, tries: Sequence[Sequence[str]]) -> list[Variant]:
    """The settings as they are, then every `--try KEY=VALUE ..`.

    Raises:
        InputError: not KEY=VALUE, an unknown setting, or a value that it does not take.
    """
    found = [Variant("as configured", settings.threshold)]
    for words in tries:
        values: dict[str, str] = {}
        for word in words:
            key, equals, value = word.partition("=")
            if not equals or not value:
                raise InputError(
                    f"--try {word}: expected KEY=VALUE of the section [threshold], e.g. --try method=fixed"
                )
            values[key.removeprefix("threshold.").replace("-", "_")] = value
        _check_known(values, words)
        found.append(Variant(", ".join(words), load_settings(config, threshold=values).threshold))
    return found


def _check_known(values: Mapping[str, str], words: Sequence[str]) -> None:
    known = list(Settings().threshold.model_dump())
    for key in values:
        if key not in known:
            raise InputError(f"--try {' '.join(words)}: [threshold] has no setting '{key}'; it has {', '.join(known)}")


def outcome(past: PastScores, variant: Variant) -> Outcome:
    """What a variant would have told of one machine."""
    return Outcome(past, variant, alarm_history(past.basis, variant.policy, past.times, past.scores, past.maintenance))
