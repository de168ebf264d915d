"""Every setting of the worker, section by section, with its default and what it means: docs/settings.md is made from it.

The sections of every client, [kafka] and [topics], are in `connection.py`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, SecretStr, model_validator

from wheeltapper.schemas.readings import MISSING_WORDS, NumberStyle, TimeStyle
from wheeltapper.stream.core.drift.policy import DriftPolicy
from wheeltapper.stream.core.policies import AlarmPolicy, ThresholdMethod, WindowPolicy
from wheeltapper.stream.settings.assembly import AssemblySettings
from wheeltapper.stream.settings.audio import AudioSettings
from wheeltapper.stream.settings.bundles import BundleSettings
from wheeltapper.stream.settings.connection import KafkaSettings, Section, TopicSettings
from wheeltapper.stream.settings.joint import JointSettings
from wheeltapper.stream.settings.registry import RegistrySettings
from wheeltapper.stream.settings.routes import RouteSetting


class InputSettings(Section):
    """Where a message of the input topic carries machine, time and values; the defaults are SensorBlock's."""

    machine: str = Field(
        default="machine",
        description="field with the machine's id (a.b: nested; docs/gateways.md has all of paths), or 'key' for the record's key",
    )
    time: str = Field(default="ts", description="field with the event time, or 'record' for the record's own timestamp")
    time_unit: Literal["auto", "s", "ms", "us", "ns", "iso"] = Field(
        default="auto",
        description="auto: texts, or numbers since 1970 whose size tells s, ms, us or ns (after 2001-09-09). Else numbers are of this "
        "unit; iso: texts alone",
    )
    time_format: str | None = Field(
        default=None,
        description="strptime format of texts, e.g. '%d.%m.%Y %H:%M:%S.%f'; none: ISO 8601 and what docs/datasets.md lists",
    )
    time_zone: str | None = Field(
        default=None,
        description="IANA name of the zone of texts without an offset, e.g. 'Europe/Berlin'; none: UTC. Of the two equal hours in autumn "
        "the one near the record's own timestamp counts, the first where that is more than a day away",
    )
    values: str = Field(
        default="values",
        description="field that holds the channels, or '' where they are fields of the message itself; rows[*]: each of a list of rows. "
        "Fields of groups among the channels are named group.field",
    )
    rename: dict[str, str] = Field(default_factory=dict, description="field of the message -> channel of the bundle")
    unknown_channels: Literal["dead-letter", "ignore"] = Field(
        default="dead-letter", description="what becomes of a message with channels that the bundle does not know"
    )
    missing_channels: Literal["dead-letter", "impute"] = Field(
        default="dead-letter",
        description="impute: an absent channel counts as null: last value carried forward, lower quality",
    )
    quoted_numbers: Literal["dead-letter", "read"] = Field(
        default="dead-letter",
        description="what becomes of a message with a text for a value. read: '3.2', 'true' and words for missing (as No Data, Bad, -: "
        "docs/datasets.md) are read as in a table",
    )
    decimal: Literal[".", ","] = Field(default=".", description="of numbers in texts")
    thousands: Literal["", ".", ",", "'", " "] = Field(default="", description="between groups of digits in texts")
    missing_words: tuple[str, ...] = Field(default=(), description="further texts that stand for a missing value")
    missing_values: tuple[float, ...] = Field(
        default=(), description="numbers that stand for a missing value, e.g. [-9999]"
    )
    max_message_bytes: int = Field(
        default=16 * 2**20, ge=1_000, description="larger messages go to dead-letters unread"
    )
    max_ahead_s: float = Field(
        default=86_400.0,
        ge=0,
        description="rows and sound whose event time is further ahead of their record's own timestamp go to dead-letters "
        "(time-ahead); a day, so that local times sent as UTC pass; 0: no limit, as for rows of a made-up future",
    )

    @model_validator(mode="after")
    def _can_be_read(self) -> InputSettings:
        _ = self.times, self.numbers
        return self

    @property
    def times(self) -> TimeStyle:
        """How times are written."""
        return TimeStyle(self.time_unit, self.time_format, self.time_zone)

    @property
    def numbers(self) -> NumberStyle:
        """How values are written."""
        words = frozenset(word.strip().lower() for word in self.missing_words)
        return NumberStyle(
            self.decimal,
            self.thousands,
            MISSING_WORDS | words,
            self.missing_values,
            texts=self.quoted_numbers == "read",
        )

    check_interval_s: float = Field(
        default=10.0,
        ge=0.5,
        description="how often the worker looks whether the input topics are what they were: made anew, offsets gone back, messages "
        "expired, partitions added",
    )

    @property
    def is_native(self) -> bool:
        """True where messages are SensorBlocks, in any of the three encodings; their channels may still be renamed."""
        return (self.machine, self.time, self.time_unit, self.values) == ("machine", "ts", "auto", "values")


