"""Files of a user's folder as pages: how bytes become text, and HTML and Markdown become what agents read."""

from __future__ import annotations

import codecs
import posixpath
import re
import tomllib
from html.parser import HTMLParser
from urllib.parse import unquote, urlsplit

_SIGNS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_CHARSET = re.compile(rb"""charset\s*=\s*["']?\s*([\w.:-]+)""", re.IGNORECASE)
_FRONT = re.compile(r"\A(---|\+\+\+)[ \t]*\n(.*?)\n\1[ \t]*(?:\n|\Z)", re.DOTALL)
_FIELD = re.compile(r"^(title|date)\s*:\s*(.+?)\s*$", re.MULTILINE | re.IGNORECASE)
_DAY = re.compile(r"\d{4}-\d{2}-\d{2}")
_HEADING = re.compile(r"^#[ \t]+(.+?)[ \t#]*$", re.MULTILINE)
_BLOCKS = """
p div section article ul ol table blockquote dl dt dd pre hr main header aside figure figcaption form
"""
_LINK = re.compile(r"\]\((?P<href>[^()\s]+(?:\([^()\s]*\)[^()\s]*)*)(?:\s+\"[^\"]*\")?\)")


def encoding_of(sample: bytes) -> str | None:
    """The encoding of a file by its first bytes; None for what is no text.

    A byte order mark decides, then UTF-8 if it is that, then what an HTML file says of itself; what remains
    is Windows' Western code page, which old files have.

    >>> encoding_of("São".encode()), encoding_of("São".encode("cp1252")), encoding_of(b"PK\\x03\\x04\\x00")
    ('utf-8', 'cp1252', None)
    """
    for sign, name in _SIGNS:
        if sample.startswith(sign):
            return name
    if b"\0" in sample:
        return None
    try:
        codecs.getincrementaldecoder("utf-8")().decode(sample)  # its last letter may be cut
        return "utf-8"
    except UnicodeDecodeError:
        pass
    named = _CHARSET.search(sample[:4096])
    if named is not None:
        try:
            return codecs.lookup(named[1].decode("ascii")).name
        except (LookupError, ValueError):
            pass
    odd = sum(byte < 32 and byte not in b"\t\n\r\f\x1b" for byte in sample[:4096])
    return None if odd else "cp1252"


def front_matter(text: str) -> tuple[str, str, str]:
    """Title and date that stand in front of a Markdown file, "" where they do not, and the text after them.

    >>> front_matter('---\\ntitle: "Port Azul"\\ndate: 2031-05-07\\n---\\nA port.')
    ('Port Azul', '2031-05-07', 'A port.')
    """
    match = _FRONT.match(text)
    if match is None:
        return "", "", text
    fields: dict[str, str] = {}
    if match[1] == "+++":
        try:
            fields = {key: str(value) for key, value in tomllib.loads(match[2]).items()}
        except tomllib.TOMLDecodeError:
            return "", "", text
    else:
        fields = {key.lower(): value.strip("\"'") for key, value in _FIELD.findall(match[2])}
    day = _DAY.match(fields.get("date", ""))
    return fields.get("title", ""), day[0] if day else "", text[match.end() :]


def markdown_page(address: str, text: str) -> tuple[str, str, str]:
    """Title, text and date of a Markdown file; its links lead to addresses of the folder."""
    title, date, rest = front_matter(text)
    heading = _HEADING.search(rest)
    rest = _LINK.sub(lambda link: f"]({resolved(address, link['href'])})", rest)
    return title or (heading[1] if heading else ""), rest.strip(), date


def html_page(address: str, text: str) -> tuple[str, str, str]:
    """Title, text and date of an HTML file, with headings, lists, tables and links as Markdown has them."""
    reader = _Html(address)
    reader.feed(_closed(text))
    reader.close()
    return " ".join(reader.title.split()), reader.text(), reader.date


