"""The parts of the docs and of deploy/worker.toml that follow from the table of topics.

A generated part stands between two marker lines, which stay: `generated: NAME` and `end of NAME`, as HTML comments in
Markdown and as `#` comments in TOML.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

from wheeltapper.schemas.topics import DAY_MS, DEFAULT_PREFIX, TOPICS, Access, Program, TopicSpec

_MIB = 1024 * 1024

# Width of what stands before the comments in worker.toml.
_COMMENT_COLUMN = 42


def refreshed(page: str, text: str) -> str:
    """The page's text with each generated part as it must be now.

    Args:
        page: one of `PAGES`.

    Raises:
        ValueError: the page lacks the markers of one of its parts.
    """
    for name, part in PAGES[page].items():
        opening, closing = _markers(page, name)
        before, found_opening, rest = text.partition(opening)
        _, found_closing, after = rest.partition(closing)
        if not found_opening or not found_closing:
            raise ValueError(
                f"{page}: the generated part '{name}' is not there; put the lines {opening.strip()!r} and {closing.strip()!r} "
                "where it belongs"
            )
        text = before + opening + part(text) + closing + after
    return text


def _markers(page: str, name: str) -> tuple[str, str]:
    if page.endswith(".md"):
        return (
            f"<!-- generated: {name} (python -m wheeltapper.schemas.generate) -->\n",
            f"<!-- end of {name} -->\n",
        )
    return f"# generated: {name} (python -m wheeltapper.schemas.generate)\n", f"# end of {name}\n"


def _table(header: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [_line(header), "|" + "---|" * len(header), *map(_line, rows)]
    return "".join(f"{line}\n" for line in lines)


def _line(cells: tuple[str, ...]) -> str:
    return "|" + "|".join(f" {cell} " if cell else " " for cell in cells) + "|"


def messages_table(page: str) -> str:
    """Topics and what their values are, with links to the page's own sections."""
    rows = [
        (
            f"`{spec.name}`",
            _value(spec, page),
            spec.key,
            ", ".join(spec.codecs) or "-",
            spec.cleanup,
        )
        for spec in TOPICS.values()
    ]
    return _table(("topic", "value", "key", "encodings", "cleanup"), rows)


def _value(spec: TopicSpec, page: str) -> str:
    """'[AlertEvent](#alertevent): what it is'; the section is the one whose heading ends with the type's name."""
    slugs = [
        re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
        for heading in re.findall(r"^##+ (.+)$", page, re.MULTILINE)
    ]
    if spec.model is None:
        return f"[{spec.carries}](#{spec.name})" if spec.name in slugs else spec.carries
    name = spec.model.__name__
    section = next((slug for slug in slugs if re.search(rf"(^|-){name.lower()}$", slug)), None)
    return f"{f'[{name}](#{section})' if section else f'`{name}`'}: {spec.carries}"


def retention_table(page: str) -> str:
    """How long topics keep their records, and how large these may be."""
    rows = [
        (f"`{spec.name}`", spec.cleanup, _kept(spec), _largest(spec.config.get("max.message.bytes")))
        for spec in TOPICS.values()
    ]
    return _table(("topic", "cleanup", "kept", "largest message"), rows)


def _kept(spec: TopicSpec) -> str:
    if spec.cleanup == "compact":
        return "newest of a key"
    retention = spec.config.get("retention.ms")
    if retention is None:
        return "the cluster's"
    days = int(retention) / DAY_MS
    return f"{days:g} day" if days == 1 else f"{days:g} days"


def _largest(size: str | None) -> str:
    return "the cluster's" if size is None else f"{int(size) / _MIB:g} MiB"


def rights_table(page: str) -> str:
    """The rights of each program on topics, and the few others that there are."""
    rows: list[tuple[str, ...]] = []
    for program in Program:
        rights = [(spec, access) for spec in TOPICS.values() for access in spec.access_of(program)]
        rows += [_right(program, spec, access) for spec, access in rights]
        if program is Program.WORKER:
            rows.append((program, "group `wheeltapper`", "READ"))
            rows.append(
                (program, "transactional ids that start with `wheeltapper`, runner `direct`", "WRITE, DESCRIBE")
            )
    rows.append(
        (
            "`wheeltapper topics create`",
            f"cluster, or topics with the prefix `{DEFAULT_PREFIX}`",
            "CREATE, DESCRIBE, DESCRIBE_CONFIGS",
        )
    )
    shown = [(row[0] if index == 0 or rows[index - 1][0] != row[0] else "", *row[1:]) for index, row in enumerate(rows)]
    return _table(("who", "resource", "operations"), shown)


def _right(program: Program, spec: TopicSpec, access: Access) -> tuple[str, str, str]:
    topic = f"topic `{DEFAULT_PREFIX}{spec.name}`"
    condition = f", where `{access.setting}` is true" if access.setting else ""
    note = f" ({access.note})" if access.note else ""
    return program, f"{topic}{condition}{note}", ", ".join(access.operations)


def toml_names(page: str) -> str:
    """Every topic's own name, as a comment that shows the default."""
    settings = [f'# {spec.setting} = "{DEFAULT_PREFIX}{spec.name}"' for spec in TOPICS.values()]
    width = max(_COMMENT_COLUMN, *(len(setting) + 2 for setting in settings))
    return "".join(
        f"{setting.ljust(width)}# {spec.carries}{'; or a topic that the plant has already' if spec.is_input else ''}\n"
        for setting, spec in zip(settings, TOPICS.values(), strict=True)
    )


PAGES: dict[str, dict[str, Callable[[str], str]]] = {
    "docs/messages.md": {"topics": messages_table},
    "docs/deploy.md": {"retention": retention_table, "rights": rights_table},
    "deploy/worker.toml": {"topic names": toml_names},
}
"""Path in the checkout -> name of each generated part -> what makes it, given the page's text."""
