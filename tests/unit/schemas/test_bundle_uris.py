"""Bundles by URI, there and back: file:// and s3://, against moto's server."""

from __future__ import annotations

import resource
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from pyarrow import fs

from tests.unit.stream.bundles import Recipe, write_bundle
from wheeltapper.schemas.bundle import open_bundle, remote
from wheeltapper.schemas.errors import InputError
from wheeltapper.stream.routes import split_route

RECIPE = Recipe()


@pytest.fixture(scope="module")
def s3() -> Iterator[str]:
    """Address of an S3 server with the bucket 'models'."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    server = subprocess.Popen(
        [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        deadline = time.monotonic() + 60
        while True:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            assert server.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.1)
        filesystem(port).create_dir("models")
        yield f"127.0.0.1:{port}"
    finally:
        server.kill()
        server.wait()


def filesystem(port: int) -> fs.S3FileSystem:
    return fs.S3FileSystem(
        access_key="key",
        secret_key="secret",
        region="us-east-1",
        scheme="http",
        endpoint_override=f"127.0.0.1:{port}",
        allow_bucket_creation=True,
        allow_delayed_open=True,  # small files in one request
    )


@pytest.fixture(autouse=True)
def keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")


def uri(s3: str, path: str) -> str:
    return f"s3://models/{path}?scheme=http&region=us-east-1&endpoint_override={s3}"


def upload(s3: str, folder: Path, name: str) -> None:
    remote_files = filesystem(int(s3.rpartition(":")[2]))
    for path in sorted(folder.rglob("*")) if folder.is_dir() else [folder]:
        target = f"models/{name}/{path.relative_to(folder)}" if folder.is_dir() else f"models/{name}"
        with remote_files.open_output_stream(target) as sink:
            sink.write(path.read_bytes())


def test_a_folder_is_fetched_once_and_a_damaged_copy_again(s3: str, tmp_path: Path) -> None:
    # given a bundle in a bucket
    bundle = open_bundle(write_bundle(tmp_path, RECIPE))
    upload(s3, bundle.location, "press")
    cache = tmp_path / "cache"
    # when it is opened: then it is the bundle, and lies in the cache under its sha256
    found = open_bundle(uri(s3, "press"), cache=cache)
    assert found.files == bundle.files
    assert found.location == cache / bundle.manifest_sha256
    assert list(cache.iterdir()) == [found.location]
    # and one whose sha256 is known is not asked for again, even where the server is gone
    nowhere = "s3://models/press?scheme=http&region=us-east-1&endpoint_override=127.0.0.1:1"
    assert open_bundle(nowhere, sha256=bundle.manifest_sha256, cache=cache).files == bundle.files
    # when the copy is damaged: then it is fetched again
    (found.location / "golden.npz").write_bytes(b"damaged")
    assert open_bundle(uri(s3, "press"), sha256=bundle.manifest_sha256, cache=cache).files == bundle.files


def test_a_zip_is_taken_too(s3: str, tmp_path: Path) -> None:
    bundle = open_bundle(write_bundle(tmp_path, RECIPE))
    upload(s3, Path(shutil.make_archive(str(tmp_path / "press"), "zip", bundle.location)), "press.zip")
    assert open_bundle(uri(s3, "press.zip"), cache=tmp_path / "cache").files == bundle.files


def test_a_cache_without_room_is_told_as_such_and_nothing_half_done_stays(s3: str, tmp_path: Path) -> None:
    # given a bundle in a bucket, and a disk that has no room for it
    bundle = open_bundle(write_bundle(tmp_path, RECIPE))
    upload(s3, bundle.location, "large-press")
    cache = tmp_path / "cache"
    # when it is opened, then the disk is named, not the bucket
    with room_for_files_of(100), pytest.raises(InputError, match=rf"cannot be kept in {cache} .*XDG_CACHE_HOME"):
        open_bundle(uri(s3, "large-press"), cache=cache)
    assert list(cache.iterdir()) == []
    # and once there is room again, it opens
    assert open_bundle(uri(s3, "large-press"), cache=cache).files == bundle.files


@contextmanager
def room_for_files_of(size: int) -> Iterator[None]:
    """No file that this process writes meanwhile gets larger."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_what_is_uploaded_is_what_is_fetched(s3: str, tmp_path: Path) -> None:
    # given a bundle with a folder in it, and a report
    bundle = open_bundle(write_bundle(tmp_path, RECIPE))
    report = tmp_path / "report.html"
    report.write_text("<p>why</p>")
    # when both are uploaded, the bundle a second time over what a killed run may have left
    remote.upload(bundle.location / "golden.npz", uri(s3, "adapted/child/golden.npz"))
    remote.upload(bundle.location, uri(s3, "adapted/child"))
    remote.upload(report, uri(s3, "adapted/1.html"))
    # then a worker opens the same bundle, and the report is there
    fetched = open_bundle(uri(s3, "adapted/child"), sha256=bundle.manifest_sha256, cache=tmp_path / "cache")
    assert (fetched.files, fetched.manifest_sha256) == (bundle.files, bundle.manifest_sha256)
    with filesystem(int(s3.rpartition(":")[2])).open_input_stream("models/adapted/1.html") as stream:
        assert stream.read() == b"<p>why</p>"