def _closed(text: str) -> str:
    """HTML without comments, and with the signs "<" that no ">" ever closes taken for text.

    Where they are many, the parser of the standard library tries each of them on all that follows, for hours.

    >>> _closed("a<!-- b -->c <p d"), _closed("a<!-- b")
    ('ac &lt;p d', 'a')
    """
    kept, at = [], 0
    while (start := text.find("<!--", at)) >= 0:
        kept.append(text[at:start])
        end = text.find("-->", start + 4)
        at = len(text) if end < 0 else end + 3
    plain = "".join(kept) + text[at:]
    last = plain.rfind(">") + 1
    return plain[:last] + plain[last:].replace("<", "&lt;")


def resolved(address: str, href: str) -> str:
    """Where a link of a page leads, as an address of its folder; a link out of it stays as it is.

    >>> resolved("guide/start.md", "../faq.md#top"), resolved("a.html", "https://x.org/y")
    ('faq.md#top', 'https://x.org/y')
    """
    try:
        parts = urlsplit(href)
    except ValueError:
        return href
    if parts.scheme or parts.netloc or not parts.path:
        return href
    path = unquote(parts.path)
    there = path.lstrip("/") if path.startswith("/") else posixpath.join(posixpath.dirname(address), path)
    found = posixpath.normpath(there) + (f"#{parts.fragment}" if parts.fragment else "")
    return re.sub(r"\s", "%20", found)


class _Html(HTMLParser):
    """Collects what a reader of an HTML page would see."""

    HIDDEN = ("script", "style", "noscript", "template", "svg", "iframe", "nav", "footer")
    BLOCKS = frozenset(_BLOCKS.split())

    def __init__(self, address: str) -> None:
        super().__init__(convert_charrefs=True)
        self.address = address
        self.title = self.date = ""
        self.out: list[str] = []
        self.hidden = 0
        self.in_title = False
        self.preformatted = 0
        self.links: list[str] = []
        self.cells = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        if tag in self.HIDDEN:
            self.hidden += 1
        elif tag == "title":
            self.in_title = not self.title
        elif tag == "meta":
            named = given.get("name", given.get("property", "")).lower()
            day = _DAY.match(given.get("content", ""))
            if day and named in ("date", "dc.date", "article:published_time", "article:modified_time"):
                self.date = day[0]
        elif tag == "a":
            href = given.get("href", "")
            self.links.append(resolved(self.address, href) if href and not href.startswith("#") else "")
            self.out.append("[" if self.links[-1] else "")
        elif len(tag) == 2 and tag[0] == "h" and tag[1] in "123456":
            self.out.append(f"\n\n{'#' * int(tag[1])} ")
        elif tag == "li":
            self.out.append("\n- ")
        elif tag == "tr":
            self.out.append("\n|")
            self.cells = 0
        elif tag in ("td", "th"):
            self.out.append(" ")
        elif tag == "br":
            self.out.append("\n")
        elif tag in self.BLOCKS:
            self.out.append("\n\n")
            self.preformatted += tag == "pre"

    def handle_endtag(self, tag: str) -> None:
        if tag in self.HIDDEN:
            self.hidden = max(0, self.hidden - 1)
        elif tag == "title":
            self.in_title = False
        elif tag == "a" and self.links:
            there = self.links.pop()
            self.out.append(f"]({there})" if there else "")
        elif tag in ("td", "th"):
            self.out.append(" |")
            self.cells += tag == "th"
        elif tag == "tr" and self.cells:
            self.out.append("\n|" + "---|" * self.cells)
            self.cells = 0
        elif tag in self.BLOCKS or (len(tag) == 2 and tag[0] == "h" and tag[1] in "123456"):
            self.out.append("\n\n")
            self.preformatted -= tag == "pre" and self.preformatted > 0

    def handle_data(self, data: str) -> None:
        if self.in_title:
            self.title += data
        elif not self.hidden:
            self.out.append(data if self.preformatted else re.sub(r"\s+", " ", data))

    def text(self) -> str:
        """Lines without blanks around them, and no more than one empty line between two blocks."""
        lines = (re.sub(r"[ \t]+", " ", line).strip() for line in "".join(self.out).split("\n"))
        return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).strip()
