"""[drift] and [adaptation]: noticing that the normal of a machine has changed, and what follows."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from wheeltapper.stream.core.policies import DriftPolicy
from wheeltapper.stream.settings.connection import Section


class DriftSettings(Section):
    """Noticing that a machine's normal has changed; DriftEvents go to the topic `drift`."""

    enabled: bool = Field(default=True, description="look for drift")
    false_drifts_per_month: float = Field(
        default=DriftPolicy.false_drifts_per_month,
        gt=0,
        le=30,
        description="expected false drifts per machine and month; sets the levels of the tests",
    )
    agreement: int = Field(
        default=DriftPolicy.agreement,
        ge=1,
        le=3,
        description="families of evidence (scores, inputs, embedding) that must speak at the same time",
    )
    min_dwell_s: float = Field(
        default=DriftPolicy.min_dwell_s,
        ge=0,
        description="how long they must agree before a drift starts, and disagree before it ends; event time",
    )
    block_s: float | None = Field(
        default=None,
        gt=0,
        description="event time of a block; none: an hour, or 120 sampling intervals where that is longer, which is what "
        "bundles know",
    )


class AdaptationSettings(Section):
    """How `wheeltapper adapt-worker` adapts the bundles of machines that have changed. Times are event time."""

    min_recent_rows: int = Field(
        default=1_000,
        ge=50,
        description="rows since the change, under no alert, before a bundle is adapted: at least so many",
    )
    min_recent_s: float = Field(
        default=86_400.0, ge=0, description="and so many seconds of them, but never more than half of max_rows"
    )
    tries: int = Field(
        default=3,
        ge=1,
        le=30,
        description="the ladder is climbed so often, each time with a day more of rows: where the gate rejected every step, and behind a child that took over",
    )
    max_rows: int = Field(default=20_000, ge=100, description="the newest so many rows are used, and kept in memory")
    budget_s: float = Field(default=480.0, gt=0, description="what training may take, over all steps of the ladder")
    alignment: Literal["none", "coral", "mmd", "dann"] = Field(
        default="none",
        description="what pulls a network's embeddings of the reference and of recent windows together while it is fine-tuned",
    )
    job_timeout_s: float = Field(default=1_200.0, gt=0, description="a job that takes longer is killed, and has failed")
    job_memory_mb: int = Field(default=8_192, ge=256, description="address space of a job; one that needs more fails")
    jobs: int = Field(
        default=1, ge=1, le=64, description="jobs that run side by side, each with one thread, one a machine"
    )
    shadow_s: float = Field(
        default=21_600.0, ge=0, description="a child bundle that passed the gate scores beside the old one for so long"
    )
    whole_route: bool = Field(
        default=False,
        description="a child takes its parent's place for all machines of its route, not for the drifted machine alone",
    )
    canary_share: float = Field(
        default=0.2, gt=0, le=1, description="share of the route's machines that it serves first (whole_route)"
    )
    canary_s: float = Field(default=86_400.0, ge=0, description="for so long (whole_route)")
    watch_s: float = Field(
        default=259_200.0, gt=0, description="after take-over it goes back by itself where it does worse, for so long"
    )
    tolerance: float = Field(
        default=2.0,
        ge=1,
        description="a bundle may open alerts at so many times threshold.false_alarms_per_day, beside chance",
    )
    confidence: float = Field(
        default=0.95, gt=0.5, lt=1, description="a bundle goes back where chance alone would do better so often"
    )
