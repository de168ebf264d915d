"""Labels in a file: one JSON object per line, {"request": a LabelRequest, "label": a Label}; of an alert {"label": a Label}.

`wheeltapper label --export` writes them, `wheeltapper train --labels` reads them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from wheeltapper.schemas.errors import InputError
from wheeltapper.schemas.events import Label, LabelRequest
from wheeltapper.training.fitting.labels import Answer, alert_labels, join


class _Line(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)

    request: LabelRequest | None = None
    label: Label


@dataclass(frozen=True)
class JudgedFile:
    """What a file holds.

    Attributes:
        answers: judged windows; of a question that is in it twice the last label counts.
        alerts: labels of alerts, the last of each.
    """

    answers: list[Answer]
    alerts: list[Label]


def read_answers(path: Path) -> list[Answer]:
    """The judged windows of a file; errors as `read_judged`."""
    return read_judged(path).answers


def read_judged(path: Path) -> JudgedFile:
    """All labels of a file. Empty lines are skipped.

    Raises:
        InputError: no such file, or a line that is no answer; it names the line and the field.
    """
    lines: list[_Line] = []
    try:
        with path.open("rb") as file:
            for number, text in enumerate(file, start=1):
                if text.strip():
                    lines.append(_parse(text, path, number))
    except OSError as error:
        raise InputError(
            f"{path}: cannot be read ({error.strerror}); --labels takes a file that 'wheeltapper label --export' wrote"
        ) from error
    requests = (line.request for line in lines if line.request is not None)
    return JudgedFile(join(requests, (line.label for line in lines)), alert_labels(line.label for line in lines))


def _parse(text: bytes, path: Path, number: int) -> _Line:
    try:
        line = _Line.model_validate_json(text, strict=True)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        place = ".".join(map(str, first["loc"])) or "line"
        raise InputError(
            f"{path}, line {number}: {place}: {first['msg']}; expected an object with 'request' and 'label', as 'wheeltapper "
            "label --export' writes it"
        ) from error
    if line.request is None and not line.label.alert_id:
        raise InputError(
            f"{path}, line {number}: request: Field required; expected an object with 'request' and 'label', as 'wheeltapper label "
            "--export' writes it; only a label of an alert stands alone"
        )
    if line.request is not None and line.request.request_id != line.label.request_id:
        raise InputError(
            f"{path}, line {number}: the label is for request {line.label.request_id}, but is on one line with "
            f"{line.request.request_id}; export the labels again"
        )
    return line


def write_answers(path: Path, answers: Sequence[Answer], alerts: Sequence[Label] = ()) -> None:
    """Write a file of judged windows and of labels of alerts; one of that name is replaced once the new one is whole.

    Raises:
        InputError: it cannot be written.
    """
    beside = path.with_name(f".{path.name}.part")
    try:
        with beside.open("w", encoding="utf-8") as file:
            for answer in answers:
                file.write(_Line(request=answer.request, label=answer.label).model_dump_json() + "\n")
            for label in alerts:
                file.write(_Line(label=label).model_dump_json(exclude_none=True) + "\n")
        beside.replace(path)
    except OSError as error:
        beside.unlink(missing_ok=True)
        raise InputError(f"{path}: cannot be written ({error.strerror}); choose another --export") from error
