"""[scoring], [control], [state] and [worker]: how a worker runs."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, SecretStr

from wheeltapper.stream.settings.connection import Section


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
