"""An alert as one line for a person; `alerts` and `demo` print the same."""

from __future__ import annotations

from rich.text import Text

from wheeltapper.schemas.clock import iso_from_micros
from wheeltapper.schemas.events import AlertEvent, ChannelShare, ClearReason, Deviation, Patch, WorstRow
from wheeltapper.schemas.text import number, span_text

# Channels named in a line; the message has more, `localizations` has all.
CHANNELS_SHOWN = 3
PATCHES_SHOWN = 2

_EVENT_STYLES = {"opened": "bold", "updated": "", "cleared": "green"}


def render(alert: AlertEvent) -> Text:
    """Time, severity, machine, event, detector, score, then the channels to blame (see `render_channel`), or moments and frequencies.

    At the end, why the raise level stands where it does, where there is something to say. A cleared alert says how long it
    lasted instead of all that, and why it ended where the machine did not recover. Text from the message is made printable
    first: a name must not be able to move the reader's cursor.
    """
    line = Text(no_wrap=True, overflow="ignore")
    line.append(iso_from_micros(alert.time), style="dim")
    line.append("  severity ", style="dim")
    line.append(f"{alert.severity:3d}  ", style=severity_style(alert.severity))
    line.append(f"{alert.event:<7}", style=_EVENT_STYLES[alert.event])
    line.append(f"  {printable(alert.machine)}", style="bold")
    line.append(f"  {printable(alert.detector)}", style="cyan")
    line.append(f"  score {number(alert.score)}", style="dim")
    if alert.event == "cleared":
        line.append(f"  after {span_text(alert.time - alert.opened_at)}, peak {number(alert.peak_score)}")
        if alert.reason not in (None, ClearReason.RECOVERED):
            line.append(f", reason: {alert.reason}", style="yellow")
        return line
    # Of sound, patches say more than its bands do, which have no value.
    channels = [channel for channel in alert.channels if channel.actual is not None or not alert.patches]
    for channel in channels[:CHANNELS_SHOWN]:
        line.append("  ")
        line.append_text(render_channel(channel, alert.time))
    if len(channels) > CHANNELS_SHOWN:
        line.append(f"  +{len(channels) - CHANNELS_SHOWN} more", style="dim")
    for patch in alert.patches[:PATCHES_SHOWN]:
        line.append("  ")
        line.append_text(render_patch(patch, alert.time))
    if alert.level_reason:
        line.append(f"  [{printable(alert.level_reason)}]", style="dim")
    return line


def render_channel(channel: ChannelShare, time: int = 0) -> Text:
    """'flow_out 3.4 m3/h, usual 11.8 to 12.6, at 08:19:00 (62 % of the score)': measured, what is usual or was expected, when.

    Without a worst row, which messages of earlier versions do not have, the values are those of the scored row.
    """
    text = Text(printable(channel.channel), style="magenta")
    unit = f" {printable(channel.unit)}" if channel.unit else ""
    worst = channel.worst
    if worst is None:
        text.append(" missing" if channel.actual is None else f" {number(channel.actual)}{unit}", style="bold")
        told = None if channel.actual is None else number(channel.actual)
        if channel.expected is not None and number(channel.expected) != told:
            text.append(f", expected {number(channel.expected)}", style="dim")
    elif worst.kind is Deviation.STUCK:
        text.append(f" stuck at {number(worst.actual)}{unit}", style="bold")
        text.append(f" since {_clock(worst.time, time)}", style="dim")
    else:
        text.append(f" {number(worst.actual)}{unit}", style="bold")
        text.append(f", {_usual(worst)}, at {_clock(worst.time, time)}", style="dim")
    text.append(f" ({channel.share:.0%} of the score)".replace("%", " %"), style="dim")
    return text


def _usual(worst: WorstRow) -> str:
    if worst.kind is Deviation.OUT_OF_RANGE and worst.low is not None and worst.high is not None:
        ends = (number(worst.low), number(worst.high))
        return f"usual {ends[0]}" if ends[0] == ends[1] else f"usual {ends[0]} to {ends[1]}"
    if worst.expected is None:
        return "unusual"
    return f"{'before that' if worst.kind is Deviation.CHANGED else 'other channels imply'} {number(worst.expected)}"


def _clock(micros: int, near: int) -> str:
    """'08:19:00', UTC; with the date where it is another than that of `near`."""
    text, other = iso_from_micros(micros), iso_from_micros(near)
    return (text[11:] if text[:10] == other[:10] else text).rstrip("Z")


def render_patch(patch: Patch, time: int) -> Text:
    """'500-630 Hz 3.5 to 3 s before (62 % of the score)': frequencies, when before `time` (us), share of the score."""
    text = Text(f"{number(patch.low_hz)}-{number(patch.high_hz)} Hz", style="magenta")
    if patch.channel:
        text.append(f" {printable(patch.channel)}", style="magenta")
    # A window ends one sample behind its last one.
    first, last = (max(0.0, round((time - moment) / 1e6, 1)) for moment in (patch.start, patch.end))
    text.append(f" {number(first)} to {number(last)} s before", style="bold")
    text.append(f" ({patch.share:.0%} of the score)".replace("%", " %"), style="dim")
    return text


def severity_style(severity: int) -> str:
    """A colour for a severity of 0..100; 50 is the alarm level."""
    if severity >= 90:
        return "bold white on red"
    if severity >= 70:
        return "bold red"
    return "yellow" if severity >= 50 else "dim"


def printable(text: str) -> str:
    """The text with control and other unprintable characters replaced."""
    return text if text.isprintable() else "".join(letter if letter.isprintable() else "?" for letter in text)
