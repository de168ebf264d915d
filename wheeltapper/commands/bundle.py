"""`wheeltapper bundle inspect|diff|verify|sign|new-key`: what a bundle is, and who says so."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wheeltapper.schemas.errors import InputError

if TYPE_CHECKING:
    from wheeltapper.stream.settings import Settings

EPILOG = """
actions:
  inspect BUNDLE          what it scores, its alarm level, its files, its sha256 and who has signed it
  diff BUNDLE BUNDLE      what differs between two
  verify BUNDLE ...       load it as a worker does: hashes, limits, golden outputs, and with keys the signature
  sign BUNDLE ...         add a signature; needs --key, or bundles.signing_key in --config
  new-key FILE.pem        make a private key, and FILE.pub.pem beside it for those who trust it

examples:
  wheeltapper bundle new-key plant.pem
  wheeltapper bundle sign bundles/pump-7 --key plant.pem
  wheeltapper bundle verify bundles/pump-7 --trust plant.pub.pem

Workers refuse what nobody they trust has signed where bundles.trusted_keys is set: docs/bundle.md.
"""

ACTIONS = ("inspect", "diff", "verify", "sign", "new-key")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = EPILOG
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("action", choices=ACTIONS, help="see below")
    parser.add_argument(
        "bundles", nargs="+", metavar="BUNDLE", help="folder, .zip or s3:// URI; of new-key a file to make"
    )
    parser.add_argument("--key", type=Path, metavar="FILE", help="sign: the private key (default: bundles.signing_key)")
    parser.add_argument(
        "--trust",
        type=Path,
        metavar="FILE",
        nargs="+",
        action="extend",
        default=[],
        help="verify: public keys of which one must have signed (default: bundles.trusted_keys)",
    )
    parser.add_argument("--json", action="store_true", help="inspect, diff, verify: as JSON")
    parser.add_argument("--config", type=Path, metavar="FILE", help="TOML file of settings (default: none)")


def run(arguments: argparse.Namespace) -> int:
    """Raises InputError: a bundle or key that is refused."""
    from wheeltapper.stream.settings import load_settings

    settings = load_settings(arguments.config)
    if arguments.key is not None and arguments.action != "sign":
        raise InputError(f"bundle {arguments.action}: --key is for 'sign'; leave it out")
    if arguments.trust and arguments.action not in ("verify", "inspect"):
        raise InputError(f"bundle {arguments.action}: --trust is for 'verify' and 'inspect'; leave it out")
    if arguments.action == "new-key":
        return _new_key(arguments, settings)
    if arguments.action == "sign":
        return _sign(arguments, settings)
    if arguments.action == "diff":
        return _diff(arguments, settings)
    if arguments.action == "verify":
        return _verify(arguments, settings)
    for location in arguments.bundles:
        _show(_description(location, settings, arguments.trust), arguments.json)
    return 0


def _password(settings: Settings) -> str | None:
    password = settings.bundles.signing_key_password
    return None if password is None else password.get_secret_value()


def _new_key(arguments: argparse.Namespace, settings: Settings) -> int:
    from wheeltapper.schemas.bundle.signature import write_key_pair

    for name in arguments.bundles:
        public, ident = write_key_pair(Path(name), _password(settings))
        print(
            f"{name}: private key, for its owner alone; {public}: public key {ident[:12]}.., for bundles.trusted_keys"
        )
    return 0


def _sign(arguments: argparse.Namespace, settings: Settings) -> int:
    from wheeltapper.schemas.bundle.signature import read_private_key, sign_bundle

    path = arguments.key or settings.bundles.signing_key
    if path is None:
        raise InputError(
            "bundle sign: no key; name one with --key, or bundles.signing_key in --config ('wheeltapper bundle new-key' makes one)"
        )
    key = read_private_key(path, _password(settings))
    for location in arguments.bundles:
        bundle, ident = sign_bundle(Path(location), key)
        print(f"{location}: {bundle.manifest.bundle_id} signed by {ident[:12]}.. (sha256 {bundle.manifest_sha256})")
    return 0


def _verify(arguments: argparse.Namespace, settings: Settings) -> int:
    from wheeltapper.schemas.bundle import open_bundle
    from wheeltapper.schemas.bundle.normal_blocks import check_tables
    from wheeltapper.schemas.bundle.signature import read_public_keys, signer_of
    from wheeltapper.stream.bundle_gate import check_trust

    trusted = read_public_keys(arguments.trust or settings.bundles.trusted_keys)
    for location in arguments.bundles:
        bundle = open_bundle(location, cache=settings.control.cache_folder)
        check_trust(bundle, trusted, settings)
        bundle.open_graph(device="cpu", timeout_s=settings.bundles.load_timeout_s, warm_up=True)
        check_tables(bundle)
        signer = signer_of(bundle, trusted).ident if trusted else ""
        if arguments.json:
            about = {"bundle": bundle.manifest.bundle_id, "sha256": bundle.manifest_sha256, "signed_by": signer}
            print(json.dumps({"location": location, **about}))
            continue
        signed = f"signed by {signer[:12]}.." if signer else "its signature was not asked for: no key is trusted"
        print(f"{location}: {bundle.manifest.bundle_id} is whole and gives its golden outputs; {signed}")
    return 0


def _diff(arguments: argparse.Namespace, settings: Settings) -> int:
    if len(arguments.bundles) != 2:
        raise InputError(f"bundle diff: {len(arguments.bundles)} bundles are named, expected two")
    both = [_description(location, settings, []) for location in arguments.bundles]
    first, second = (_flat({key: value for key, value in one.items() if key != "location"}) for one in both)
    differing = {
        name: [first.get(name), second.get(name)]
        for name in sorted(first.keys() | second.keys())
        if first.get(name) != second.get(name)
    }
    if arguments.json:
        print(json.dumps(differing, indent=2))
        return 0
    print(f"- {arguments.bundles[0]}\n+ {arguments.bundles[1]}")
    for name, (before, after) in differing.items():
        print(f"\n{name}")
        for sign, value in (("-", before), ("+", after)):
            if value is not None:
                print(f"  {sign} {_text(value)}")
    if not differing:
        print("no difference")
    return 0


def _description(location: str, settings: Settings, trust: list[Path]) -> dict[str, Any]:
    """What there is to say of a bundle, in JSON types. Its graph is read, and not run."""
    from wheeltapper.schemas.bundle import open_bundle
    from wheeltapper.schemas.bundle.onnx_file import read_onnx
    from wheeltapper.schemas.bundle.signature import read_public_keys, read_signatures
    from wheeltapper.schemas.bundle.store import MODEL

    bundle = open_bundle(location, cache=settings.control.cache_folder)
    manifest = bundle.manifest.model_dump(mode="json")
    files = {
        name: {"bytes": len(bundle.files[name]), "sha256": digest} for name, digest in manifest.pop("files").items()
    }
    trusted = {key.ident: key for key in read_public_keys(trust or settings.bundles.trusted_keys)}
    return {
        "location": str(location),
        "sha256": bundle.manifest_sha256,
        "signed_by": [{"key": entry["key"], "trusted": entry["key"] in trusted} for entry in read_signatures(bundle)],
        **manifest,
        "operators": read_onnx(bundle.files[MODEL], f"{location}/{MODEL}").operators,
        "files": files,
    }


def _show(about: dict[str, Any], as_json: bool) -> None:
    if as_json:
        print(json.dumps(about, indent=2))
        return
    calibration, data = about["calibration"], about["training_data"]
    signed = ", ".join(
        f"{entry['key'][:12]}..{' (trusted)' if entry['trusted'] else ''}" for entry in about["signed_by"]
    )
    channels = ", ".join(
        f"{channel['name']} [{channel['unit']}]" if channel["unit"] else channel["name"]
        for channel in about["channels"]
    )
    lines = {
        "bundle": f"{about['bundle_id']} ({about['kind']})",
        "sha256": about["sha256"],
        "signed by": signed or "nobody",
        "detector": f"{about['detector']} {about['detector_version']}"
        + (f", adapted from {about['parent']}" if about["parent"] else ""),
        "channels": f"{len(about['channels'])}: {channels}",
        "window": f"{about['window']} {'rows' if about['kind'] == 'sensors' else 'samples'}, stride {about['stride']}, "
        f"one each {about['sampling_interval_s']:g} s",
        "alarm level": f"{calibration['alarm_level']:.6g} (normal {calibration['center']:.6g}) for "
        f"{calibration['false_alarms_per_day']:g} false alarms a day, from {calibration['windows']} windows, by {calibration['method']}",
        "trained on": f"{data['dataset']} {data['entity']}, {data['rows']} rows, at {about['created_at']}",
        "made with": ", ".join(f"{name} {version}" for name, version in about["versions"].items()) or "unknown",
        "operators": ", ".join(f"{count} {name}" for name, count in about["operators"].items()),
    }
    for name, text in lines.items():
        print(f"{name:<12} {text}")
    for warning in about["warnings"]:
        print(f"{'note':<12} {warning}")
    for name, file in about["files"].items():
        print(f"{'file':<12} {name}, {file['bytes']} bytes, sha256 {file['sha256'][:12]}..")
    sys.stdout.flush()


def _flat(value: Any, prefix: str = "") -> dict[str, Any]:
    """Nested tables and lists as one table of dotted names; named entries of lists by their name."""
    if isinstance(value, dict) and value:
        entries = [(str(key), one) for key, one in value.items()]
    elif isinstance(value, list) and value and all(isinstance(one, dict) for one in value):
        entries = [(str(one.get("name", place)), one) for place, one in enumerate(value)]
    else:
        return {prefix: value}
    flat: dict[str, Any] = {}
    for key, one in entries:
        flat |= _flat(one, f"{prefix}.{key}" if prefix else key)
    return flat


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)
