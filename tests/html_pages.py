"""Reads reports as a browser would, strictly."""

from __future__ import annotations

import base64
import io
from html.parser import HTMLParser

import numpy as np
import numpy.typing as npt
from PIL import Image


def rgba(png: bytes) -> npt.NDArray[np.uint8]:
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGBA"))


class Page(HTMLParser):
    """Texts, tags, tables and images of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.rows: list[list[str]] = []
        self.places: list[str] = []
        self.titles: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in ("meta", "img", "br"):
            self.open.append(tag)
            self.titles += [""] * (tag == "title" and "svg" in self.open)
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")
        if tag == "article":
            self.places.append("")
        if tag == "small":
            self.rows[-1][-1] += " "

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "td" in self.open or "th" in self.open:
            self.rows[-1][-1] += data
        if self.open[-1:] == ["title"] and "svg" in self.open:
            self.titles[-1] += data
        if "article" in self.open and "p" in self.open:
            self.places[-1] += data

    def pictures(self) -> list[npt.NDArray[np.uint8]]:
        found = [str(attrs["src"]) for tag, attrs in self.tags if tag == "img"]
        assert all(src.startswith(("data:image/png;base64,", "data:image/jpeg;base64,")) for src in found)
        return [rgba(base64.b64decode(src.partition(",")[2])) for src in found]

    def assert_sound(self) -> None:
        """All elements are closed, nothing is loaded and nothing runs."""
        assert self.open == []
        assert not {"script", "link", "iframe", "object", "embed", "base", "form"} & {tag for tag, _ in self.tags}
        for tag, attrs in self.tags:
            assert not [name for name in attrs if name.startswith("on")], tag
            assert str(attrs.get("href", "#")).startswith("#")
            assert str(attrs.get("src", "data:")).startswith("data:")
            assert "url(" not in str(attrs.get("style"))
        self.pictures()
        anchors = {str(attrs["href"]).removeprefix("#") for _, attrs in self.tags if "href" in attrs}
        assert anchors <= {attrs.get("id") for _, attrs in self.tags}
