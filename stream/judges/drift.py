"""Drift as the message that other programs read."""

from __future__ import annotations

import uuid

from wheeltapper.schemas.adaptation import DriftChannel, DriftEvent
from wheeltapper.schemas.audio_chunk import record_key
from wheeltapper.schemas.topics import DRIFT
from wheeltapper.stream.core.drift import DriftFinding
from wheeltapper.stream.core.judging import Judged
from wheeltapper.stream.core.rule import RuleSpec
from wheeltapper.stream.outgoing import JSON_HEADERS, short
from wheeltapper.stream.records import Output

# Any fixed UUID serves as the name space; the ids must only be the same everywhere.
DRIFT_NAMESPACE = uuid.uuid5(uuid.NAMESPACE_URL, "urn:wheeltapper:drift")


def drift_id(machine: str, rule: str, bundle: str, since: int) -> str:
    """UUIDv5 of what makes the drift this one, so that the same input gives the same id."""
    return str(uuid.uuid5(DRIFT_NAMESPACE, f"{machine}\x1f{rule}\x1f{bundle}\x1f{since}"))


class DriftMessages:
    """Builds one rule's DriftEvents."""

    def __init__(self, rule: RuleSpec) -> None:
        self._rule = rule

    def __call__(self, judged: Judged, position: int, finding: DriftFinding) -> tuple[Output, ...]:
        """See `DriftReport`."""
        topic, partition = judged.origin.key
        channels = self._rule.manifest.channels
        event = DriftEvent(
            drift_id=drift_id(judged.machine, self._rule.name, finding.bundle, finding.since),
            machine=judged.machine,
            rule=self._rule.name,
            bundle=finding.bundle,
            event=finding.event,
            time=int(judged.due.times[position]),
            since=finding.since,
            tests=finding.tests,
            score_before=short(finding.score_before),
            score_after=short(finding.score_after),
            channels=tuple(
                DriftChannel(
                    channel=channels[moved.index].name,
                    unit=channels[moved.index].unit,
                    statistic=moved.statistic,
                    before=short(moved.before),
                    after=short(moved.after),
                    effect=short(moved.effect),
                )
                for moved in finding.channels
            ),
            alert_open=finding.alert_open,
            topic=topic,
            partition=partition,
            first_offset=finding.first_offset,
            last_offset=int(judged.due.offsets[position]),
        )
        return (Output(DRIFT, record_key(judged.machine), event.model_dump_json().encode(), JSON_HEADERS),)
