"""The rule book: which rules serve a machine, given the bundles named at start and the deployments in force since."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import structlog

from wheeltapper.schemas.bundle import Bundle
from wheeltapper.schemas.errors import InputError
from wheeltapper.schemas.machine_names import is_pattern, matches
from wheeltapper.stream.bundle_gate import open_trusted, try_elsewhere
from wheeltapper.stream.core.alert_judge import AlertJudge
from wheeltapper.stream.core.alert_life import AlertState, EventKind
from wheeltapper.stream.core.counters import Counters
from wheeltapper.stream.core.drift import DriftWatch
from wheeltapper.stream.core.judging import Judge, Judged, SeesTogether
from wheeltapper.stream.core.rule import RuleSpec
from wheeltapper.stream.core.scoring_loop import RuleRuntime
from wheeltapper.stream.deployment import Deployment, InForce, shadow_slot
from wheeltapper.stream.judges.drift import DriftMessages
from wheeltapper.stream.judges.labels import LabelRequests
from wheeltapper.stream.judges.messages import AlertMessages
from wheeltapper.stream.judges.scores import ScoreTap
from wheeltapper.stream.kinds.contract import Layout, Route, Routes
from wheeltapper.stream.records import Output
from wheeltapper.stream.routes import open_rule
from wheeltapper.stream.settings import Settings

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class MachineRules:
    """What serves a machine.

    Attributes:
        runtimes: by place: the rule's name, or its shadow's.
        since: place -> input offset from which its deployment holds; rules given at start are not in it.
        layout: of the machine's input under these rules.
    """

    runtimes: dict[str, RuleRuntime]
    since: dict[str, int]
    layout: Layout


class RuleBook:
    """Finds and keeps the rules at work. Machines with the same rules share them: one batch for all.

    A bundle that was replaced stays loaded for `control.keep_previous_s`, until the next one of its rule is replaced: taking it
    back costs nothing.
    """

    def __init__(self, routes: Routes, settings: Settings, counters: Counters) -> None:
        self.routes = routes
        self._settings = settings
        self._counters = counters
        self._opened: dict[tuple[str, str, str], RuleSpec] = {}
        """(rule, location, sha256) -> a deployment's rule, checked and warmed up."""
        self._lock = threading.Lock()
        """Of `_opened`, `_awaited` and `_idle`: bundles are prepared in another thread."""
        self._awaited: set[tuple[str, str, str]] = set()
        """Prepared for a deployment that is not in force yet."""
        self._idle: dict[tuple[str, str, str], float] = {}
        """Kept in case that they are taken back -> since when, monotonic time (s); in that order."""
        self._unavailable: set[tuple[str, str, str]] = set()
        """Told already that they are in force and cannot be loaded."""
        self._runtimes: dict[tuple[str, str, bool], RuleRuntime] = {}
        """(kind, area and asset of the route, id of the rule's object, shadow): routes that name the same bundle share it."""
        self._ready: dict[tuple[str, str, bool], RuleRuntime] = {}
        """Made while their bundles were prepared, and not at work yet: what drift is judged by takes a while to be made."""
        self._known: dict[tuple[str, str, tuple[InForce, ...]], MachineRules] = {}
        self._ended_seconds = 0.0

    @property
    def runtimes(self) -> Iterable[RuleRuntime]:
        """Every rule at work, the oldest first."""
        return self._runtimes.values()

    @property
    def at_work(self) -> list[RuleRuntime]:
        """All rules that score; may be asked from any thread."""
        return list(self._runtimes.values())

    @property
    def scoring_seconds(self) -> float:
        """Time spent in onnxruntime so far, by rules that have ended too."""
        return self._ended_seconds + sum(runtime.scorer.seconds for runtime in self._runtimes.values())

    def prepare(self, deployment: Deployment, bundle: Bundle | None = None) -> None:
        """Open, check and warm up a deployment's bundle, so that `rules_of` finds it; may be called from any thread.

        Args:
            bundle: the deployment's, where it has been opened already.

        Raises:
            InputError: the bundle is refused, is not the one that was meant, or does not fit the machines' channels.
        """
        if deployment.kind not in self.routes.kinds:
            raise InputError(
                f"no bundle given at start takes {deployment.kind}: rule '{deployment.rule}' has no input topic"
            )
        if not deployment.bundle:
            return
        key = self._key(deployment)
        with self._lock:
            self._idle.pop(key, None)
            self._awaited.add(key)
            known = self._opened.get(key)
        try:
            rule = self._open(deployment, bundle) if known is None else known
            self._make_ready(deployment, rule)
        except BaseException:
            with self._lock:
                self._awaited.discard(key)
            raise
        with self._lock:
            self._opened[key] = rule

    def prepare_again(self, deployment: Deployment) -> None:
        """`prepare` for a deployment that was in force before a restart. Where it fails, the rule that served before goes on."""
        try:
            self.prepare(deployment)
        except Exception as error:  # whatever is wrong with the bundle: the machine must go on being watched
            if self._key(deployment) in self._unavailable:
                return
            self._unavailable.add(self._key(deployment))
            log.error(
                "a bundle in force cannot be loaded: the rule that served before goes on",
                rule=deployment.rule,
                bundle=deployment.bundle,
                error=str(error),
            )

    def _open(self, deployment: Deployment, bundle: Bundle | None) -> RuleSpec:
        if bundle is None:
            bundle = open_trusted(deployment.bundle, self._settings, sha256=deployment.sha256)
        if deployment.sha256 and bundle.manifest_sha256 != deployment.sha256:
            raise InputError(
                f"{deployment.bundle}: its manifest has sha256 {bundle.manifest_sha256[:12]}.., the deployment of rule "
                f"'{deployment.rule}' says {deployment.sha256[:12]}..; deploy the bundle that is there"
            )
        if bundle.manifest.kind != deployment.kind:
            raise InputError(
                f"{deployment.bundle}: is a bundle for {bundle.manifest.kind}, rule '{deployment.rule}' takes {deployment.kind}"
            )
        try_elsewhere(bundle, self._settings)
        rule = open_rule(deployment.rule, bundle, self._settings)
        for route in self.routes.of_kind(deployment.kind):
            if _may_meet(route, deployment.machines):
                route.kind.layout(route.pattern, [*route.rules, rule])  # refuses what does not fit
        return rule

    def _make_ready(self, deployment: Deployment, rule: RuleSpec) -> None:
        """Make what will score and judge by a rule, so that the switch itself only takes it."""
        shadow = deployment.mode == "shadow"
        for route in self.routes.of_kind(deployment.kind):
            key = self._runtime_key(route, rule, shadow)
            if _may_meet(route, deployment.machines) and key not in self._runtimes and key not in self._ready:
                route.kind.layout(route.pattern, [rule])  # remembers what its channels usually give
                self._ready[key] = RuleRuntime(rule, self._judges(route, rule, shadow), shadow=shadow)

    def rules_of(self, machine: str, route: Route, in_force: Sequence[InForce]) -> MachineRules:
        """What serves a machine of a route under the deployments in force, in the order in which they came."""
        kind = route.kind.name
        patterned = route.kind.machine_of(machine)
        last = {
            entry.deployment.place: entry
            for entry in in_force
            if entry.deployment.kind == kind and entry.deployment.covers(patterned)
        }
        mine = tuple(entry for entry in in_force if last.get(entry.deployment.place) is entry)
        key = (kind, route.pattern, mine)
        known = self._known.get(key)
        if known is None:
            known = self._known[key] = self._find(route, mine)
        return known

    def forget_unused(self, used: Iterable[RuleRuntime], in_force: Iterable[InForce], now: float = 0.0) -> None:
        """Let go of rules that serve no machine any more; those given at start stay, and bundles of deployments in force.

        Args:
            in_force: of all partitions, and what will be: a machine that comes later must find its bundle opened.
            now: monotonic time (s): what was replaced stays loaded for a while.
        """
        kept = {id(runtime) for runtime in used}
        given = {id(rule) for rule in self.routes.rules}
        ended = [
            key
            for key, runtime in self._runtimes.items()
            if id(runtime) not in kept and id(runtime.rule) not in given and not runtime.has_windows
        ]
        for key in ended:
            self._ended_seconds += self._runtimes.pop(key).scorer.seconds
        self._known.clear()
        rules = {id(runtime.rule) for runtime in self._runtimes.values()}
        needed = {self._key(entry.deployment) for entry in in_force}
        with self._lock:
            self._awaited -= needed
            for opened, rule in self._opened.items():
                if id(rule) in rules or opened in needed or opened in self._awaited:
                    self._idle.pop(opened, None)
                else:
                    self._idle.setdefault(opened, now)
            newest = {key[0]: key for key in self._idle}
            self._drop({key for key in self._idle if newest[key[0]] != key})
            alive = {id(rule) for rule in self._opened.values()}
        # Another thread may add to it meanwhile.
        for key, runtime in [*self._ready.items()]:
            if id(runtime.rule) not in alive:
                self._ready.pop(key, None)
        self.forget_idle(now)

    def forget_idle(self, now: float) -> None:
        """Let go of bundles that were replaced long ago; `now` is monotonic time (s)."""
        if self._idle:
            with self._lock:
                self._drop(
                    {key for key, since in self._idle.items() if now - since >= self._settings.control.keep_previous_s}
                )

    def _drop(self, keys: set[tuple[str, str, str]]) -> None:
        for key in keys:
            del self._idle[key]
            self._opened.pop(key, None)

    @property
    def loaded(self) -> tuple[str, ...]:
        """Locations of deployed bundles that are in memory, those that were replaced among them."""
        with self._lock:
            return tuple(location for _, location, _ in self._opened)

    def _find(self, route: Route, in_force: Sequence[InForce]) -> MachineRules:
        rules: dict[str, tuple[RuleSpec, bool]] = {rule.name: (rule, False) for rule in route.rules}
        since: dict[str, int] = {}
        for entry in in_force:
            deployment, place = entry.deployment, entry.deployment.slot
            if deployment.mode == "no-shadow":
                rules.pop(place, None)
                since.pop(place, None)
                continue
            if deployment.mode == "retired":
                for gone in (deployment.rule, shadow_slot(deployment.rule)):
                    rules.pop(gone, None)
                    since.pop(gone, None)
                continue
            if deployment.mode != "shadow":  # what was tried beside the rule has taken its place, or another has
                rules.pop(shadow_slot(deployment.rule), None)
                since.pop(shadow_slot(deployment.rule), None)
            key = self._key(deployment)
            if key not in self._opened and key not in self._unavailable:
                self.prepare_again(deployment)
            rule = self._opened.get(key)
            if rule is None:
                continue  # it could not be loaded again, which has been told
            rules[place] = (rule, deployment.mode == "shadow")
            since[place] = entry.since
        served = [rule for rule, _ in rules.values()]
        # The route's own layout where it can be: machines whose layouts are one object are taken in together.
        if not served or [*map(id, served)] == [*map(id, route.rules)]:
            layout = route.layout
        else:
            layout = route.kind.layout(route.pattern, served)
        runtimes = {place: self._runtime(route, rule, shadow) for place, (rule, shadow) in rules.items()}
        return MachineRules(runtimes, since, layout)

    def _runtime(self, route: Route, rule: RuleSpec, shadow: bool) -> RuleRuntime:
        key = self._runtime_key(route, rule, shadow)
        runtime = self._runtimes.get(key)
        if runtime is None:
            runtime = self._ready.pop(key, None) or RuleRuntime(rule, self._judges(route, rule, shadow), shadow=shadow)
            self._runtimes[key] = runtime
        return runtime

    @staticmethod
    def _runtime_key(route: Route, rule: RuleSpec, shadow: bool) -> tuple[str, str, bool]:
        return f"{route.kind.name}:{route.area}:{route.asset}", f"{rule.name}:{id(rule)}", shadow

    def _judges(self, route: Route, rule: RuleSpec, shadow: bool) -> list[Judge | SeesTogether]:
        """The alert judge first: it says which level was in force. A shadow learns and is published, but speaks to nobody."""
        settings = self._settings
        messages = AlertMessages(rule, route.kind.evidence(rule), settings.scoring.top_channels, route.placed)
        if shadow:
            judges: list[Judge | SeesTogether] = [AlertJudge(rule, settings.threshold, _say_nothing, Counters())]
        else:
            judges = [AlertJudge(rule, settings.threshold, messages.alert, self._counters)]
            if settings.labels.enabled and route.kind.asks_labels:
                judges.append(LabelRequests(rule, messages, settings.labels, self._counters))
            if settings.drift.enabled:
                judges += self._drift_watch(rule)
        if settings.scoring.publish_scores:
            judges.append(ScoreTap(rule))
        return judges

    def _drift_watch(self, rule: RuleSpec) -> list[Judge]:
        """The judge of a rule's drift; none where its bundle says too little of its normal."""
        watch = DriftWatch(rule, self._settings.drift, DriftMessages(rule), self._counters)
        bundle, families = rule.manifest.bundle_id, watch.reference.families
        for warning in watch.reference.warnings:
            log.warning("drift is judged from little", bundle=bundle, reason=warning)
        if watch.can_agree:
            return [watch]
        log.warning(
            "drift is not judged: the bundle supports fewer families of evidence than must agree; train it on more history, "
            "or lower drift.agreement",
            bundle=bundle,
            families=", ".join(families) or "none",
            agreement=self._settings.drift.agreement,
        )
        return []

    @staticmethod
    def _key(deployment: Deployment) -> tuple[str, str, str]:
        return deployment.rule, deployment.bundle, deployment.sha256


def _may_meet(route: Route, machines: str) -> bool:
    """False where no machine can be of the route and match `machines`, as far as plain names tell."""
    if route.exact or not is_pattern(route.pattern):
        return matches(machines, route.pattern)
    return is_pattern(machines) or matches(route.pattern, machines)


def _say_nothing(
    judged: Judged, position: int, state: AlertState, event: EventKind, level: float
) -> tuple[Output, ...]:
    return ()
