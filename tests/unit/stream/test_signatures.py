"""Who may give a worker bundles: signatures, pinned digests, and the command that makes and shows them."""

from __future__ import annotations

import json
import stat
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import pytest

from tests.unit.stream.bundles import Recipe, files_of, manifest_of, write_bundle
from tests.unit.stream.conftest import OpenRoutes
from wheeltapper.cli import main
from wheeltapper.schemas.bundle import open_bundle, write_bundle_folder
from wheeltapper.schemas.bundle.signature import (
    read_private_key,
    read_public_keys,
    sign_bundle,
    signer_of,
    write_key_pair,
)
from wheeltapper.schemas.errors import InputError
from wheeltapper.stream.deployment import Deployment
from wheeltapper.stream.pipeline import Pipeline
from wheeltapper.stream.routes import load_routes
from wheeltapper.stream.settings import Settings, load_settings

Keys = dict[str, Path]


@pytest.fixture
def keys(tmp_path: Path) -> Keys:
    """Name -> private key's file; the public one is `.pub.pem` beside it."""
    made = {name: tmp_path / f"{name}.pem" for name in ("plant", "other")}
    for path in made.values():
        write_key_pair(path)
    return made


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return write_bundle(tmp_path, Recipe())


def public(path: Path) -> Path:
    return path.with_name(f"{path.stem}.pub.pem")


def trusting(*private: Path, **bundles: Any) -> Settings:
    return Settings.model_validate({"bundles": {"trusted_keys": [public(path) for path in private], **bundles}})


def refused(bundle: Path, settings: Settings) -> str:
    with pytest.raises(InputError) as error:
        load_routes([str(bundle)], settings)
    return str(error.value)


def test_a_signed_bundle_is_loaded_and_no_other(bundle: Path, keys: Keys, tmp_path: Path) -> None:
    # given workers that trust the plant's key
    settings = trusting(keys["plant"])
    assert "is not signed; trusted keys (bundles.trusted_keys) are" in refused(bundle, settings)
    # when somebody else signs: then it is refused still
    sign_bundle(bundle, read_private_key(keys["other"]))
    assert "which is not trusted" in refused(bundle, settings)
    # when the plant signs too: then it is loaded, by those who trust either
    sign_bundle(bundle, read_private_key(keys["plant"]))
    for name in ("plant", "other"):
        assert load_routes([str(bundle)], trusting(keys[name])).rules
    # and signing once more changes nothing
    assert len(orjson.loads(sign_bundle(bundle, read_private_key(keys["plant"]))[0].signatures)["signatures"]) == 2


def test_a_signature_does_not_fit_another_bundle_nor_a_changed_one(bundle: Path, keys: Keys, tmp_path: Path) -> None:
    # given the signature of one bundle beside another
    sign_bundle(bundle, read_private_key(keys["plant"]))
    other = write_bundle(tmp_path, Recipe(alarm_level=9.0, detector="other"))
    (other / "signatures.json").write_bytes((bundle / "signatures.json").read_bytes())
    assert "has a signature that is not of this bundle" in refused(other, trusting(keys["plant"]))
    # and a manifest that was changed, with the alarm level out of reach
    fields = json.loads((bundle / "manifest.json").read_text())
    fields["calibration"]["alarm_level"] = 1e9
    (bundle / "manifest.json").write_text(json.dumps(fields))
    assert "has a signature that is not of this bundle" in refused(bundle, trusting(keys["plant"]))


@pytest.mark.parametrize(
    "text",
    [b"{}", b"[]", b"no json", b'{"format":2,"signatures":[]}', b'{"format":1,"signatures":[5]}',
     b'{"format":1,"signatures":[' + b",".join([b'{"key":"a","signature":"b"}'] * 65) + b"]}"],
)  # fmt: skip
def test_signatures_that_cannot_be_read_are_no_signatures(bundle: Path, keys: Keys, text: bytes) -> None:
    (bundle / "signatures.json").write_bytes(text)
    assert "is not what 'wheeltapper bundle sign' writes" in refused(bundle, trusting(keys["plant"]))
    # where no key is trusted nobody looks
    assert load_routes([str(bundle)], Settings()).rules


def test_a_zip_is_signed_as_well_and_stays_what_it_was(keys: Keys, tmp_path: Path) -> None:
    files = files_of(Recipe())
    path = write_bundle_folder(tmp_path / "press.zip", manifest_of(Recipe(), files), files).location
    before = open_bundle(path).manifest_sha256
    for name in ("plant", "other"):
        sign_bundle(path, read_private_key(keys[name]))
    assert zipfile.ZipFile(path).namelist().count("signatures.json") == 1
    assert open_bundle(path).manifest_sha256 == before
    assert signer_of(open_bundle(path), read_public_keys([public(keys["plant"])])).source == public(keys["plant"])


