"""What an alert says in one sentence, for an operator who is woken by it.

The sentence follows from the event alone, so whoever has the event can make it again.
"""

from __future__ import annotations

from wheeltapper.schemas.audio_chunk import MICROPHONE_SEPARATOR, split_source
from wheeltapper.schemas.clock import iso_from_micros
from wheeltapper.schemas.events import AlertEvent, ChannelShare, ClearReason, Deviation, Patch, WorstRow
from wheeltapper.schemas.text import number, span_text

LONGEST_NAME = 60
"""Characters of a name in a sentence: the message's other fields have it whole."""
NAMES = 2
"""Further channels that a sentence names."""

_ENDS = {
    ClearReason.RECOVERED: "it is back to normal",
    ClearReason.SUPERSEDED: "the rule that raised it was replaced, and the fault may still be there",
    ClearReason.MACHINE_RETIRED: "no bundle watches the machine any more",
    ClearReason.NO_DATA: "the machine fell silent and was forgotten",
    ClearReason.ACCEPTED: "an operator accepted this as the new normal",
}


def sentence_of(alert: AlertEvent) -> str:
    """One sentence: which machine, what was unusual about it, when, and how bad it is."""
    machine = _machine(alert)
    if alert.event == "cleared":
        return _end(alert, machine)
    if alert.rule == "no-data" and not alert.bundle:
        return f"{machine} has sent no data since {moment(alert.opened_at)}."
    if alert.rule == "dead-microphone" and not alert.bundle:
        return (
            f"{machine} has given no sound since {moment(alert.opened_at)}: the microphone or its cable may be broken."
        )
    state = "is in alarm" if alert.event == "opened" else "is still in alarm and worse"
    return f"{machine} {state}, severity {alert.severity} of 100: {_cause(alert)}."


def moment(micros: int) -> str:
    """'2026-11-05 08:21:00 UTC'."""
    return iso_from_micros(micros).replace("T", " ").replace("Z", " UTC")


def worst_text(worst: WorstRow, unit: str) -> str:
    """'9.75 bar at 2026-11-05 08:19:00 UTC, above its usual 5.9 to 7.1 bar': what is said of a channel after its name."""
    unit = f" {unit}" if unit else ""
    actual, time = f"{number(worst.actual)}{unit}", moment(worst.time)
    if worst.kind is Deviation.STUCK:
        return f"has stood still at {actual} since {time}, longer than ever in training"
    if worst.kind is Deviation.OUT_OF_RANGE and worst.low is not None and worst.high is not None:
        side = "above" if worst.actual > worst.high else "below"
        usual = number(worst.low) if worst.low == worst.high else f"{number(worst.low)} to {number(worst.high)}"
        return f"was {actual} at {time}, {side} its usual {usual}{unit}"
    if worst.expected is None:
        return f"was {actual} at {time}, which is unusual"
    expected = f"{number(worst.expected)}{unit}"
    if worst.kind is Deviation.CHANGED:
        return f"went from {expected} to {actual} at {time}, an unusual change"
    return f"was {actual} at {time} while the other channels imply {expected}"


def _machine(alert: AlertEvent) -> str:
    name, microphone = split_source(alert.machine) if MICROPHONE_SEPARATOR in alert.machine else (alert.machine, "")
    text = _short(name)
    if alert.area:
        text += f" ({_short(alert.area)})"
    return f"{text}, microphone {_short(microphone)}," if microphone else text


def _cause(alert: AlertEvent) -> str:
    sound = _patch(alert.patches[0], alert.time) if alert.patches else ""
    # Bands of sound have no values: its patches say more.
    channels = [share for share in alert.channels if share.worst or share.actual is not None or not sound]
    rows = _channels(channels) if channels else ""
    if rows and sound:
        return f"sensors and sound agree, {rows}, {sound}"
    return rows or sound or "its values are unusual as a whole"


def _channels(shares: list[ChannelShare]) -> str:
    first, others = shares[0], shares[1:]
    said = worst_text(first.worst, first.unit) if first.worst else "behaves unusually"
    text = f"{_short(first.channel)} {said}"
    if not others:
        return text
    names = [_short(share.channel) for share in others[:NAMES]]
    left = len(others) - len(names)
    if left:
        names.append(f"{left} more")
    listed = names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
    return f"{text}; {listed} {'is' if len(others) == 1 else 'are'} unusual too"


def _patch(patch: Patch, time: int) -> str:
    axis = f" of {_short(patch.channel)}" if patch.channel else ""
    ago = max(0.0, (time - patch.start) / 1e6)
    return f"unusual sound at {number(patch.low_hz)} to {number(patch.high_hz)} Hz{axis}, {ago:.3g} s before {moment(time)}"


def _end(alert: AlertEvent, machine: str) -> str:
    lasted = span_text(alert.time - alert.opened_at)
    reason = ClearReason.RECOVERED if alert.reason is None else alert.reason
    if reason is ClearReason.RECOVERED and not alert.bundle and alert.rule == "no-data":
        return f"{machine} sends data again, after {lasted}."
    if reason is ClearReason.RECOVERED and not alert.bundle and alert.rule == "dead-microphone":
        return f"{machine} gives sound again, after {lasted}."
    return f"{machine} is no longer in alarm, after {lasted}: {_ENDS[reason]}."


def _short(name: str) -> str:
    return name if len(name) <= LONGEST_NAME else f"{name[: LONGEST_NAME - 1]}…"
