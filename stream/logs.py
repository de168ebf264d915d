"""Structured logs on standard error: lines for people, or JSON for a log collector."""

from __future__ import annotations

import logging
import sys

import structlog

from wheeltapper.stream.settings import WorkerSettings

# Libraries that narrate, and from where on they matter. Faust warns of each rebalance, as a matter of course.
NARRATORS = {"faust": logging.ERROR, "mode": logging.ERROR, "aiokafka": logging.WARNING, "asyncio": logging.WARNING}


def configure_logs(settings: WorkerSettings) -> None:
    """Set up structlog and the standard library's loggers."""
    level = getattr(logging, settings.log_level.upper())
    shared: list[structlog.types.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
    ]
    renderer: structlog.types.Processor
    if settings.log_format == "json":
        renderer = structlog.processors.JSONRenderer()
    else:
        # Plain, as the usual form shows local variables: passwords among them.
        renderer = structlog.dev.ConsoleRenderer(
            colors=sys.stderr.isatty(), pad_event_to=0, exception_formatter=structlog.dev.plain_traceback
        )
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=shared,
        processors=[
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            structlog.processors.format_exc_info,
            renderer,
        ]
        if settings.log_format == "json"
        else [structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(formatter)
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    for name, least in NARRATORS.items():
        logging.getLogger(name).setLevel(max(level, least))
    structlog.configure(
        processors=[structlog.stdlib.filter_by_level, *shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
