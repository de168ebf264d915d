"""The last messages of a topic, without reading all of it: what `tail` commands show first, and what then comes."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from wheeltapper.follow.follower import Follower, TopicRecord
from wheeltapper.stream.settings import Settings

# Where too few of the last messages are wanted ones, so many times as many are read.
WIDER = 16


def last_and_next(
    settings: Settings,
    name: str,
    wanted: Callable[[TopicRecord], int],
    *,
    count: int,
    since_ms: int | None,
    follow: bool,
    tell: Callable[[str], None],
) -> Iterator[list[TopicRecord]]:
    """First the wanted ones of the last messages, in the order of their times; then, if asked to follow, each as it comes.

    Args:
        name: of the topic, without prefix.
        wanted: how much of `count` a record stands for; 0: it is not wanted.
        count: at least so much is looked for, as far as the topic goes back.
        since_ms: leave out what was published earlier; then all since that moment is read.
        tell: as `Follower`.

    Raises:
        InputError: as `Follower`.
    """
    span = count
    while True:
        follower = _opened(settings, name, since_ms, span, tell)
        with follower:
            from_start = since_ms is not None or follower.began_at_start
            found = [record for record in follower.read_to_end() if wanted(record)]
            if not from_start and sum(map(wanted, found)) < count:
                span *= WIDER
                continue
            yield sorted(found, key=lambda record: record.published_ms)
            if follow:
                yield from ([record] for record in follower.follow() if record is not None and wanted(record))
            return


def _opened(settings: Settings, name: str, since_ms: int | None, span: int, tell: Callable[[str], None]) -> Follower:
    if since_ms is not None:
        return Follower(settings, name, since_ms=since_ms, tell=tell)
    return Follower(settings, name, last=span, tell=tell)
