"""Which bundles are loaded, and within which limits."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, SecretStr

from wheeltapper.schemas.limits import LOAD_MEMORY_MB, LOAD_TIMEOUT_S
from wheeltapper.stream.settings.connection import Section


def _listed(value: Any) -> Any:
    """A variable holds several by commas."""
    return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value


def _digest(value: Any) -> Any:
    if isinstance(value, str) and re.fullmatch(r"[0-9A-Fa-f]{64}", value):
        return value.lower()
    raise ValueError("expected the 64 hexadecimal digits of a manifest's sha256; 'wheeltapper bundle inspect' says it")


class BundleSettings(Section):
    """Which bundles are loaded, at start and by the topic `models`, and within which limits. See docs/bundle.md."""

    trusted_keys: Annotated[tuple[Path, ...], BeforeValidator(_listed)] = Field(
        default=(),
        description="PEM files of Ed25519 public keys: a bundle that none of them has signed is refused; none: every bundle is "
        "loaded. In a variable separated by commas",
    )
    sha256: Annotated[tuple[Annotated[str, BeforeValidator(_digest)], ...], BeforeValidator(_listed)] = Field(
        default=(),
        description="sha256 of the manifests of the bundles that may be loaded (--bundle-sha256); none: any. With trusted_keys it is "
        "asked of bundles given at start alone",
    )
    signing_key: Path | None = Field(
        default=None,
        description="PEM file of the Ed25519 private key that 'wheeltapper adapt-worker' signs its children with, and 'bundle sign' "
        "its bundles; workers need none",
    )
    signing_key_password: SecretStr | None = None
    load_timeout_s: float = Field(
        default=LOAD_TIMEOUT_S, gt=0, description="a bundle whose graph takes longer to load and to check is refused"
    )
    load_memory_mb: int = Field(
        default=LOAD_MEMORY_MB,
        ge=64,
        description="a bundle that comes by the topic models is tried in a process of its own first, which may take so much",
    )
