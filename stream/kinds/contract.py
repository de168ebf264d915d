"""What a kind of input brings: how its messages are read, what is kept of a machine, what evidence a score has; and routes.

The pipeline, the state and the runners know no kind. A second one is a folder beside `sensors`, an entry in `KINDS`, its
manifest in `schemas.bundle.manifest.MANIFESTS` and its topic in the table of topics.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

import numpy as np

from wheeltapper.schemas.bundle import BundleManifest
from wheeltapper.schemas.events import AlertEvent, ChannelShare, ClearReason, ClipPointer, InputSpan, Patch
from wheeltapper.schemas.machine_names import is_pattern, matcher
from wheeltapper.schemas.text import first_names
from wheeltapper.stream.core.counters import Counters
from wheeltapper.stream.core.judging import DueWindows, Emission, Judged, Refused
from wheeltapper.stream.core.policies import WindowRules
from wheeltapper.stream.core.row_store import Placed
from wheeltapper.stream.core.rule import RuleSpec
from wheeltapper.stream.records import PartitionBatch
from wheeltapper.stream.settings import Settings

# Machines whose route is remembered; ids that come once, or are made up, must not fill the memory.
MOST_KNOWN = 65_536


class Block(Protocol):
    """Input of one machine out of one batch, in offset order."""

    @property
    def offsets(self) -> np.ndarray:
        """[n] int64, input offset of the message that each entry came in."""
        ...

    @property
    def times(self) -> np.ndarray:
        """[n] int64, event time (us) of each entry."""
        ...

    def after(self, offset: int) -> Any:
        """The same without entries of messages up to `offset`."""
        ...

    @property
    def length(self) -> int:
        """Steps of time that windows are counted in: rows, or samples of each channel."""
        ...

    @property
    def size(self) -> int:
        """Values held."""
        ...

    def only(self, kept: np.ndarray | slice) -> Any:
        """The entries that [n] bool `kept` says, or a range of them."""
        ...


class Layout(Protocol):
    """What a machine's input looks like to its rules; more of it is the kind's own."""

    @property
    def window(self) -> int:
        """Entries of the longest window of the rules."""
        ...

    @property
    def interval_us(self) -> int:
        """Time between entries."""
        ...


class Memory(Protocol):
    """What is kept of one machine between messages."""

    @property
    def last_time(self) -> int | None:
        """Event time (us) of the newest entry; None before the first."""
        ...

    def take(
        self, block: Any, policy: WindowRules, counters: Counters, machine: str, stamp_of: Callable[[int], int]
    ) -> Iterator[Any]:
        """Take a block in; yields each part that windows may then be cut from, before the next part is taken.

        Args:
            stamp_of: input offset of the block -> timestamp (ms) of that record, -1 where it has none.
        """
        ...

    def placed(self) -> Placed | None:
        """Where its rows lie beside those of other machines, with whose its next ones may be taken in if they just go on; None: all that
        comes goes through `take`."""
        ...

    @property
    def waiting(self) -> tuple[int, int] | None:
        """Input offset and event time (us) of the first entry that waits for more input; None where none does."""
        ...

    def rest(self, counters: Counters, machine: str) -> Iterator[Any]:
        """Parts that wait for more input, where none follows: at the end of a recording; as `take`."""
        ...

    def refused(self) -> Sequence[Refused]:
        """Input that was refused since this was last asked."""
        ...

    def due(self, part: Any, rule: RuleSpec) -> DueWindows | None:
        """The windows of a rule that the newest part completed; None where there are none."""
        ...

    def notices(self, part: Any) -> Sequence[Emission]:
        """What the newest part brought about beside windows: AlertEvents of the kind's own; asked once after each part.

        It must follow from the input alone, its ids from what it is about: what is out already is dropped by the caller.
        """
        ...

    def fit(self, layout: Any) -> None:
        """Go on under another layout: rules came or went."""
        ...

    def dump(self) -> tuple[dict[str, Any], bytes]:
        """Header (JSON types) and body of a snapshot."""
        ...

    def load(self, header: dict[str, Any], body: memoryview) -> None:
        """Take over what `dump` gave.

        Raises:
            AttributeError, LookupError, TypeError, ValueError: it cannot be read, or is of another layout.
        """
        ...


class Evidence(Protocol):
    """Tells what a score of one rule comes from; all of window `position` of the judged ones."""

    def shares(self, judged: Judged, position: int) -> tuple[ChannelShare, ...]:
        """Every channel's part, strongest first."""
        ...

    def explained(self, shares: Sequence[ChannelShare], judged: Judged, position: int) -> tuple[ChannelShare, ...]:
        """The same shares, those that `is_named` with the row where they were worst; only asked for what is published."""
        ...

    def input(self, judged: Judged, position: int) -> InputSpan | None:
        """The messages that the window came in; None where that is not known."""
        ...

    def patches(self, judged: Judged, position: int) -> tuple[Patch, ...]:
        """Of sound, the moments and frequencies to blame, strongest first; else none."""
        ...

    def clip(self, judged: Judged, position: int) -> ClipPointer | None:
        """Of sound, where it lies on Kafka; else None."""
        ...


