"""Source distributions from package indexes: a file is fetched as it is, and nothing in it is run.

`pip download` would run the package's own build on this machine. This reads the indexes' pages (PEP 503).
"""

from __future__ import annotations

import hashlib
import http.client
import os
import re
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urldefrag, urljoin, urlsplit

from forge_envs.make_swe.errors import MakeError, UnknownPackage

INDEX = "https://pypi.org/simple"
"""Where PIP_INDEX_URL does not name another; PIP_EXTRA_INDEX_URL may name more."""
PATIENCE, STALLED = 600.0, 60.0
"""Seconds that a download may take, and that an index may say nothing."""
LARGEST = 500 << 20
"""Bytes of a source distribution."""
_FINAL = re.compile(r"v?(\d+(?:\.\d+)*)(?:\.post(\d+))?")
_SUFFIX = re.compile(r"\.(tar\.\w+|tgz|zip)$")


def download(spec: str, name: str, version: str | None, folder: Path) -> Path:
    """The source distribution of a release, by default the latest; `folder` keeps it. Raises MakeError."""
    folder.mkdir(parents=True, exist_ok=True)
    kept = [path for path in sorted(folder.iterdir()) if version and release_of(path.name, name) == version]
    if kept:
        return kept[0]
    until = time.monotonic() + PATIENCE
    bases = [os.environ.get("PIP_INDEX_URL") or INDEX, *os.environ.get("PIP_EXTRA_INDEX_URL", "").split()]
    for base in bases:
        page = f"{base.rstrip('/')}/{_plain(name)}/"
        try:
            found = _choose(_links(_get(page, until).decode("utf-8", "replace")), name, version)
            if found is not None:
                return _save(urljoin(page, found), folder, until)
        except urllib.error.HTTPError as error:
            if error.code != 404:
                raise MakeError(
                    f"{page}: the index answers {error.code} {error.reason}; try later"
                ) from error
        except (OSError, http.client.HTTPException) as error:
            raise MakeError(
                f"{page} cannot be read: {error}. Look at the network and PIP_INDEX_URL, or give the path of "
                "a source distribution or checkout"
            ) from error
    raise UnknownPackage(
        f"{' and '.join(bases)}: no source distribution of {spec!r}. Check name and version on the index, or "
        "give the path of a source distribution or checkout"
    )


def release_of(file: str, name: str) -> str | None:
    """The release that a file is the source distribution of, if it is one of this package.

    >>> release_of("Shelf_books-1.0.tar.gz", "shelf.books"), release_of("shelf-1.0-py3-none-any.whl", "shelf")
    ('1.0', None)
    """
    stem, _, version = _SUFFIX.sub("", file).rpartition("-")
    return version if _SUFFIX.search(file) and _plain(stem) == _plain(name) else None


def _plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _links(page: str) -> list[tuple[str, bool]]:
    """The links of a page, and whether each file was withdrawn."""
    found: list[tuple[str, bool]] = []

    class Reader(HTMLParser):
        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            given = dict(attrs)
            if tag == "a" and given.get("href"):
                found.append((str(given["href"]), "data-yanked" in given))

    Reader().feed(page)
    return found


def _choose(links: list[tuple[str, bool]], name: str, version: str | None) -> str | None:
    """The link of the release; without a version the latest that is neither withdrawn nor a trial."""
    found = []
    for link, withdrawn in links:
        release = release_of(unquote(urlsplit(link).path).rpartition("/")[2], name)
        if release is None:
            continue
        number = _number(release)
        if release == version or (number and (number == _number(version) if version else not withdrawn)):
            found.append((number, ".tar" in link, link))
    return max(found)[2] if found else None


def _number(version: str) -> tuple[int, ...]:
    """A final release as numbers that can be compared, empty for any other.

    >>> _number("1.10.0") == _number("1.10") > _number("1.9.post1"), _number("2.0rc1")
    (True, ())
    """
    found = _FINAL.fullmatch(version)
    if found is None:
        return ()
    numbers = [int(number) for number in found[1].split(".")]
    while len(numbers) > 1 and numbers[-1] == 0:
        numbers.pop()
    return (*numbers, *([0] * (9 - len(numbers))), int(found[2] or -1))


def _save(link: str, folder: Path, until: float) -> Path:
    url, fragment = urldefrag(link)
    data = _get(url, until)
    kind, _, wanted = fragment.partition("=")
    if kind == "sha256" and hashlib.sha256(data).hexdigest() != wanted:
        raise MakeError(f"{url} is not the file that the index lists: its sha256 differs; try again")
    path = folder / unquote(urlsplit(url).path).rpartition("/")[2]
    part = path.with_name(f"{path.name}.part")
    part.write_bytes(data)
    return part.replace(path)


def _get(url: str, until: float) -> bytes:
    """What is at an address. Raises OSError, also for what takes too long or is too large."""
    if urlsplit(url).scheme not in ("http", "https"):
        raise OSError(f"{url!r} is no address of the web")
    request = urllib.request.Request(url, headers={"Accept": "text/html, */*;q=0.1"})
    with urllib.request.urlopen(request, timeout=min(STALLED, max(0.1, until - time.monotonic()))) as answer:
        return b"".join(_pieces(answer, until))


def _pieces(answer: http.client.HTTPResponse, until: float) -> Iterator[bytes]:
    size = 0
    while data := answer.read(1 << 18):
        size += len(data)
        if time.monotonic() > until:
            raise TimeoutError(f"more than {PATIENCE:g} s")
        if size > LARGEST:
            raise OSError(f"more than {LARGEST >> 20} MB")
        yield data
