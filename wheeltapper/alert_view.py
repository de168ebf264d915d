"""An alert as one line for a person; `alerts` and `demo` print the same."""

from __future__ import annotations

from rich.text import Text

from wheeltapper.schemas.clock import iso_from_micros
from wheeltapper.schemas.events import AlertEvent, ChannelShare, ClearReason, Patch

# Channels named in a line; the message has more, `localizations` has all.
CHANNELS_SHOWN = 3
PATCHES_SHOWN = 2

_EVENT_STYLES = {"opened": "bold", "updated": "", "cleared": "green"}


def render(alert: AlertEvent) -> Text:
    """Time, severity, machine, event, detector, score, then the channels to blame as expected -> actual, or moments and frequencies.

    At the end, why the raise level stands where it does, where there is something to say. A cleared alert says how long it
    lasted instead of all that, and why it ended where the machine did not recover. Text from the message is made printable
    first: a name must not be able to move the reader's cursor.
    """
    line = Text(no_wrap=True, overflow="ignore")
    line.append(iso_from_micros(alert.time), style="dim")
    line.append(f"  {alert.severity:3d}  ", style=severity_style(alert.severity))
    line.append(f"{alert.event:<7}", style=_EVENT_STYLES[alert.event])
    line.append(f"  {printable(alert.machine)}", style="bold")
    line.append(f"  {printable(alert.detector)}", style="cyan")
    line.append(f"  score {number(alert.score)}", style="dim")
    if alert.event == "cleared":
        line.append(f"  after {duration(alert.time - alert.opened_at)}, peak {number(alert.peak_score)}")
        if alert.reason not in (None, ClearReason.RECOVERED):
            line.append(f", reason: {alert.reason}", style="yellow")
        return line
    # Of sound, patches say more than its bands do, which have no value.
    channels = [channel for channel in alert.channels if channel.actual is not None or not alert.patches]
    for channel in channels[:CHANNELS_SHOWN]:
        line.append("  ")
        line.append_text(render_channel(channel))
    if len(channels) > CHANNELS_SHOWN:
        line.append(f"  +{len(channels) - CHANNELS_SHOWN} more", style="dim")
    for patch in alert.patches[:PATCHES_SHOWN]:
        line.append("  ")
        line.append_text(render_patch(patch, alert.time))
    if alert.level_reason:
        line.append(f"  [{printable(alert.level_reason)}]", style="dim")
    return line


def render_channel(channel: ChannelShare) -> Text:
    """'flow_out 12.1 -> 3.4 m3/h (62 %)': expected, actual, share of the score; without 'expected' where none is given."""
    text = Text(printable(channel.channel), style="magenta")
    if channel.expected is not None:
        text.append(f" {number(channel.expected)} ->", style="dim")
    actual = "missing" if channel.actual is None else number(channel.actual)
    unit = f" {printable(channel.unit)}" if channel.unit and channel.actual is not None else ""
    text.append(f" {actual}{unit}", style="bold")
    text.append(f" ({channel.share:.0%})".replace("%", " %"), style="dim")
    return text


def render_patch(patch: Patch, time: int) -> Text:
    """'500-630 Hz 3.5 to 3 s before (62 %)': frequencies, when before `time` (us), share of the score."""
    text = Text(f"{number(patch.low_hz)}-{number(patch.high_hz)} Hz", style="magenta")
    if patch.channel:
        text.append(f" {printable(patch.channel)}", style="magenta")
    # A window ends one sample behind its last one.
    first, last = (max(0.0, round((time - moment) / 1e6, 1)) for moment in (patch.start, patch.end))
    text.append(f" {number(first)} to {number(last)} s before", style="bold")
    text.append(f" ({patch.share:.0%})".replace("%", " %"), style="dim")
    return text


def severity_style(severity: int) -> str:
    """A colour for a severity of 0..100; 50 is the alarm level."""
    if severity >= 90:
        return "bold white on red"
    if severity >= 70:
        return "bold red"
    return "yellow" if severity >= 50 else "dim"


def number(value: float) -> str:
    """Four significant digits, without an exponent from 0.001 to ten million."""
    if value != 0 and not 1e-3 <= abs(value) < 1e7:
        return f"{value:.3e}"
    digits = f"{value:.4g}"
    return f"{value:.0f}" if "e" in digits else digits


def duration(micros: int) -> str:
    """'2 h 5 min', '45 s': the two largest units, from microseconds."""
    seconds = max(0, micros) / 1e6
    if seconds < 60:
        return f"{seconds:.3g} s"
    parts: list[str] = []
    rest = round(seconds)
    for unit, length in (("d", 86_400), ("h", 3_600), ("min", 60), ("s", 1)):
        count, rest = divmod(rest, length)
        if count:
            parts.append(f"{count} {unit}")
        elif parts:
            break
    return " ".join(parts[:2])


def printable(text: str) -> str:
    """The text with control and other unprintable characters replaced."""
    return text if text.isprintable() else "".join(letter if letter.isprintable() else "?" for letter in text)
