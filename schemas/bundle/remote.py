"""Bundles by URI: file:// and s3://, beside plain paths. What comes from afar is kept in a folder by its sha256."""

from __future__ import annotations

import errno
import hashlib
import os
import re
import shutil
import tempfile
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import unquote, urlsplit

from wheeltapper.schemas.bundle.files import LARGEST_BUNDLE_BYTES, LARGEST_MANIFEST_BYTES, MOST_FILES, BundleFiles
from wheeltapper.schemas.errors import InputError
from wheeltapper.schemas.limits import MIB

MANIFEST = "manifest.json"

# Of the cache folder's disk, not of the store.
_OF_THE_DISK = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.ENOTDIR}

_SCHEME = re.compile(r"^([A-Za-z][A-Za-z0-9+.-]+)://")


def is_uri(location: str) -> bool:
    """True where it has a scheme, such as s3://; a plain path has none."""
    return _SCHEME.match(location) is not None


def cache_folder(folder: Path | None = None) -> Path:
    """Where bundles from afar are kept: `folder`, else wheeltapper/bundles in the user's cache folder."""
    if folder is not None:
        return folder
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(home) / "wheeltapper" / "bundles"


def local_path(location: str, *, sha256: str = "", cache: Path | None = None) -> Path:
    """A path at which the bundle lies; one from s3:// is downloaded, unless it was before.

    Args:
        sha256: of its manifest.json, where it is known: then a bundle that is in the cache is not even looked for.
        cache: the cache folder; None: see `cache_folder`.

    Raises:
        InputError: another scheme, nothing there, too large to be a bundle, or it cannot be reached.
    """
    found = _SCHEME.match(location)
    if found is None:
        return Path(location)
    scheme = found[1].lower()
    if scheme == "file":
        parts = urlsplit(location)
        if parts.netloc not in ("", "localhost"):
            raise InputError(
                f"{location}: names the machine '{parts.netloc}'; write file:///PATH for a path of this machine"
            )
        return Path(unquote(parts.path))
    if scheme != "s3":
        raise InputError(f"{location}: expected a path, file:// or s3://")
    folder = cache_folder(cache)
    if sha256 and (known := _known(folder, sha256)) is not None:
        return known
    try:
        return _download(location, folder)
    except (OSError, ValueError) as error:
        if isinstance(error, OSError) and error.errno in _OF_THE_DISK:
            raise InputError(
                f"{location}: cannot be kept in {folder} ({error.strerror}); free space there, or name another folder in XDG_CACHE_HOME"
            ) from error
        raise InputError(
            f"{location}: cannot be fetched ({_first_line(error)}); check the URI, the AWS_* variables (region, keys, "
            "AWS_ENDPOINT_URL) and the right to read it"
        ) from error


def upload(source: Path, uri: str) -> None:
    """Copy a file or a folder to an s3:// URI; nobody is to be told of it before this returns.

    Raises:
        InputError: another scheme, or it cannot be written.
    """
    from pyarrow import fs

    if not uri.lower().startswith("s3://"):
        raise InputError(f"{uri}: expected a path of this machine or s3://BUCKET/PATH")
    try:
        remote, path = fs.FileSystem.from_uri(uri)
        fs.copy_files(str(source), path, source_filesystem=fs.LocalFileSystem(), destination_filesystem=remote)
    except (OSError, ValueError) as error:
        raise InputError(
            f"{uri}: cannot be written ({_first_line(error)}); check bucket, rights and AWS_* variables"
        ) from error


def forget(path: Path, *, cache: Path | None = None) -> bool:
    """Delete a cached bundle, as one that was damaged; False where `path` is not in the cache folder."""
    if path.parent != cache_folder(cache):
        return False
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
    return True


def _known(folder: Path, sha256: str) -> Path | None:
    return next((path for path in (folder / sha256, folder / f"{sha256}.zip") if path.exists()), None)


def _download(uri: str, folder: Path) -> Path:
    """Whole or not at all: beside its place first, then moved there."""
    from pyarrow import fs

    remote, base = fs.FileSystem.from_uri(uri)
    info = remote.get_file_info(base)
    if info.type == fs.FileType.NotFound:
        raise InputError(f"{uri}: nothing there; expected a bundle's folder or .zip")
    folder.mkdir(parents=True, exist_ok=True)
    staging = Path(tempfile.mkdtemp(prefix=".partial-", dir=folder))
    try:
        if info.type == fs.FileType.File:
            _check_size(uri, 1, info.size)
            target = staging / "bundle.zip"
            _copy(remote, base, target)
            return _move(target, folder / f"{_manifest_of_zip(uri, target)}.zip")
        files = _files(remote, uri, base)
        if MANIFEST not in files:
            raise InputError(f"{uri}: has no {MANIFEST}, so it is not a bundle; 'wheeltapper train' writes one")
        _copy(remote, files[MANIFEST], staging / MANIFEST)
        sha256 = hashlib.sha256((staging / MANIFEST).read_bytes()).hexdigest()
        known = _known(folder, sha256)
        if known is not None:
            return known
        for name, path in files.items():
            if name != MANIFEST:
                _copy(remote, path, staging / name)
        return _move(staging, folder / sha256)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _files(remote: Any, uri: str, base: str) -> dict[str, str]:
    """Name within the bundle -> path in the file system."""
    from pyarrow import fs

    infos = [
        info for info in remote.get_file_info(fs.FileSelector(base, recursive=True)) if info.type == fs.FileType.File
    ]
    _check_size(uri, len(infos), sum(info.size for info in infos))
    files: dict[str, str] = {}
    for info in infos:
        name = PurePosixPath(info.path).relative_to(PurePosixPath(base))
        if ".." in name.parts or name.is_absolute():
            raise InputError(f"{uri}: has a file named '{name}', which leads out of the bundle")
        files[name.as_posix()] = info.path
    return files


def _check_size(uri: str, files: int, size: int) -> None:
    if files > MOST_FILES or size > LARGEST_BUNDLE_BYTES:
        raise InputError(
            f"{uri}: {files} files of {size / MIB:.0f} MiB, a bundle has at most {MOST_FILES} files of "
            f"{LARGEST_BUNDLE_BYTES / MIB:.0f} MiB together; does the URI name a bundle?"
        )


def _copy(remote: Any, path: str, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    with remote.open_input_stream(path) as source, target.open("wb") as sink:
        shutil.copyfileobj(source, sink, 1 << 20)


def _manifest_of_zip(uri: str, path: Path) -> str:
    import zipfile

    try:
        with BundleFiles(path) as files:
            size = files.size(MANIFEST)
            if size is None or size > LARGEST_MANIFEST_BYTES:
                raise InputError(f"{uri}: is no .zip of a bundle; 'wheeltapper train --out NAME.zip' writes one")
            return hashlib.sha256(files.read(MANIFEST, size)).hexdigest()
    except zipfile.BadZipFile as error:
        raise InputError(
            f"{uri}: is no .zip of a bundle ({error}); 'wheeltapper train --out NAME.zip' writes one"
        ) from error


def _move(source: Path, target: Path) -> Path:
    """Another process may have been faster with the same bundle: then its copy stays."""
    try:
        source.rename(target)
        if target.is_dir():
            target.chmod(0o755)
    except OSError:
        if not target.exists():
            raise
    return target


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0][:300] if str(error) else type(error).__name__
