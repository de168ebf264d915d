"""Reports: the same content as Markdown and as one HTML file that needs nothing else."""

from __future__ import annotations

import base64
from html.parser import HTMLParser
from pathlib import Path

import pytest

from wheeltapper.schemas.errors import InputError
from wheeltapper.training.lab.compare.document import (
    Bullets,
    Command,
    Document,
    Fold,
    Grid,
    Heading,
    Paragraph,
    Picture,
    to_html,
    to_markdown,
    write_document,
)

PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR4nGNgYGBgAAAABQABpfZFQAAAAABJRU5ErkJggg=="
)
DOCUMENT = Document(
    "Title <b>",
    [
        Heading("First & only"),
        Command("wheeltapper compare"),
        Paragraph("a < b"),
        Bullets(["one", "two"]),
        Grid(
            "Table",
            ["name", "x|y", "n"],
            [["a", 0.12345, 3], ["b", None, "12 %"]],
            strong=frozenset({(0, 1)}),
            muted=frozenset({1}),
        ),
        Picture("p.png", PNG, 'a "picture"'),
        Fold("More", [Paragraph("inside"), Picture("hidden.png", PNG, "hidden", in_markdown=False)]),
    ],
)


class Page(HTMLParser):
    """Tags that were opened and closed, their attributes, and the text of cells."""

    VOID = frozenset({"meta", "img", "br"})

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.attributes: list[tuple[str, dict[str, str | None]]] = []
        self.cells: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.attributes.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] in ("td", "th"):
            self.cells.append(data)


def test_markdown_says_everything() -> None:
    text = to_markdown(DOCUMENT)
    assert "| name | x\\|y | n |\n|---|--:|--:|\n| a | **0.123** | 3 |\n| b | - | 12 % |" in text
    assert '![a "picture"](figures/p.png)' in text
    assert "### More\n\ninside" in text
    assert "hidden" not in text
    assert "    wheeltapper compare" in text


def test_html_is_one_well_formed_file_that_asks_for_nothing() -> None:
    text = to_html(DOCUMENT)
    page = Page(text)
    assert page.open == []
    assert page.cells == ["name", "x|y", "n", "a", "0.123", "3", "b", "-", "12 %"]
    assert "Title &lt;b&gt;" in text
    assert "a &lt; b" in text
    sources = [attributes["src"] for tag, attributes in page.attributes if "src" in attributes]
    assert len(sources) == 2
    assert all(source is not None and source.startswith("data:image/png;base64,") for source in sources)
    assert [tag for tag, _ in page.attributes if tag in ("script", "link", "iframe")] == []
    assert "http" not in text


def test_html_suits_phones_and_the_dark() -> None:
    text = to_html(DOCUMENT)
    assert 'name="viewport" content="width=device-width' in text
    assert "prefers-color-scheme: dark" in text


def test_files_are_written_with_their_pictures(tmp_path: Path) -> None:
    html, markdown = write_document(DOCUMENT, tmp_path / "out", "report")
    assert (html.name, markdown.name) == ("report.html", "report.md")
    assert [path.name for path in (tmp_path / "out" / "figures").iterdir()] == ["p.png"]


def test_a_place_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("")
    with pytest.raises(InputError, match="choose another --out"):
        write_document(DOCUMENT, tmp_path / "out", "report")