class WindowSettings(Section):
    """How rows become windows."""

    stride: int | None = Field(default=None, ge=1, description="rows between scored windows; none: the bundle's own")
    clock_restart_rows: int = Field(
        default=WindowPolicy.clock_restart_rows,
        ge=0,
        description="rows not newer than the machine's last are late: dropped and counted. After so many in a row its clock "
        "is taken as restarted; 0: never. A producer's retry may repeat some hundreds of rows",
    )
    max_gap_intervals: int = Field(
        default=WindowPolicy.max_gap_intervals,
        ge=0,
        description="a gap of more than so many sampling intervals empties the window; 0: gaps are bridged",
    )
    max_jump_intervals: int = Field(
        default=WindowPolicy.max_jump_intervals,
        ge=0,
        description="a row that is more sampling intervals ahead of the one before waits until 10 rows go on from it, or is "
        "refused with a row that goes on from the one before (dead letter 'time-ahead'); where the records' timestamps show the "
        "same gap it does not wait; 0: every time is believed",
    )


class ThresholdSettings(Section):
    """When a calibrated score becomes an alert. 1.0 is the bundle's alarm level."""

    method: ThresholdMethod = Field(
        default=AlarmPolicy.method,
        description="how the raise level of a machine comes about, see docs/operating.md. budget: alarms that open raise it, "
        "time lets it sink; fixed: it stays; the others are learned from quiet scores, aci from alarms",
    )
    false_alarms_per_day: float = Field(
        default=AlarmPolicy.false_alarms_per_day,
        gt=0,
        le=1e4,
        description="expected false alarms per machine and day: the sensitivity, whatever the method",
    )
    raise_level: float | None = Field(
        default=AlarmPolicy.raise_level,
        gt=0,
        le=1e9,
        description="calibrated score that raises an alert (method fixed), or that the level starts from (the learned ones; not "
        "budget and aci); none: the level for false_alarms_per_day",
    )
    clear_ratio: float = Field(
        default=AlarmPolicy.clear_ratio,
        gt=0,
        le=1,
        description="an open alert clears below this share of the raise level",
    )
    min_duration_s: float = Field(
        default=AlarmPolicy.min_duration_s,
        ge=0,
        description="seconds above the raise level before an alert opens, where a window stands for the time up to the next; "
        "0: one window opens it",
    )
    clear_duration_s: float | None = Field(
        default=AlarmPolicy.clear_duration_s,
        ge=0,
        description="seconds below the clear level before an alert clears; none: 30 intervals between scored windows, an hour "
        "at most",
    )
    cool_down_s: float = Field(
        default=AlarmPolicy.cool_down_s,
        ge=0,
        description="after an alert has cleared no other opens for so long, unless its severity is higher by 20; 0: none",
    )
    reopen_s: float = Field(
        default=AlarmPolicy.reopen_s,
        ge=0,
        description="an alert that would open so soon after the last one cleared is the last one again: same id, not counted "
        "anew; 0: always a new one",
    )
    spot_tail: float = Field(
        default=AlarmPolicy.spot_tail,
        gt=0,
        lt=0.5,
        description="share of normal scores that the tail is fitted on (methods spot and dspot)",
    )


