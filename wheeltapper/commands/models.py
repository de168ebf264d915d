"""`wheeltapper models`: show and change which bundles serve which machines while workers run."""

from __future__ import annotations

import argparse
import sys
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from wheeltapper.schemas.errors import InputError

if TYPE_CHECKING:
    from wheeltapper.schemas.adaptation import ActiveModel, AdaptationEvent
    from wheeltapper.schemas.bundle import Manifest
    from wheeltapper.stream.settings import Settings

DEPLOYING = ("activate", "shadow", "canary")
ACTIONS = {
    "list": "what was deployed last, by machines and rule",
    "activate": "put a bundle in service",
    "shadow": "score a bundle beside the one that serves; it raises no alerts",
    "canary": "put a bundle in service on a share of the machines",
    "rollback": "take the bundle back that served before",
    "retire": "end a rule, and with it its open alerts; with --shadow only its shadow",
    "history": "deployments and what became of them, the oldest first",
}
MODES: dict[str, Literal["shadow", "canary", "active"]] = {"activate": "active", "shadow": "shadow", "canary": "canary"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    from wheeltapper.kafka_arguments import add_kafka_arguments, add_prefix_argument

    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("action", choices=tuple(ACTIONS), help="; ".join(f"{k}: {v}" for k, v in ACTIONS.items()))
    parser.add_argument(
        "what",
        nargs="?",
        metavar="[MACHINES=]BUNDLE | MACHINES",
        help="activate, shadow, canary: a bundle by path, file:// or s3://, for machines by id or pattern (default: '*'); "
        "rollback, retire: the machines, as they were deployed (default: '*'); list, history: only these machines",
    )
    parser.add_argument(
        "--rule", metavar="NAME", default="", help="the rule that the bundle serves (default: its detector's name)"
    )
    parser.add_argument("--share", metavar="S", type=float, help="canary: share of the machines, 0 to 1 (default: 0.1)")
    parser.add_argument("--shadow", action="store_true", help="retire: end only the rule's shadow")
    parser.add_argument("--who", metavar="NAME", help="who deploys (default: the user's login name)")
    parser.add_argument("--reason", metavar="TEXT", default="", help="why, for the history (default: none)")
    parser.add_argument("--json", action="store_true", help="print messages, one JSON object a line")
    add_kafka_arguments(parser)
    add_prefix_argument(parser)


def run(arguments: argparse.Namespace) -> int:
    """Raises InputError: a bad option or bundle, no cluster there, no such topic, nothing to take back."""
    from wheeltapper.kafka_admin import settings_from

    _check(arguments)
    settings = settings_from(arguments)
    if arguments.action == "list":
        _show_list([m for m in in_force(settings) if arguments.what in (None, m.route)], as_json=arguments.json)
    elif arguments.action == "history":
        _show_history(settings, arguments)
    elif arguments.shadow:
        _end_shadow(settings, arguments)
    else:
        model = _model(settings, arguments)
        _publish(settings, model, arguments.action)
        _say(model, as_json=arguments.json)
    return 0


def in_force(settings: Settings) -> list[ActiveModel]:
    """The last message of each key on `models`, in the order in which they came."""
    models = _read(settings)
    last = {model.key: index for index, model in enumerate(models)}
    return [model for index, model in enumerate(models) if last[model.key] == index]


def _read(settings: Settings) -> list[ActiveModel]:
    """What was published and not deleted since."""
    from wheeltapper.follow.follower import read_records
    from wheeltapper.follow.messages import received
    from wheeltapper.schemas.adaptation import ActiveModel
    from wheeltapper.schemas.topics import MODELS

    models: list[ActiveModel] = []
    for record in read_records(settings, MODELS):
        if not record.value:
            models = [model for model in models if model.key.encode() != record.key]
            continue
        one = received(ActiveModel, record)
        if one.message is None:
            _tell(f"{record.where} is no ActiveModel and is left out ({one.problem})")
        else:
            models.append(one.message)
    return models


def _check(arguments: argparse.Namespace) -> None:
    if arguments.share is not None and arguments.action != "canary":
        raise InputError(f"--share goes with canary, not with {arguments.action}")
    if arguments.share is not None and not 0 <= arguments.share <= 1:
        raise InputError(f"--share {arguments.share:g}: expected 0 to 1")
    if arguments.shadow and arguments.action != "retire":
        raise InputError(f"--shadow goes with retire, not with {arguments.action}")
    if arguments.action in DEPLOYING and not arguments.what:
        raise InputError(f"models {arguments.action}: name a bundle, as [MACHINES=]BUNDLE")
    if arguments.action == "retire" and not arguments.rule:
        raise InputError("models retire: name the rule that ends with --rule; 'wheeltapper models list' shows them")


def _model(settings: Settings, arguments: argparse.Namespace) -> ActiveModel:
    from wheeltapper.control_messages import now_us, person
    from wheeltapper.schemas.adaptation import ActiveModel

    action, who = arguments.action, person(arguments.who)
    common = {"who": who, "at": now_us(), "reason": arguments.reason}
    known = in_force(settings)
    if action == "rollback":
        return _rolled_back(_serving(known, arguments.what or "*", arguments.rule), common)
    if action == "retire":
        route = arguments.what or "*"
        before = [model for model in known if (model.route, model.rule) == (route, arguments.rule)]
        return ActiveModel(
            route=route,
            bundle="",
            uri="",
            sha256="",
            mode="retired",
            rule=arguments.rule,
            kind=before[-1].kind if before else "sensors",
            previous_uri=before[-1].uri if before else "",
            previous_sha256=before[-1].sha256 if before else "",
            **common,
        )
    route, uri, manifest, sha256 = _bundle(settings, arguments.what)
    rule = arguments.rule or manifest.detector
    previous = ("", "")
    if MODES[action] != "shadow":
        serving = [m for m in known if (m.route, m.rule) == (route, rule) and m.mode != "shadow"]
        if serving:  # the same bundle in another mode, as a canary that passed, has the same bundle before it
            last = serving[-1]
            same = last.sha256 == sha256
            previous = (last.previous_uri, last.previous_sha256) if same else (last.uri, last.sha256)
    return ActiveModel(
        route=route,
        bundle=manifest.bundle_id,
        uri=uri,
        sha256=sha256,
        mode=MODES[action],
        rule=rule,
        kind=manifest.kind,
        share=(0.1 if arguments.share is None else arguments.share) if action == "canary" else 1.0,
        previous_uri=previous[0],
        previous_sha256=previous[1],
        **common,
    )


def _bundle(settings: Settings, word: str) -> tuple[str, str, Manifest, str]:
    """Route, URI as workers take it, manifest and its sha256 of a bundle that was checked as a worker checks it."""
    from wheeltapper.schemas.bundle.remote import is_uri
    from wheeltapper.stream.bundle_gate import open_trusted
    from wheeltapper.stream.routes import split_route

    route, location = split_route(word)
    bundle = open_trusted(location, settings)
    bundle.open_graph(device="cpu", timeout_s=settings.bundles.load_timeout_s)
    uri = location if is_uri(location) else str(Path(location).resolve())
    return route, uri, bundle.manifest, bundle.manifest_sha256


def _serving(known: Sequence[ActiveModel], route: str, rule: str) -> ActiveModel:
    """The last deployment that is not a shadow.

    Raises:
        InputError: there is none, or rules must be told apart.
    """
    found = [m for m in known if m.route == route and rule in ("", m.rule) and m.mode != "shadow"]
    rules = sorted({model.rule for model in found})
    if len(rules) > 1:
        raise InputError(f"models rollback: rules {', '.join(rules)} were deployed to '{route}'; name one with --rule")
    if not found:
        routes = sorted({model.route for model in known})
        raise InputError(
            f"models rollback: nothing was deployed to '{route}'{f' as rule {rule}' if rule else ''}; "
            + (f"deployed to: {', '.join(routes)}" if routes else "topic models is empty")
        )
    return found[-1]


def _rolled_back(serving: ActiveModel, common: dict[str, object]) -> ActiveModel:
    from wheeltapper.schemas.adaptation import ActiveModel
    from wheeltapper.schemas.bundle import open_bundle

    if not serving.previous_uri:
        raise InputError(
            f"models rollback: topic models knows no bundle that served '{serving.route}' before {serving.bundle}; "
            "put the one that the workers were started with in service by 'wheeltapper models activate'"
        )
    bundle = open_bundle(serving.previous_uri, sha256=serving.previous_sha256)
    if bundle.manifest_sha256 != serving.previous_sha256:
        raise InputError(
            f"models rollback: {serving.previous_uri} holds another bundle by now (sha256 {bundle.manifest_sha256[:12]}.., "
            f"expected {serving.previous_sha256[:12]}..); activate the one that is meant"
        )
    return ActiveModel(
        route=serving.route,
        bundle=bundle.manifest.bundle_id,
        uri=serving.previous_uri,
        sha256=serving.previous_sha256,
        mode="active",
        rule=serving.rule,
        kind=serving.kind,
        previous_uri=serving.uri,
        previous_sha256=serving.sha256,
        **common,
    )


def _end_shadow(settings: Settings, arguments: argparse.Namespace) -> None:
    """Delete the shadow's key: workers end the shadow by that."""
    from wheeltapper.control_messages import now_us, person, send
    from wheeltapper.schemas.adaptation import ActiveModel, AdaptationEvent, AdaptationStep

    route = arguments.what or "*"
    known = [m for m in in_force(settings) if (m.route, m.rule, m.mode) == (route, arguments.rule, "shadow")]
    if not known:
        raise InputError(
            f"models retire --shadow: rule {arguments.rule} has no shadow on '{route}'; 'wheeltapper models list' shows them"
        )
    event = AdaptationEvent(
        adaptation_id=str(uuid.uuid4()),
        machine=route,
        rule=arguments.rule,
        event=AdaptationStep.DEPLOYED,
        at=now_us(),
        bundle=known[-1].bundle,
        uri=known[-1].uri,
        who=person(arguments.who),
        reason=f"shadow ended{f': {arguments.reason}' if arguments.reason else ''}",
    )
    send(settings, (known[-1].key, ActiveModel), (route, event))
    print(event.model_dump_json() if arguments.json else f"the shadow of rule {arguments.rule} on '{route}' ends")


def _publish(settings: Settings, model: ActiveModel, action: str) -> None:
    from wheeltapper.control_messages import send
    from wheeltapper.schemas.adaptation import AdaptationEvent, AdaptationStep

    event = AdaptationEvent(
        adaptation_id=str(uuid.uuid4()),
        machine=model.route,
        rule=model.rule,
        event=AdaptationStep.ROLLED_BACK if action == "rollback" else AdaptationStep.DEPLOYED,
        at=model.at,
        bundle=model.bundle,
        uri=model.uri,
        who=model.who,
        reason=f"{model.mode}{f': {model.reason}' if model.reason else ''}",
    )
    send(settings, (model.key, model), (model.route, event))


def _say(model: ActiveModel, *, as_json: bool) -> None:
    if as_json:
        print(model.model_dump_json())
        return
    what = {
        "active": f"bundle {model.bundle} serves",
        "shadow": f"bundle {model.bundle} is scored in the shadow of",
        "canary": f"bundle {model.bundle} serves {model.share:.0%} of the machines of",
        "retired": "retired:",
    }[model.mode]
    print(f"{what} rule {model.rule} on machines '{model.route}'")
    if model.previous_uri:
        print(f"before: {model.previous_uri}")
    if model.mode != "retired":
        print("workers check it once more; what they refuse is shown by 'wheeltapper models history'")


def _show_list(models: Sequence[ActiveModel], *, as_json: bool) -> None:
    from wheeltapper.schemas.clock import iso_from_micros

    if as_json:
        for model in models:
            print(model.model_dump_json())
        return
    if not models:
        print("nothing was deployed by topic models: the bundles given to the workers at start serve")
        return
    for model in models:
        share = f" {model.share:.0%}" if model.mode == "canary" else ""
        print(
            f"{model.route}  {model.rule}  {model.mode}{share}  {model.bundle or '-'}  {model.uri or '-'}  "
            f"since {iso_from_micros(model.at)} by {model.who or '?'}"
        )


def _show_history(settings: Settings, arguments: argparse.Namespace) -> None:
    from wheeltapper.follow.messages import read_messages
    from wheeltapper.schemas.adaptation import AdaptationEvent, AdaptationStep
    from wheeltapper.schemas.clock import iso_from_micros

    shown = {
        AdaptationStep.DEPLOYED,
        AdaptationStep.ROLLED_BACK,
        AdaptationStep.REFUSED,
        AdaptationStep.SHADOW,
        AdaptationStep.CANARY,
        AdaptationStep.ACTIVATED,
    }
    events: dict[tuple[str, str], AdaptationEvent] = {}
    for event in read_messages(settings, AdaptationEvent, on_problem=_tell):
        if event.event in shown and arguments.what in (None, event.machine) and arguments.rule in ("", event.rule):
            events.setdefault((event.adaptation_id, event.event), event)  # every worker tells of what it refuses
    for event in sorted(events.values(), key=lambda each: each.at):
        if arguments.json:
            print(event.model_dump_json())
        else:
            print(
                f"{iso_from_micros(event.at)}  {event.event}  {event.machine}  {event.rule or '-'}  {event.bundle or '-'}  "
                f"by {event.who or '?'}  {event.reason}"
            )
    if not events and not arguments.json:
        print("no deployment by topic models so far")


def _tell(text: str) -> None:
    print(f"wheeltapper: {text}", file=sys.stderr)