LEAST_SHARE = 0.1
"""Channels with less than that part of the largest share are not named."""


def is_named(share: ChannelShare, shares: Sequence[ChannelShare]) -> bool:
    """Whether an alert names a channel, of these shares, strongest first."""
    return share.share > 0 and share.share >= LEAST_SHARE * shares[0].share


def input_span(judged: Judged, span: tuple[int, int]) -> InputSpan:
    """Where messages with these first and last offsets lie: in the partition that the machine is of."""
    topic, partition = judged.origin.key
    return InputSpan(topic=topic, partition=partition, first_offset=span[0], last_offset=span[1])


class InputKind(Protocol):
    """One kind of input.

    Attributes:
        name: as `kind` in a bundle's manifest.
        topic: name of its input topic, without prefix.
        asks_labels: a window can be shown to a person, who says what it is.
    """

    @property
    def name(self) -> str: ...

    @property
    def topic(self) -> str: ...

    @property
    def asks_labels(self) -> bool: ...

    def stride(self, manifest: BundleManifest, settings: Settings) -> tuple[str, int | None]:
        """The setting that overrules a bundle's stride: its name, and entries between windows; None: it is not set."""
        ...

    def layout(self, pattern: str, rules: Sequence[RuleSpec]) -> Layout:
        """Of machines that these rules serve side by side.

        Raises:
            InputError: the rules do not agree on what a machine sends.
        """
        ...

    def intake(self, routes: Routes, settings: Settings) -> Intake: ...

    def memory(self, layout: Any) -> Memory: ...

    def evidence(self, rule: RuleSpec) -> Evidence: ...

    def machine_of(self, name: str) -> str:
        """The machine that patterns are about: `name` itself, unless a kind keeps several states of a machine."""
        ...

    def ended(self, name: str, header: Mapping[str, Any], reason: ClearReason) -> Sequence[AlertEvent]:
        """The ends of what `notices` opened, where a machine is forgotten or served no more.

        Args:
            header: of its memory's `dump`, maybe of another version.
        """
        ...


@dataclass(frozen=True)
class Route:
    """The rules given at start to the machines that match `pattern`; they agree on what such a machine sends.

    Attributes:
        kind: of input.
        layout: the kind's own: what a machine's input looks like to these rules.
        exact: `pattern` is the id of one machine, whatever characters it has.
        area: where the machines stand, outermost first, parted by /; asset: their name in the asset register, in which
            {machine} stands for the machine's id. Empty where nobody said. Alerts carry both.
    """

    pattern: str
    rules: tuple[RuleSpec, ...]
    kind: InputKind
    layout: Any
    exact: bool = False
    area: str = ""
    asset: str = ""

    def placed(self, alert: AlertEvent) -> AlertEvent:
        """The alert of one of its machines, with area and asset."""
        if not self.area and not self.asset:
            return alert
        asset = self.asset.replace("{machine}", self.kind.machine_of(alert.machine))
        return alert.model_copy(update={"area": self.area, "asset": asset})