class ScoringSettings(Section):
    device: Literal["auto", "cpu", "cuda"] = Field(
        default="auto", description="cuda without a working CUDA is an error; auto falls back"
    )
    threads: int = Field(default=1, ge=0, description="onnxruntime threads for one batch; 0: all cores")
    graph_timeout_s: float = Field(
        default=60.0,
        gt=0,
        description="a graph that has not returned after so long ends the process, with a line that names bundle and machine",
    )
    top_channels: int = Field(default=5, ge=1, description="channels named in an alert; localizations name all")
    publish_scores: bool = Field(default=True, description="write every score to the scores topic")


class ControlSettings(Section):
    """Changes while the worker runs: bundles by the topic `models`, operators' commands by `alarm-commands`."""

    enabled: bool = Field(default=True, description="follow both topics; what a worker refuses is on `adaptations`")
    read_timeout_s: float = Field(
        default=30.0,
        gt=0,
        description="a worker that starts waits so long for the end of both topics before it handles rows",
    )
    keep_previous_s: float = Field(
        default=3_600.0,
        ge=0,
        description="a bundle that was replaced stays loaded so long, or until the next of its rule is: a rollback is then instant",
    )
    cache_folder: Path | None = Field(
        default=None,
        description="where bundles from s3:// are kept, by sha256; unset: wheeltapper/bundles in the user's cache folder",
    )


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
        description="where the gate rejects every step, it is tried again a day of event time later, so often in all",
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


class LabelSettings(Section):
    """Windows that a rule is unsure of, sent to `label-requests` for a person to judge."""

    enabled: bool = Field(default=False, description="ask at all; 'wheeltapper label' answers")
    margin: float = Field(
        default=0.3,
        gt=0,
        lt=1,
        description="ask only about windows whose score is no further from the raise level than this share of it",
    )
    per_day: float = Field(
        default=1.0,
        gt=0,
        le=1_440,
        description="at most so many requests per machine, bundle and day of event time; each is about the least certain "
        "window of its stretch (1 day / per_day) and is sent when that has ended",
    )


class MaintenanceSettings(Section):
    """When machines are worked on: no alarms, and nothing is learned. `wheeltapper alarm maintenance` says it while a worker runs."""

    calendar: Path | None = Field(
        default=None,
        description="iCalendar file (.ics) read at start; an event's LOCATION names machines or patterns, separated by commas; "
        "an event without one is for all",
    )
    timezone: str = Field(
        default="UTC", description="of events whose times name none, and of whole days, e.g. Europe/Berlin"
    )


class NoDataSettings(Section):
    """Machines that fall silent: alerts of the rule 'no-data', by the wall clock."""

    after_intervals: int = Field(
        default=60,
        ge=0,
        description="a machine that sends nothing for so many of its bundle's sampling intervals opens an alert, which clears "
        "when it sends again; 0: never",
    )
    at_least_s: float = Field(
        default=60.0, gt=0, description="but never after less than this: fast machines pause between messages"
    )


class StateSettings(Section):
    snapshot_interval_s: float = Field(
        default=30.0,
        gt=0,
        description="a machine with new rows is snapshotted at least this often; a restart replays no more than that",
    )
    snapshot_windows: int = Field(
        default=8,
        ge=1,
        description="and whenever so many windows' worth of rows have come: bounds the replay at high rates",
    )
    forget_machine_after_s: float = Field(
        default=30 * 86_400.0,
        gt=0,
        description="a machine that has sent nothing for so long is dropped from memory and state; its open alerts end with "
        "reason 'no-data'",
    )
    restore_timeout_s: float = Field(default=120.0, gt=0, description="reading the state back may take this long")
    seal_key: SecretStr | None = Field(
        default=None,
        description="secret of at least 16 characters that records of the topic state are sealed with: one that was forged or changed "
        "is not used. Several, separated by commas: the first seals, all are taken. See docs/deploy.md",
    )
    seal_key_file: Path | None = Field(default=None, description="text file with the same, a key a line")
    seal_required: bool = Field(
        default=True,
        description="where there is a key: records without a seal are not used; false for the restart that begins to seal",
    )