def test_deployments_are_held_to_the_same(open_routes: OpenRoutes, keys: Keys, tmp_path: Path) -> None:
    # given a worker that trusts the plant's key, and a bundle that comes by the topic models
    child = write_bundle(tmp_path, Recipe(detector="child"))
    deployment = Deployment("distance", "active", bundle=str(child), sha256=open_bundle(child).manifest_sha256)
    pipeline = Pipeline(open_routes(), trusting(keys["plant"]))
    with pytest.raises(InputError, match="is not signed"):
        pipeline.prepare(deployment)
    # and one that was given digests instead: they hold here too
    with pytest.raises(InputError, match="none of those that may be loaded"):
        Pipeline(open_routes(), trusting(sha256=["0" * 64])).prepare(deployment)
    # when it is signed: then it is taken, though its digest was not given for the start
    sign_bundle(child, read_private_key(keys["plant"]))
    pipeline.prepare(deployment)
    Pipeline(open_routes(), trusting(keys["plant"], sha256=["0" * 64])).prepare(deployment)


def test_digests_say_which_bundles_may_be_loaded(bundle: Path) -> None:
    digest = open_bundle(bundle).manifest_sha256
    assert load_routes([str(bundle)], trusting(sha256=[digest.upper(), "0" * 64])).rules
    said = refused(bundle, trusting(sha256=["0" * 64]))
    assert f"its manifest has sha256 {digest}, which is none of those that may be loaded" in said


def test_keys_and_digests_come_from_variables_too(keys: Keys, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = ",".join(str(public(path)) for path in keys.values())
    monkeypatch.setenv("WHEELTAPPER_BUNDLES__TRUSTED_KEYS", paths)
    assert load_settings().bundles.trusted_keys == tuple(public(path) for path in keys.values())
    monkeypatch.setenv("WHEELTAPPER_BUNDLES__SHA256", "12ab")
    with pytest.raises(InputError, match="expected the 64 hexadecimal digits"):
        load_settings()


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda keys, folder: keys["plant"], "is a private key, which no worker should have"),
        (lambda keys, folder: folder / "none.pem", "the key cannot be read"),
        (
            lambda keys, folder: (folder / "text.pem").write_text("hello") and folder / "text.pem",
            "is no public key in PEM",
        ),
    ],
)
def test_what_is_no_public_key_is_refused(
    bundle: Path, keys: Keys, tmp_path: Path, make: Callable[[Keys, Path], Path], said: str
) -> None:
    settings = Settings.model_validate({"bundles": {"trusted_keys": [make(keys, tmp_path)]}})
    assert said in refused(bundle, settings)


# -- the command -----------------------------------------------------------------------------------------------------------


def say(capsys: pytest.CaptureFixture[str], *words: str, code: int = 0) -> str:
    found = main(["bundle", *words])
    captured = capsys.readouterr()
    assert found == code, captured.err
    return captured.err if code else captured.out


def test_the_command_makes_keys_signs_and_verifies(
    bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    # given a new key under a password
    monkeypatch.setenv("WHEELTAPPER_BUNDLES__SIGNING_KEY_PASSWORD", "open sesame")
    key = tmp_path / "new.pem"
    assert "for bundles.trusted_keys" in say(capsys, "new-key", str(key))
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    assert "exists, and a key is not overwritten" in say(capsys, "new-key", str(key), code=2)
    # when the bundle is verified before and after it is signed
    verify = ("verify", str(bundle), "--trust", str(public(key)))
    assert "is not signed" in say(capsys, *verify, code=2)
    assert "gives its golden outputs; its signature was not asked for" in say(capsys, "verify", str(bundle))
    assert "signed by" in say(capsys, "sign", str(bundle), "--key", str(key))
    assert "gives its golden outputs; signed by" in say(capsys, *verify)
    assert orjson.loads(say(capsys, *verify, "--json"))["signed_by"]
    # and without the password nobody signs
    monkeypatch.delenv("WHEELTAPPER_BUNDLES__SIGNING_KEY_PASSWORD")
    assert "no private key in PEM that can be read" in say(capsys, "sign", str(bundle), "--key", str(key), code=2)
    assert "no key; name one with --key" in say(capsys, "sign", str(bundle), code=2)


def test_the_command_shows_a_bundle_and_what_differs(
    bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # given a bundle, and one with another alarm level, unit and graph
    other = write_bundle(tmp_path, Recipe(alarm_level=2.0, weighting="mean", channels=("a", "b", "c", "d")))
    text = say(capsys, "inspect", str(bundle))
    assert "signed by    nobody" in text
    assert "channels     3: a [unit of a], b [unit of b], c [unit of c]" in text
    assert open_bundle(bundle).manifest_sha256 in text
    assert orjson.loads(say(capsys, "inspect", str(bundle), "--json"))["operators"]["ReduceSum"] == 2
    # when they are compared: then each place that differs is named with both values
    shown = say(capsys, "diff", str(bundle), str(other))
    assert "calibration.alarm_level\n  - 1.0\n  + 2.0\n" in shown
    assert "channels.d.unit\n  + unit of d\n" in shown
    assert "sampling_interval_s" not in shown
    assert orjson.loads(say(capsys, "diff", str(bundle), str(other), "--json"))["calibration.alarm_level"] == [1.0, 2.0]
    assert "no difference" in say(capsys, "diff", str(bundle), str(bundle))
    assert "expected two" in say(capsys, "diff", str(bundle), code=2)
    assert "no such bundle" in say(capsys, "inspect", str(tmp_path / "none"), code=2)
