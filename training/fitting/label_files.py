"""Labelled windows in a file: one JSON object per line, {"request": a LabelRequest, "label": a Label}.

`wheeltapper label --export` writes them, `wheeltapper train --labels` reads them.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from wheeltapper.schemas.errors import InputError
from wheeltapper.schemas.events import Label, LabelRequest
from wheeltapper.training.fitting.labels import Answer, join


class _Line(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)

    request: LabelRequest
    label: Label


def read_answers(path: Path) -> list[Answer]:
    """All answers of a file; of a question that is in it twice the last label counts. Empty lines are skipped.

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
    return join((line.request for line in lines), (line.label for line in lines))


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
    if line.request.request_id != line.label.request_id:
        raise InputError(
            f"{path}, line {number}: the label is for request {line.label.request_id}, but is on one line with "
            f"{line.request.request_id}; export the labels again"
        )
    return line


def write_answers(path: Path, answers: Sequence[Answer]) -> None:
    """Write a file; one of that name is replaced once the new one is whole.

    Raises:
        InputError: it cannot be written.
    """
    beside = path.with_name(f".{path.name}.part")
    try:
        with beside.open("w", encoding="utf-8") as file:
            for answer in answers:
                file.write(_Line(request=answer.request, label=answer.label).model_dump_json() + "\n")
        beside.replace(path)
    except OSError as error:
        beside.unlink(missing_ok=True)
        raise InputError(f"{path}: cannot be written ({error.strerror}); choose another --export") from error