class Routes:
    """All routes; of each kind of input, the one of a machine's own name serves it, else the first whose pattern matches."""

    def __init__(self, routes: Sequence[Route]) -> None:
        self.routes = tuple(routes)
        self.kinds: dict[str, InputKind] = {route.kind.name: route.kind for route in routes}
        self._known: dict[str, dict[str, Route | None]] = {kind: {} for kind in self.kinds}
        self._listed: dict[str, str] = {}
        self._exact: dict[tuple[str, str], Route] = {}
        self._patterns: dict[str, list[tuple[Callable[[str], bool], Route]]] = {kind: [] for kind in self.kinds}
        for route in self.routes:
            self._exact.setdefault((route.kind.name, route.pattern), route)
            if is_pattern(route.pattern) and not route.exact:
                self._patterns[route.kind.name].append((matcher(route.pattern), route))

    def of(self, machine: str, kind: str = "sensors") -> Route | None:
        """The machine's route for a kind of input; None where no pattern matches."""
        known = self._known.setdefault(kind, {})
        try:
            return known[machine]
        except KeyError:
            served = self.kinds.get(kind)
            name = machine if served is None else served.machine_of(machine)
            route = self._exact.get((kind, name))
            if route is None:
                route = next((route for fits, route in self._patterns.get(kind, ()) if fits(name)), None)
            if len(known) >= MOST_KNOWN:
                known.clear()
            known[machine] = route
            return route

    def of_kind(self, kind: str) -> list[Route]:
        """The routes of one kind of input, the most specific first."""
        return [route for route in self.routes if route.kind.name == kind]

    def listed(self, kind: str) -> str:
        """For a person: the names and patterns that have a route of this kind of input, the most specific first."""
        if kind not in self._listed:
            self._listed[kind] = first_names([f"'{route.pattern}'" for route in self.of_kind(kind)], 12)
        return self._listed[kind]

    @property
    def rules(self) -> list[RuleSpec]:
        """Each once, however many routes name its bundle."""
        return [*{id(rule): rule for route in self.routes for rule in route.rules}.values()]


@dataclass(frozen=True, slots=True)
class MachineBlock:
    """A block and whose it is."""

    machine: str
    route: Route
    block: Any


class Gathered(NamedTuple):
    """Rows of M machines, machine by machine.

    Attributes:
        edges: [M + 1] int64, rows edges[i] .. edges[i + 1] are those of machine i, one at least.
        marks: [n, 2] int64, event time (us) and input offset of each row.
        values: [n, C] float32, NaN where a sensor gave nothing.
    """

    edges: np.ndarray
    marks: np.ndarray
    values: np.ndarray


class ManyMachines(Protocol):
    """Rows of many machines of a route, which are put in order when somebody asks for them."""

    @property
    def machines(self) -> Sequence[str]:
        """M of them, each once."""
        ...

    @property
    def route(self) -> Route: ...

    @property
    def length(self) -> int:
        """Rows."""
        ...

    @property
    def width(self) -> int:
        """Values of a row."""
        ...

    @property
    def newest(self) -> int:
        """The latest event time (us)."""
        ...

    def one(self, place: int) -> MachineBlock:
        """The block of one of them."""
        ...

    def gather(self, parts: Sequence[Any]) -> Gathered:
        """The rows of several such, of the same width, one behind another."""
        ...


@dataclass(slots=True)
class Decoded:
    """What a batch held: every message gave a block or a dead letter.

    Attributes:
        blocks: at most one a machine.
        together: those of machines that are not in `blocks`, as far as they lie in one piece already.
        dead_letters: in the order in which they were found; at most one a message.
        messages: so many of the batch, from its first, were read.
        size: values that their blocks of rows hold.
        readings: what was noticed of readings, by `Counters.readings`' names.
    """

    blocks: list[MachineBlock] = field(default_factory=list)
    together: list[ManyMachines] = field(default_factory=list)
    dead_letters: list[Emission] = field(default_factory=list)
    messages: int = 0
    size: int = 0
    readings: dict[str, int] = field(default_factory=dict)

    def each(self) -> Iterator[MachineBlock]:
        """Every machine's block."""
        yield from self.blocks
        for many in self.together:
            yield from (many.one(place) for place in range(len(many.machines)))


class Intake(Protocol):
    """Reads messages. Keeps only caches between batches."""

    def decode(self, batch: PartitionBatch, most_values: float = math.inf) -> Decoded:
        """Read messages until they hold so many values or all have been read, one at least."""
        ...
