"""Messages of a model's life: which bundle serves, that a machine drifted, how its model was adapted."""

from __future__ import annotations

import zlib
from enum import StrEnum
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from wheeltapper.schemas.avro_records import AvroEnum
from wheeltapper.schemas.message import Message, Micros


class ActiveModel(Message):
    """Which bundle serves which machines. Value of the `models` topic, keyed by `key`."""

    route: str = Field(min_length=1, description="machine id or pattern (fnmatch)")
    bundle: str = Field(description="id of the bundle; empty where the rule is retired")
    uri: str = Field(description="where the bundle is: a path, file:// or s3://; empty where the rule is retired")
    sha256: str = Field(pattern=r"^([0-9a-f]{64})?$", description="of the bundle's manifest.json")
    # A mode that a reader does not know must not raise alerts.
    mode: Annotated[
        Literal["shadow", "canary", "active", "retired"], AvroEnum("wheeltapper.Mode", default="shadow")
    ] = Field(default="active", description="shadow: scored, never alerting; canary: active on a share of the machines")
    rule: str = Field(default="", description="the rule that it serves; empty: the bundle's detector")
    kind: str = Field(default="sensors", description="kind of input")
    share: float = Field(
        default=1.0, ge=0, le=1, description="mode canary: share of the machines, by a hash of their ids"
    )
    previous_uri: str = Field(default="", description="the bundle that served before; `models rollback` takes it back")
    previous_sha256: str = Field(default="", description="of its manifest.json")
    adaptation_id: str = Field(default="", description="the adaptation that made it; empty where a person deployed it")
    who: str = Field(default="", description="who deployed it")
    at: Micros = Field(default=0, description="when, by the clock, microseconds UTC")
    reason: str = ""

    @model_validator(mode="after")
    def _bundle_unless_retired(self) -> Self:
        if self.mode == "retired":
            if not self.rule:
                raise ValueError("a rule that is retired must be named")
        elif not self.uri or not self.sha256:
            raise ValueError("uri and sha256 are needed unless mode is retired")
        return self

    @property
    def key(self) -> str:
        """Key on the topic: the last message of a key holds. A shadow or canary stands beside the bundle that serves."""
        return "/".join([self.route, self.rule, *([self.mode] if self.mode in ("shadow", "canary") else [])])


def is_in_share(rule: str, machine: str, share: float) -> bool:
    """Whether a canary of the rule serves the machine: by a hash of both ids, so always the same machines."""
    return zlib.crc32(f"{rule}\x1f{machine}".encode()) < share * 2**32


class DriftChannel(Message):
    """One channel that moved."""

    channel: str
    unit: str = ""
    statistic: str = Field(description="what moved most: mean, spread, or a quantile such as q90")
    before: float = Field(description="its value in the calibration data, raw units")
    after: float = Field(description="its value since the drift, raw units")
    effect: float = Field(description="size of the move in standard deviations of the calibration data")


class DriftEvent(Message):
    """A machine's normal has changed, or has come back. Value of the `drift` topic."""

    drift_id: str = Field(
        min_length=1, description="UUIDv5 of machine, rule, bundle and `since`: the same input, the same id"
    )
    machine: str = Field(min_length=1)
    rule: str
    bundle: str
    event: Annotated[Literal["started", "ended"], AvroEnum("wheeltapper.DriftStep", default="started")]
    time: Micros = Field(description="event time of the row with which it was noticed, microseconds UTC")
    since: Micros = Field(description="event time of the change, as estimated, microseconds UTC")
    tests: tuple[str, ...] = Field(description="the tests that agree, e.g. adwin, page-hinkley, inputs, embedding")
    score_before: float = Field(description="median calibrated score of the calibration windows")
    score_after: float = Field(description="median calibrated score since the change")
    channels: tuple[DriftChannel, ...] = Field(default=(), description="channels that moved, the largest effect first")
    alert_open: bool = Field(
        default=False, description="whether the rule had an alert open: it may be a fault that lasts"
    )
    topic: str = Field(default="", description="input topic of the machine's rows")
    partition: int = Field(default=-1, ge=-1, le=2**31 - 1)
    first_offset: int = Field(default=-1, ge=-1, le=2**63 - 1, description="input offset of the rows since the change")
    last_offset: int = Field(default=-1, ge=-1, le=2**63 - 1, description="input offset of the row at `time`")


class AdaptationStep(StrEnum):
    """What happened in an adaptation's life, or to a deployment."""

    REQUESTED = "requested"
    WAITING = "waiting"
    """An alert is open: it may be a fault that lasts. It goes on with the operator's accept, or when the alert ends."""
    STARTED = "started"
    ACCEPTED = "accepted"
    """A child bundle passed the gate."""
    REJECTED = "rejected"
    """No step of the ladder passed the gate; the old bundle stays."""
    SHADOW = "shadow"
    CANARY = "canary"
    ACTIVATED = "activated"
    ROLLED_BACK = "rolled-back"
    FAILED = "failed"
    """The job ended by an error; the old bundle stays."""
    REFUSED = "refused"
    """A worker did not take a deployment: the old bundle stays."""
    DEPLOYED = "deployed"
    """A person changed what serves."""


class AdaptationEvent(Message):
    """A step of an adaptation, with its evidence. Value of the `adaptations` topic."""

    adaptation_id: str = Field(min_length=1)
    machine: str = Field(min_length=1, description="machine id, or the pattern that a deployment was for")
    rule: str
    # A step that a reader does not know must not pass for one that put a bundle in service.
    event: Annotated[AdaptationStep, AvroEnum("AdaptationStep", default="failed")]
    at: Micros = Field(description="when, by the clock, microseconds UTC")
    time: Micros | None = Field(default=None, description="event time of the machine's newest row by then")
    step: str = Field(default="", description="of the ladder: operating-level, input-scaling, refit, fine-tune")
    bundle: str = Field(default="", description="id of the child bundle")
    parent: str = Field(default="", description="id of the bundle that was adapted")
    uri: str = Field(default="", description="where the child bundle is")
    report: str = Field(default="", description="where the HTML report is")
    drift_id: str = Field(default="", description="the drift that asked for it; empty where a person did")
    who: str = ""
    reason: str = Field(default="", description="for a person")
    evidence: str = Field(default="", description="the gate's figures, a JSON text")