class WorkerSettings(Section):
    transactions: Literal["auto", "on", "off"] = Field(
        default="auto",
        description="runner direct: output, state and offsets commit together; auto: where the broker can; on: an end with an error "
        "where it cannot, which is right for production",
    )
    lock_folder: Path | None = Field(
        default=None,
        description="folder of locks by which workers of one host take different transactional ids; unset: wheeltapper/locks in "
        "XDG_RUNTIME_DIR, XDG_STATE_HOME or ~/.local/state",
    )
    commit_interval_ms: int = Field(default=1_000, ge=10, description="between commits when nothing urgent is pending")
    alert_commit_interval_ms: int = Field(
        default=10,
        ge=1,
        description="transactions are readable after their commit: an alert waits at most about this long; while more rows wait than "
        "a batch takes, up to 250 ms",
    )
    linger_ms: int = Field(
        default=10,
        ge=0,
        le=1_000,
        description="where few rows wait, a broker waits so long for more before it answers: fewer and larger batches, which cost less a "
        "row; 0: each row is handled as it comes",
    )
    max_batch_messages: int = Field(default=5_000, ge=1, description="messages read at a time, at most")
    max_batch_values: int = Field(
        default=2_000_000,
        ge=1_000,
        description="values of rows, samples and scores in memory at a time, about 4 bytes each; a message that alone has more is "
        "scored part by part. With it a worker takes less than 512 MB beside the state of its machines",
    )
    http_host: str = "127.0.0.1"
    http_port: int = Field(default=0, ge=0, le=65_535, description="/healthz, /readyz, /metrics; 0: not served")
    metrics_machines: int = Field(
        default=200,
        ge=0,
        description="machines with metrics of their own; where there are more, those in alarm, silent or in maintenance, up to "
        "so many; the same for bundles",
    )
    ready_timeout_s: float = Field(
        default=15.0,
        gt=0,
        description="without progress (rows handled, or all read at a broker that answers) for so long, /readyz is 503, "
        "whatever the reason",
    )
    stall_timeout_s: float = Field(
        default=120.0,
        gt=0,
        description="after so long without progress the process ends if rows wait; it does not end while no broker answers",
    )
    log_format: Literal["console", "json"] = "console"
    log_level: Literal["debug", "info", "warning", "error"] = "info"


class Settings(Section):
    """All sections."""

    kafka: KafkaSettings = KafkaSettings()
    topics: TopicSettings = TopicSettings()
    bundles: BundleSettings = BundleSettings()
    routes: dict[str, RouteSetting] = Field(
        default_factory=dict,
        description="Which bundles serve which machines: a machine's id, or a pattern (fnmatch) such as 'pump-*', and its bundles",
    )
    input: InputSettings = InputSettings()
    assembly: AssemblySettings = AssemblySettings()
    registry: RegistrySettings = RegistrySettings()
    audio: AudioSettings = AudioSettings()
    joint: JointSettings = JointSettings()
    windows: WindowSettings = WindowSettings()
    threshold: ThresholdSettings = ThresholdSettings()
    scoring: ScoringSettings = ScoringSettings()
    control: ControlSettings = ControlSettings()
    drift: DriftSettings = DriftSettings()
    adaptation: AdaptationSettings = AdaptationSettings()
    labels: LabelSettings = LabelSettings()
    maintenance: MaintenanceSettings = MaintenanceSettings()
    no_data: NoDataSettings = NoDataSettings()
    state: StateSettings = StateSettings()
    worker: WorkerSettings = WorkerSettings()
