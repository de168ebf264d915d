"""Who made a bundle: Ed25519 signatures over its digest.

The digest is the sha256 of manifest.json, which names the sha256 of every other file: it is the same for a folder and its .zip.
Signatures lie beside it in signatures.json, as the manifest cannot hold what is made after it:

    {"format": 1, "signatures": [{"key": "<sha256 of the raw public key>", "signature": "<base64>"}]}

Several keys may sign one bundle: a key is changed by signing with the new one, then trusting it, then trusting the old one no more.
Keys are PEM files, private ones PKCS#8, public ones SubjectPublicKeyInfo, as `openssl genpkey -algorithm ed25519` writes them.
"""

from __future__ import annotations

import base64
import hashlib
import os
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

from wheeltapper.schemas.bundle.remote import is_uri
from wheeltapper.schemas.bundle.store import SIGNATURES, Bundle, open_bundle
from wheeltapper.schemas.errors import InputError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

# Before the digest: a signature of something else can never pass for one of a bundle.
CONTEXT = b"wheeltapper bundle 1\x00"

MOST_SIGNATURES = 64


@dataclass(frozen=True)
class PublicKey:
    """One key to trust.

    Attributes:
        ident: sha256 of the raw public key, in hex.
        source: the file that it came from.
    """

    ident: str
    source: Path
    key: Ed25519PublicKey

    def has_signed(self, bundle: Bundle, signature: bytes) -> bool:
        """True where the signature is this key's, of this bundle."""
        from cryptography.exceptions import InvalidSignature

        try:
            self.key.verify(signature, signed_text(bundle))
        except InvalidSignature:
            return False
        return True


def signed_text(bundle: Bundle) -> bytes:
    """What is signed of a bundle."""
    return CONTEXT + bytes.fromhex(bundle.manifest_sha256)


def read_public_keys(paths: Sequence[Path]) -> tuple[PublicKey, ...]:
    """Keys from PEM files, one a file.

    Raises:
        InputError: a file cannot be read, or holds something else.
    """
    if not paths:
        return ()
    # Imported where it is needed: it takes a tenth of a second.
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    keys = []
    for path in paths:
        text = _read(path)
        if b"PRIVATE KEY" in text:
            raise InputError(
                f"{path}: is a private key, which no worker should have; trust its public key: openssl pkey -in {path.name} -pubout"
            )
        try:
            key = load_pem_public_key(text)
        except Exception as error:  # cryptography raises several unrelated types
            raise InputError(
                f"{path}: is no public key in PEM ({error}); 'wheeltapper bundle new-key' makes one"
            ) from error
        if not isinstance(key, Ed25519PublicKey):
            raise InputError(
                f"{path}: is a key of another kind, expected Ed25519; 'wheeltapper bundle new-key' makes one"
            )
        keys.append(PublicKey(_ident(key), path, key))
    return tuple(keys)


def read_private_key(path: Path, password: str | None = None) -> Ed25519PrivateKey:
    """
    Raises:
        InputError: the file cannot be read, holds something else, or needs another password.
    """
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        key = load_pem_private_key(_read(path), password.encode() if password else None)
    except InputError:
        raise
    except Exception as error:  # cryptography raises several unrelated types
        raise InputError(
            f"{path}: is no private key in PEM that can be read ({error}); a password is bundles.signing_key_password"
        ) from error
    if not isinstance(key, Ed25519PrivateKey):
        raise InputError(f"{path}: is a key of another kind, expected Ed25519; 'wheeltapper bundle new-key' makes one")
    return key


