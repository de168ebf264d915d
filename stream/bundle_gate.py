"""The one way by which workers come to bundles: opened, and from somebody who may give them."""

from __future__ import annotations

from pathlib import Path

from wheeltapper.schemas.bundle import Bundle, open_bundle
from wheeltapper.schemas.bundle.probe import SHARED_PROBE
from wheeltapper.schemas.bundle.remote import forget, is_uri
from wheeltapper.schemas.bundle.signature import PublicKey, read_public_keys, signer_of
from wheeltapper.schemas.errors import InputError
from wheeltapper.stream.settings import Settings


def open_trusted(location: str | Path, settings: Settings, *, sha256: str = "", at_start: bool = False) -> Bundle:
    """A bundle that the settings allow.

    Args:
        location: as `open_bundle` takes it.
        sha256: of its manifest, where it is known: another bundle is refused.
        at_start: an operator has named it; else a message on a topic did.

    Raises:
        InputError: it is refused: as `open_bundle`, or because nobody who is trusted has signed it, or it is not one of those
            that may be loaded.
    """
    # Read each time: that is when a key that was taken away has to be noticed, and bundles come seldom.
    trusted = read_public_keys(settings.bundles.trusted_keys)
    cache = settings.control.cache_folder
    bundle = open_bundle(location, sha256=sha256, cache=cache)
    try:
        check_trust(bundle, trusted, settings, at_start=at_start)
    except InputError:
        # The copy in the cache may have been fetched before it was signed.
        if not is_uri(str(location)) or not forget(bundle.location, cache=cache):
            raise
        bundle = open_bundle(location, sha256=sha256, cache=cache)
        check_trust(bundle, trusted, settings, at_start=at_start)
    if sha256 and bundle.manifest_sha256 != sha256:
        raise InputError(
            f"{location}: its manifest has sha256 {bundle.manifest_sha256[:12]}.., {sha256[:12]}.. was asked for; deploy the bundle "
            "that is there"
        )
    return bundle


def check_trust(bundle: Bundle, trusted: tuple[PublicKey, ...], settings: Settings, *, at_start: bool = True) -> None:
    """
    Raises:
        InputError: the bundle may not be loaded.
    """
    pinned = settings.bundles.sha256
    if pinned and (at_start or not trusted) and bundle.manifest_sha256 not in pinned:
        raise InputError(
            f"{bundle.location}: its manifest has sha256 {bundle.manifest_sha256}, which is none of those that may be loaded "
            f"(--bundle-sha256, bundles.sha256: {', '.join(each[:12] + '..' for each in pinned)}); check where it came from"
        )
    if trusted:
        signer_of(bundle, trusted)


def try_elsewhere(bundle: Bundle, settings: Settings) -> None:
    """Load it in another process first: one that came by a topic must not hang or crash this one.

    Raises:
        InputError: it does not load.
    """
    limits = settings.bundles
    SHARED_PROBE.check(
        bundle.location, bundle.manifest_sha256, timeout_s=limits.load_timeout_s, memory_mb=limits.load_memory_mb
    )
