"""Alerts as a kind of input: the worker reads what it and others have published, and says where sensors and sound agree.

It has no bundles, windows or rules; what it brings about are notices. Its route exists where `joint.enabled` says so.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import compress
from typing import Any

import numpy as np
import orjson

from wheeltapper.schemas.audio_chunk import split_source
from wheeltapper.schemas.bundle import BundleManifest
from wheeltapper.schemas.codec import decode_message
from wheeltapper.schemas.errors import DecodeError
from wheeltapper.schemas.events import AlertEvent, ChannelShare, ClearReason, ClipPointer, InputSpan, Patch
from wheeltapper.schemas.topics import ALERTS
from wheeltapper.stream.core.counters import Counters, count
from wheeltapper.stream.core.judging import DueWindows, Emission, Judged, Refused
from wheeltapper.stream.core.policies import WindowRules
from wheeltapper.stream.core.rule import RuleSpec
from wheeltapper.stream.core.saved import moment, optional
from wheeltapper.stream.dead_letters import dead_letter
from wheeltapper.stream.kinds.contract import Decoded, MachineBlock, Route, Routes
from wheeltapper.stream.kinds.joint.agreement import Agreement, side_of
from wheeltapper.stream.records import PartitionBatch
from wheeltapper.stream.settings import Settings

NAME = "joint"

# Nobody waits for alerts: a machine without any is not silent.
_NEVER_US = 10**18


@dataclass(frozen=True, slots=True)
class AlertBlock:
    """Alert events of one machine out of one batch, in offset order.

    Attributes:
        offsets: [n] int64; times: [n] int64, event time (us).
    """

    offsets: np.ndarray
    times: np.ndarray
    alerts: tuple[AlertEvent, ...]

    def after(self, offset: int) -> AlertBlock:
        """Those of messages behind `offset`."""
        first = int(np.searchsorted(self.offsets, offset, side="right"))
        return AlertBlock(self.offsets[first:], self.times[first:], self.alerts[first:])

    @property
    def length(self) -> int:
        """Events."""
        return len(self.alerts)

    @property
    def size(self) -> int:
        """Events."""
        return len(self.alerts)

    def only(self, kept: np.ndarray | slice) -> AlertBlock:
        """Those that [n] bool `kept` says, or a range of them."""
        alerts = self.alerts[kept] if isinstance(kept, slice) else tuple(compress(self.alerts, kept))
        return AlertBlock(self.offsets[kept], self.times[kept], alerts)


@dataclass(frozen=True, slots=True)
class JointLayout:
    """See `stream.kinds.contract.Layout`.

    Attributes:
        within_us: most that the openings of alerts that agree may lie apart.
    """

    within_us: int
    window: int = 1
    interval_us: int = _NEVER_US


class AlertIntake:
    """Reads alert events."""

    def __init__(self, routes: Routes) -> None:
        self._routes = routes

    def decode(self, batch: PartitionBatch, most_values: float = math.inf) -> Decoded:
        """One partition's batch, all of it: alerts are small; joint alerts, silence and other events that say nothing of agreement are left out."""
        decoded = Decoded(messages=len(batch))
        found: dict[str, list[tuple[int, AlertEvent]]] = {}
        for index, value in enumerate(batch.values):
            content_type = next((text for name, text in batch.headers[index] or () if name == "content-type"), None)
            try:
                alert = decode_message(AlertEvent, value, content_type)
            except DecodeError as error:
                decoded.dead_letters.append(Emission(batch.offsets[index], dead_letter(batch, index, error)))
                continue
            if alert.event == "cleared" or side_of(alert) is not None:
                found.setdefault(split_source(alert.machine)[0], []).append((batch.offsets[index], alert))
        for machine, events in found.items():
            route = self._routes.of(machine, NAME)
            if route is None:
                continue
            offsets, alerts = zip(*events, strict=True)
            times = np.array([alert.time for alert in alerts], dtype=np.int64)
            block = AlertBlock(np.array(offsets, dtype=np.int64), times, alerts)
            decoded.blocks.append(MachineBlock(machine, route, block))
        return decoded


