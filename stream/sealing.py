"""Seals on the records of the `state` topic: who has no key can neither make one nor change one.

A sealed value is b"WTH1", 4 bytes that name the key, 32 bytes of HMAC-SHA256 over the record's key, partition and value, and the value.
So a record cannot be moved to another machine, group, topic or partition either. Deleting one needs no seal: a machine whose record is
gone warms up again. An old record that is written once more is sealed, but loses to a newer one by its input offset.
"""

from __future__ import annotations

import hashlib
import hmac
import struct
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from wheeltapper.schemas.errors import InputError
from wheeltapper.stream.settings import StateSettings

MAGIC = b"WTH1"
TAG_BYTES = 32
HEAD_BYTES = len(MAGIC) + 4 + TAG_BYTES
SHORTEST_KEY = 16
_SCOPE = struct.Struct("<II")


class SealError(Exception):
    """A record that does not carry the seal that it must carry."""


class Sealer:
    """Seals with the first of its keys, and takes seals of any; without keys it seals and asks for nothing."""

    def __init__(self, keys: Sequence[bytes] = (), *, required: bool = True) -> None:
        """
        Args:
            keys: secrets, of any length.
            required: a record without a seal is refused, where there is a key.
        """
        derived = [hashlib.sha256(b"wheeltapper state seal\x00" + key).digest() for key in keys]
        self._keys = {hashlib.sha256(key).digest()[:4]: key for key in derived}
        self._first = hashlib.sha256(derived[0]).digest()[:4] if derived else b""
        self._required = required

    @property
    def overhead(self) -> int:
        """Bytes that a seal adds."""
        return HEAD_BYTES if self._keys else 0

    def seal(self, key: bytes, partition: int, value: bytes | None) -> bytes | None:
        """The value as it is published under a record's whole key; a deletion stays one."""
        if not self._keys or value is None:
            return value
        tag = _tag(self._keys[self._first], key, partition, value)
        return b"".join((MAGIC, self._first, tag, value))

    def open(self, key: bytes, partition: int, value: bytes) -> bytes:
        """The value that was sealed.

        Raises:
            SealError: its seal is missing, of an unknown key, or wrong.
        """
        is_sealed = value.startswith(MAGIC) and len(value) >= HEAD_BYTES
        if not self._keys:
            return value[HEAD_BYTES:] if is_sealed else value
        if not is_sealed:
            if self._required:
                raise SealError("it has no seal")
            return value
        ident, tag, sealed = value[4:8], value[8:HEAD_BYTES], value[HEAD_BYTES:]
        secret = self._keys.get(ident)
        if secret is None:
            raise SealError(f"it was sealed with another key ({ident.hex()})")
        if not hmac.compare_digest(tag, _tag(secret, key, partition, sealed)):
            raise SealError("its seal is wrong: it was changed, or is another record's")
        return sealed


def _tag(secret: bytes, key: bytes, partition: int, value: bytes) -> bytes:
    scope = b"".join((_SCOPE.pack(partition, len(key)), key, value))
    return hmac.digest(secret, scope, "sha256")


def sealer_of(state: StateSettings) -> Sealer:
    """As the settings say.

    Raises:
        InputError: the key's file cannot be read, or a key is too short.
    """
    given = state.seal_key.get_secret_value() if state.seal_key is not None else ""
    return _sealer(given, state.seal_key_file, state.seal_required)


@cache
def _sealer(given: str, file: Path | None, required: bool) -> Sealer:
    """Once a process: a file that is changed meanwhile must not part what is sealed from what is read."""
    source = "state.seal_key"
    if file is not None:
        source = f"{file} (state.seal_key_file)"
        if given:
            raise InputError("state.seal_key and state.seal_key_file are both set; set one of them")
        try:
            given = file.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(
                f"{source}: the key cannot be read ({error}); expected a text file, a key a line"
            ) from error
        if not given.strip():
            raise InputError(f"{source}: is empty; write a key into it, e.g. by 'openssl rand -hex 32'")
    keys = [word.strip().encode() for line in given.splitlines() for word in line.split(",") if word.strip()]
    for key in keys:
        if len(key) < SHORTEST_KEY:
            raise InputError(
                f"{source}: a key has {len(key)} characters, at least {SHORTEST_KEY} are needed; 'openssl rand -hex 32' makes one"
            )
    return Sealer(keys, required=required)
