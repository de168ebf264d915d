"""Messages of the audio topic to chunks of microphones; what cannot be read, or does not fit the bundle, becomes a dead letter."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import compress

import numpy as np

from wheeltapper.schemas.audio_chunk import AudioChunk
from wheeltapper.schemas.codec import decode_audio_chunk
from wheeltapper.schemas.codec.checks import shown
from wheeltapper.schemas.errors import DecodeError
from wheeltapper.schemas.events import DeadLetterReason as Reason
from wheeltapper.stream.core.judging import Emission
from wheeltapper.stream.dead_letters import dead_letter
from wheeltapper.stream.kinds.audio.layout import ClipLayout
from wheeltapper.stream.kinds.contract import Decoded, MachineBlock, Route, Routes
from wheeltapper.stream.records import Headers, PartitionBatch, key_text
from wheeltapper.stream.settings import AudioSettings

NEAR_RATE = 0.99
"""Sound of so much of the bundle's rate is taken without audio.upsample: sound cards that run a little slow."""
MOST_TIMES = 64
"""A rate of more than so many times the bundle's is taken for a mistake: what is kept of a microphone grows with it."""


@dataclass(frozen=True, slots=True)
class ClipBlock:
    """Chunks of one microphone out of one batch, in offset order.

    Attributes:
        offsets: [n] int64, input offset of each chunk's message.
        times: [n] int64, event time (us) of each chunk's first sample.
        policy: how they are put together.
    """

    offsets: np.ndarray
    times: np.ndarray
    chunks: tuple[AudioChunk, ...]
    policy: AudioSettings

    def after(self, offset: int) -> ClipBlock:
        """The chunks of messages behind `offset`."""
        first = int(np.searchsorted(self.offsets, offset, side="right"))
        return ClipBlock(self.offsets[first:], self.times[first:], self.chunks[first:], self.policy)

    @property
    def length(self) -> int:
        """Samples of each channel."""
        return sum(len(chunk) for chunk in self.chunks)

    @property
    def size(self) -> int:
        """Samples of all channels."""
        return sum(chunk.samples.size for chunk in self.chunks)

    def only(self, kept: np.ndarray | slice) -> ClipBlock:
        """The chunks that [n] bool `kept` says, or a range of them."""
        chunks = self.chunks[kept] if isinstance(kept, slice) else tuple(compress(self.chunks, kept))
        return ClipBlock(self.offsets[kept], self.times[kept], chunks, self.policy)


class AudioIntake:
    """Reads batches as the [audio] settings say."""

    def __init__(self, routes: Routes, settings: AudioSettings) -> None:
        self._routes = routes
        self._settings = settings

    def decode(self, batch: PartitionBatch, most_values: float = math.inf) -> Decoded:
        """Read one partition's batch, until its chunks hold so many samples."""
        decoded = Decoded()
        found: dict[str, tuple[Route, list[int], list[AudioChunk]]] = {}
        held = 0
        for index, value in enumerate(batch.values):
            if held >= most_values:
                break
            decoded.messages = index + 1
            try:
                route, chunk = self._read(value, batch.keys[index], batch.headers[index])
            except DecodeError as error:
                decoded.dead_letters.append(Emission(batch.offsets[index], dead_letter(batch, index, error)))
                continue
            _, offsets, chunks = found.setdefault(chunk.source, (route, [], []))
            offsets.append(batch.offsets[index])
            chunks.append(chunk)
            held += chunk.samples.size
        for source, (route, offsets, chunks) in found.items():
            times = np.array([chunk.start for chunk in chunks], dtype=np.int64)
            block = ClipBlock(np.array(offsets, dtype=np.int64), times, tuple(chunks), self._settings)
            decoded.blocks.append(MachineBlock(source, route, block))
        return decoded

    def _read(self, value: bytes | None, key: bytes | None, headers: Headers | None) -> tuple[Route, AudioChunk]:
        most = self._settings.max_message_bytes
        if value is not None and len(value) > most:
            raise DecodeError(
                Reason.TOO_LARGE, f"{len(value)} bytes, at most {most} are read (audio.max_message_bytes)"
            )
        content_type = next((text for name, text in headers or () if name.lower() == "content-type"), None)
        chunk = decode_audio_chunk(value, content_type, key_text(key), longest_s=self._settings.longest_chunk_s)
        route = self._routes.of(chunk.source, "audio")
        if route is None:
            known = self._routes.listed("audio")
            raise DecodeError(
                Reason.NO_ROUTE, f"no bundle serves sound of machine {shown(chunk.machine)}; routes are {known}"
            )
        layout: ClipLayout = route.layout
        if chunk.channels != len(layout.channels):
            raise DecodeError(
                Reason.WRONG_WIDTH,
                f"machine {shown(chunk.machine)} sent {chunk.channels} channels where its bundle has {len(layout.channels)} "
                f"({', '.join(layout.channels)}); send those of the bundle, or train one on what is sent",
            )
        if chunk.sample_rate < NEAR_RATE * layout.rate and not self._settings.upsample:
            raise DecodeError(
                Reason.WRONG_RATE,
                f"machine {shown(chunk.machine)} sent {chunk.sample_rate} Hz where its bundle was trained at {layout.rate} Hz: "
                "the upper bands would be empty; send a higher rate, or train a bundle on this one (audio.upsample)",
            )
        if chunk.sample_rate > MOST_TIMES * layout.rate:
            raise DecodeError(
                Reason.WRONG_RATE,
                f"machine {shown(chunk.machine)} sent {chunk.sample_rate} Hz, more than {MOST_TIMES} times the {layout.rate} Hz of "
                "its bundle; is sample_rate in Hz?",
            )
        return route, chunk
