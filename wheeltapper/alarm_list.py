"""The alarms of a recorded series as a list for a person: when, how long, how bad, and what is to blame."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from wheeltapper.schemas.events import AlertEvent

if TYPE_CHECKING:
    from rich.text import Text

    from wheeltapper.schemas.bundle import Bundle
    from wheeltapper.stream.settings import Settings
    from wheeltapper.training.datasets.series import SensorSeries
    from wheeltapper.training.datasets.sound.series import SoundSeries
    from wheeltapper.training.judging.sound_evaluation import ClipScores


@dataclass(frozen=True, slots=True)
class ListedAlarm:
    """One alert of the run.

    Attributes:
        worst: the event with the highest score of those that opened or updated it.
        cleared: its end; None where it was open at the end of the rows.
    """

    worst: AlertEvent
    cleared: AlertEvent | None

    def to_json(self) -> dict[str, object]:
        """Plain JSON types: the worst event, and when it ended."""
        return {
            **self.worst.model_dump(mode="json"),
            "cleared_at": None if self.cleared is None else self.cleared.time,
            "peak_score": (self.cleared or self.worst).peak_score,
        }


def list_alarms(bundle: Bundle, series: SensorSeries, settings: Settings) -> list[ListedAlarm]:
    """The alarms that a worker would raise on the test part, in the order in which they opened.

    Raises:
        InputError: the bundle is refused, or the rows do not fit it.
    """
    from wheeltapper.offline import open_pipeline, replay_block, run_offline
    from wheeltapper.schemas.codec import decode_message
    from wheeltapper.schemas.errors import InputError

    scoring = settings.scoring.model_copy(update={"publish_scores": False})
    settings = settings.model_copy(update={"scoring": scoring})
    pipeline = open_pipeline([f"*={bundle.location}"], settings)
    events = []
    for output in run_offline(pipeline, replay_block(series)):
        if output.topic == "dead-letters":
            detail = next((value or b"" for name, value in output.headers if name == "wheeltapper-detail"), b"")
            raise InputError(f"{series.dataset} {series.entity} does not fit {bundle.location}: {detail.decode()}")
        if output.topic == "alerts" and output.value:
            events.append(decode_message(AlertEvent, output.value, b"application/json"))
    return listed(events)


def listed(events: Iterable[AlertEvent]) -> list[ListedAlarm]:
    """Events of any alerts, an alert's own in their order, as one entry an alert."""
    alarms: dict[str, ListedAlarm] = {}
    for event in events:
        known = alarms.get(event.alert_id)
        if known is None:
            alarms[event.alert_id] = ListedAlarm(event, None)
        elif event.event == "cleared":
            alarms[event.alert_id] = ListedAlarm(known.worst, event)
        elif event.score > known.worst.score:
            alarms[event.alert_id] = ListedAlarm(event, None)
    return sorted(alarms.values(), key=lambda alarm: alarm.worst.opened_at)


def render_alarm(alarm: ListedAlarm) -> Text:
    """'2026-11-05T08:21:00Z  for 2 h  severity 71  peak 2.5  flow 6.5 -> 9.75 bar (71 %)': the causes are those of its worst row."""
    from rich.text import Text

    from wheeltapper.alert_view import CHANNELS_SHOWN, render_channel, severity_style
    from wheeltapper.schemas.clock import iso_from_micros
    from wheeltapper.schemas.text import number, span_text

    worst, end = alarm.worst, alarm.cleared
    line = Text(no_wrap=True, overflow="ignore")
    line.append(iso_from_micros(worst.opened_at), style="bold")
    line.append("  open at the end" if end is None else f"  for {span_text(end.time - worst.opened_at)}")
    severity = (end or worst).severity
    line.append(f"  severity {severity}", style=severity_style(severity))
    line.append(f"  peak {number((end or worst).peak_score)}", style="dim")
    for channel in worst.channels[:CHANNELS_SHOWN]:
        line.append("  ")
        line.append_text(render_channel(channel, worst.time))
    if len(worst.channels) > CHANNELS_SHOWN:
        line.append(f"  +{len(worst.channels) - CHANNELS_SHOWN} more", style="dim")
    return line


@dataclass(frozen=True, slots=True)
class BlamedBand:
    """Frequencies in Hz, s from the clip's start to s, and their share of the score."""

    low_hz: float
    high_hz: float
    start_s: float
    end_s: float
    share: float


@dataclass(frozen=True, slots=True)
class ListedClip:
    """A clip with a window at the alarm level or above.

    Attributes:
        start_s: where its strangest window starts, s from the clip's start.
        score: calibrated, of that window.
        blamed: the strongest bands of that window, the strongest first, each where it is strongest in time.
    """

    clip: str
    start_s: float
    score: float
    blamed: tuple[BlamedBand, ...]

    def to_json(self) -> dict[str, object]:
        """Plain JSON types."""
        return asdict(self)


def list_clips(bundle: Bundle, series: SoundSeries, scored: ClipScores) -> list[ListedClip]:
    """The test clips that a worker would raise an alarm for, by the bundle's alarm level alone, in their order."""
    from wheeltapper.alert_view import PATCHES_SHOWN
    from wheeltapper.stream.core.calibration import calibrate
    from wheeltapper.training.judging.sound_evaluation import audio_manifest

    manifest = audio_manifest(bundle)
    scores = calibrate(scored.top, manifest.calibration.center, manifest.calibration.alarm_level)
    column_s = manifest.window / manifest.sample_rate / manifest.time_columns
    found = []
    for index in (scores >= 1).nonzero()[0].tolist():
        cells = scored.blamed[index] / max(float(scored.blamed[index].sum()), 1e-30)
        start_s = float(scored.starts_s[index])
        blamed = []
        for band in (-cells.sum(axis=1)).argsort(kind="stable")[:PATCHES_SHOWN].tolist():
            begin = start_s + int(cells[band].argmax()) * column_s
            low, high = manifest.bands[band].low_hz, manifest.bands[band].high_hz
            blamed.append(BlamedBand(low, high, begin, begin + column_s, float(cells[band].sum())))
        found.append(ListedClip(series.test[index].name, start_s, float(scores[index]), tuple(blamed)))
    return found


def render_clip(clip: ListedClip) -> Text:
    """'rec-3.wav  from 2.5 s  score 1.7  500-630 Hz at 3 to 3.5 s (62 %)'."""
    from rich.text import Text

    from wheeltapper.alert_view import number, printable

    line = Text(no_wrap=True, overflow="ignore")
    line.append(printable(clip.clip), style="bold")
    line.append(f"  from {number(round(clip.start_s, 3))} s  score {number(clip.score)}", style="dim")
    for band in clip.blamed:
        line.append(f"  {number(band.low_hz)}-{number(band.high_hz)} Hz", style="magenta")
        line.append(f" at {number(round(band.start_s, 3))} to {number(round(band.end_s, 3))} s")
        line.append(f" ({band.share:.0%})".replace("%", " %"), style="dim")
    return line