@dataclass
class JointMemory:
    """One machine's open alerts."""

    layout: JointLayout
    agreement: Agreement = field(default_factory=Agreement)
    last_time: int | None = None
    _notices: list[Emission] = field(default_factory=list)

    def take(
        self, block: AlertBlock, policy: WindowRules, counters: Counters, machine: str, stamp_of: Callable[[int], int]
    ) -> Iterator[AlertBlock]:
        """Take events in; yields the block once."""
        for offset, alert in zip(block.offsets.tolist(), block.alerts, strict=True):
            self.last_time = max(alert.time, self.last_time or alert.time)
            for joint in self.agreement.step(alert, self.layout.within_us):
                count(counters.alerts, joint.event)
                self._notices.append(Emission(offset, joint))
        yield block

    def placed(self) -> None:
        """See `stream.kinds.contract.Memory`: what comes is looked at alone."""

    @property
    def waiting(self) -> tuple[int, int] | None:
        """None: nothing waits."""
        return None

    def rest(self, counters: Counters, machine: str) -> Iterator[AlertBlock]:
        """Nothing: no event waits."""
        return iter(())

    def refused(self) -> Sequence[Refused]:
        """Nothing."""
        return ()

    def due(self, part: Any, rule: RuleSpec) -> DueWindows | None:
        """There are no windows."""
        return None

    def notices(self, part: AlertBlock) -> Sequence[Emission]:
        """Joint alerts that the part led to."""
        notices, self._notices = self._notices, []
        return notices

    def fit(self, layout: JointLayout) -> None:
        """Go on under other settings."""
        self.layout = layout

    def dump(self) -> tuple[dict[str, Any], bytes]:
        """Header (JSON types) and body of a snapshot."""
        return {"last_time": self.last_time}, orjson.dumps(self.agreement.dump())

    def load(self, header: dict[str, Any], body: memoryview) -> None:
        """Take over what `dump` gave.

        Raises:
            AttributeError, LookupError, TypeError, ValueError: it cannot be read.
        """
        self.agreement.load(orjson.loads(body))
        self.last_time = optional(moment, header["last_time"])


class NoEvidence:
    """There are no scores whose evidence could be asked for."""

    def shares(self, judged: Judged, position: int) -> tuple[ChannelShare, ...]:
        return ()

    def explained(self, shares: Sequence[ChannelShare], judged: Judged, position: int) -> tuple[ChannelShare, ...]:
        return tuple(shares)

    def input(self, judged: Judged, position: int) -> InputSpan | None:
        return None

    def patches(self, judged: Judged, position: int) -> tuple[Patch, ...]:
        return ()

    def clip(self, judged: Judged, position: int) -> ClipPointer | None:
        return None


class JointKind:
    """See `stream.kinds.contract.InputKind`."""

    name = NAME
    topic = ALERTS
    asks_labels = False

    def stride(self, manifest: BundleManifest, settings: Settings) -> tuple[str, int | None]:
        """There are no windows."""
        return "", None

    def layout(self, pattern: str, rules: Sequence[RuleSpec]) -> JointLayout:
        """
        Raises:
            TypeError: always: there are no rules of this kind, and its route brings its layout.
        """
        raise TypeError("joint alerts have no bundles")

    def intake(self, routes: Routes, settings: Settings) -> AlertIntake:
        return AlertIntake(routes)

    def memory(self, layout: JointLayout) -> JointMemory:
        return JointMemory(layout)

    def evidence(self, rule: RuleSpec) -> NoEvidence:
        return NoEvidence()

    def machine_of(self, name: str) -> str:
        return name

    def ended(self, name: str, header: Mapping[str, Any], reason: ClearReason) -> Sequence[AlertEvent]:
        """None: what is open ends with the events of its parts."""
        return ()


def joint_route(settings: Settings) -> Route:
    """The route of every machine's alerts."""
    return Route("*", (), JointKind(), JointLayout(round(settings.joint.within_s * 1e6)))
