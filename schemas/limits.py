"""How large a message may be. Readers refuse what is larger; the JSON Schemas and docs/messages.md say the same."""

from __future__ import annotations

MIB = 1024 * 1024

LOAD_TIMEOUT_S = 60.0
"""How long a bundle may take to load: graphs need tenths of a second, the largest on a cold GPU some ten seconds."""
LOAD_MEMORY_MB = 4_096
"""What a bundle may take in a process that tries it."""

# 32 MiB is a block of 4,096 rows of 2,000 channels: more than any sender batches. Kafka's own limit is 1 MiB.
MAX_MESSAGE_BYTES = 32 * MIB
"""Longest value that is read at all."""
MAX_PARSED_BYTES = 8 * MIB
"""Longest value that is parsed into Python objects (JSON, foreign Avro): they can take 30 times their text's memory."""
MAX_ROWS = 65_536
MAX_CHANNELS = 8_192
MAX_VALUES = 8_388_608
"""Most rows x channels of a block: 32 MiB of float32, also where a compressed message would hold more."""
MAX_NAME_LENGTH = 1_024
"""Longest machine or channel name, in characters."""
MAX_AUDIO_CHANNELS = 64
"""Most channels of an AudioChunk."""
MAX_SAMPLE_RATE = 10_000_000
"""Most samples a second and channel of an AudioChunk."""
MAX_ATTRIBUTES = 256
"""Most attributes of an AudioChunk."""