def test_an_upload_that_cannot_be_says_where_to(s3: str, tmp_path: Path) -> None:
    file = tmp_path / "report.html"
    file.write_text("x")
    with pytest.raises(InputError, match=r"s3://no-such-bucket/.*cannot be written.*AWS_"):
        remote.upload(file, uri(s3, "x.html").replace("models", "no-such-bucket"))
    with pytest.raises(InputError, match="expected a path of this machine or s3://BUCKET/PATH"):
        remote.upload(file, "http://somewhere/x.html")


def test_what_is_no_bundle_is_refused_with_its_uri(s3: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # given a bundle that lacks a file, a folder of other things, and a bundle that is too large
    bundle = open_bundle(write_bundle(tmp_path, RECIPE)).location
    broken = tmp_path / "broken"
    shutil.copytree(bundle, broken)
    (broken / "golden.npz").unlink()
    upload(s3, broken, "broken")
    other = tmp_path / "other"
    other.mkdir()
    (other / "notes.txt").write_text("nothing")
    upload(s3, other, "other")
    # when they are opened: then each says what is wrong, and nothing stays in the cache
    cache = tmp_path / "cache"
    for name, said in (
        ("broken", "golden.npz is missing"),
        ("other", "has no manifest.json"),
        ("nothing-here", "nothing there"),
    ):
        with pytest.raises(InputError, match=said) as error:
            open_bundle(uri(s3, name), cache=cache)
        assert "s3://models/" in str(error.value)
    upload(s3, bundle, "large")
    monkeypatch.setattr(remote, "LARGEST_BUNDLE_BYTES", 1_000)
    with pytest.raises(InputError, match="does the URI name a bundle"):
        open_bundle(uri(s3, "large"), cache=cache)
    assert list(cache.iterdir()) == []


def test_a_file_uri_is_a_path(tmp_path: Path) -> None:
    place = write_bundle(tmp_path / "with space", RECIPE)
    assert open_bundle(place.resolve().as_uri()).manifest.bundle_id == RECIPE.bundle_id


@pytest.mark.parametrize(
    ("location", "said"),
    [
        ("http://somewhere/bundle", "expected a path, file:// or s3://"),
        ("file://otherhost/bundle", "names the machine 'otherhost'"),
        ("s3://models/x?nonsense=1", "cannot be fetched"),
    ],
)
def test_other_uris_are_refused(location: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=said):
        open_bundle(location, cache=tmp_path)


def test_a_uri_on_the_command_line_stands_alone_or_behind_a_pattern() -> None:
    assert split_route("s3://models/x?region=a") == ("*", "s3://models/x?region=a")
    assert split_route("pump-*=s3://models/x?region=a") == ("pump-*", "s3://models/x?region=a")