def write_key_pair(path: Path, password: str | None = None) -> tuple[Path, str]:
    """Make a private key at `path`, for its owner alone, and its public key beside it.

    Returns:
        the public key's file (`.pub` before the ending), and its ident.

    Raises:
        InputError: one of them exists, or cannot be written.
    """
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    key = Ed25519PrivateKey.generate()
    encryption = serialization.BestAvailableEncryption(password.encode()) if password else serialization.NoEncryption()
    private = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption)
    public = key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    beside = path.with_name(f"{path.stem}.pub{path.suffix or '.pem'}")
    for target, text, mode in ((path, private, 0o600), (beside, public, 0o644)):
        try:
            with os.fdopen(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
                file.write(text)
        except FileExistsError as error:
            raise InputError(f"{target}: exists, and a key is not overwritten; choose another name") from error
        except OSError as error:
            raise InputError(f"{target}: cannot be written ({error.strerror}); choose another place") from error
    return beside, _ident(key.public_key())


def sign_bundle(location: Path, key: Ed25519PrivateKey) -> tuple[Bundle, str]:
    """Add a signature to a bundle of this machine; an earlier one of the same key is replaced.

    Returns:
        the bundle, and the key's ident.

    Raises:
        InputError: it is no bundle, lies elsewhere, or cannot be written.
    """
    if is_uri(str(location)):
        raise InputError(f"{location}: cannot be signed where it lies; sign a copy of this machine and upload it")
    bundle = open_bundle(location)
    ident = _ident(key.public_key())
    entries = [entry for entry in read_signatures(bundle) if entry["key"] != ident]
    signature = base64.b64encode(key.sign(signed_text(bundle))).decode()
    entries.append({"key": ident, "signature": signature})
    text = orjson.dumps({"format": 1, "signatures": entries}, option=orjson.OPT_INDENT_2) + b"\n"
    try:
        _put(bundle.location, text)
    except OSError as error:
        raise InputError(f"{location}: cannot be written ({error}); sign a copy that can be") from error
    return open_bundle(location), ident


def read_signatures(bundle: Bundle) -> list[dict[str, str]]:
    """Key and signature of each, unchecked.

    Raises:
        InputError: signatures.json is something else.
    """
    if not bundle.signatures:
        return []
    where = f"{bundle.location}/{SIGNATURES}"
    try:
        found: Any = orjson.loads(bundle.signatures)
        if found["format"] != 1:
            raise ValueError(f"format is {found['format']!r}, expected 1")
        entries = [{"key": str(entry["key"]), "signature": str(entry["signature"])} for entry in found["signatures"]]
        if len(entries) > MOST_SIGNATURES:
            raise ValueError(f"{len(entries)} signatures, at most {MOST_SIGNATURES} are read")
    except (LookupError, TypeError, ValueError) as error:
        raise InputError(f"{where}: is not what 'wheeltapper bundle sign' writes ({error}); sign it again") from error
    return entries


def signer_of(bundle: Bundle, trusted: Sequence[PublicKey]) -> PublicKey:
    """The trusted key that has signed a bundle.

    Raises:
        InputError: none has.
    """
    by_ident = {key.ident: key for key in trusted}
    entries = read_signatures(bundle)
    for entry in entries:
        key = by_ident.get(entry["key"])
        if key is not None and key.has_signed(bundle, _decoded(entry["signature"])):
            return key
    if not entries:
        found = "is not signed"
    elif any(entry["key"] in by_ident for entry in entries):
        found = "has a signature that is not of this bundle: it was changed, or the signature was"
    else:
        found = f"is signed by {', '.join(entry['key'][:12] + '..' for entry in entries)}, which is not trusted"
    raise InputError(
        f"{bundle.location}: {found}; trusted keys (bundles.trusted_keys) are {', '.join(sorted(i[:12] + '..' for i in by_ident))}: "
        "check where it came from, then sign it with 'wheeltapper bundle sign'"
    )


def _put(location: Path, text: bytes) -> None:
    """signatures.json into a folder or .zip, whole or not at all."""
    if location.is_dir():
        staging = location / f".{SIGNATURES}.partial"
        staging.write_bytes(text)
        os.replace(staging, location / SIGNATURES)
        return
    staging = location.with_name(f".{location.name}.partial")
    try:
        with zipfile.ZipFile(location) as old, zipfile.ZipFile(staging, "w", zipfile.ZIP_DEFLATED) as new:
            for info in old.infolist():
                if info.filename != SIGNATURES:
                    new.writestr(info, old.read(info))
            new.writestr(SIGNATURES, text)
        os.replace(staging, location)
    finally:
        staging.unlink(missing_ok=True)


def _decoded(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except ValueError:
        return b""


def _ident(key: Ed25519PublicKey) -> str:
    return hashlib.sha256(key.public_bytes_raw()).hexdigest()


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: the key cannot be read ({error.strerror}); name a PEM file") from error
