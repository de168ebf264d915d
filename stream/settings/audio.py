"""[audio]: how chunks of sound become clips, and when a microphone counts as dead."""

from __future__ import annotations

from pydantic import Field

from wheeltapper.stream.settings.connection import Section


class AudioSettings(Section):
    """How chunks of sound or vibration become windows of a bundle. Times are event time."""

    hop_s: float | None = Field(
        default=None,
        gt=0,
        description="between scored windows; none: the bundle's own, which its alarm level was chosen for",
    )
    longest_chunk_s: float = Field(default=60.0, gt=0, description="longer chunks go to dead-letters unread")
    max_message_bytes: int = Field(
        default=16 * 2**20, ge=1_000, description="larger messages go to dead-letters unread"
    )
    upsample: bool = Field(
        default=False,
        description="take sound of a lower rate than the bundle's, whose upper bands are then empty; false: it goes to "
        "dead-letters. Sound of a higher rate is always resampled",
    )
    clock_tolerance_s: float = Field(
        default=0.05,
        ge=0,
        description="a chunk that starts so near to the end of the one before follows it; the difference is counted as skew and "
        "followed slowly. Further away is a gap, or an overlap, whose samples are dropped",
    )
    fill_gap_s: float = Field(
        default=0.25,
        ge=0,
        description="a gap up to this long is filled with the sound before it, played backwards, and lowers the quality of the "
        "windows; after a longer one the window starts anew",
    )
    clock_restart_s: float = Field(
        default=30.0,
        ge=0,
        description="sound not newer than the last is late: dropped and counted. After so much in a row the clock is taken as "
        "restarted; 0: never",
    )
    dead_after_s: float = Field(
        default=5.0,
        gt=0,
        description="a microphone that gives nothing but one value, or less than dead_below, for so long opens an alert of the "
        "rule 'dead-microphone', which clears with the first second of sound",
    )
    dead_below: float = Field(
        default=1e-5,
        ge=0,
        description="root mean square without its mean, of full scale or in the sensor's unit, below which there is no sound",
    )
