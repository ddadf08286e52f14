"""Downloads a data file from a URL. An interrupted download is resumed, if the server's file is still the same.

Knows ranges, validators (ETag, Last-Modified) and room on the disk. Which URLs are opened is the policy's.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import re
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.client import HTTPException, HTTPResponse
from pathlib import Path, PurePosixPath
from urllib.parse import unquote, urlsplit, urlunsplit

from camelid_core import paths
from camelid_core.errors import DataError
from camelid_core.file_permissions import make_private_directory, open_private
from camelid_core.json_files import object_in

from .dataset import DownloadProgress
from .url_policy import PUBLIC, UrlPolicy, open_url, split_url

MAX_BYTES = 100 << 30
"""The largest file that is downloaded."""
_SPARE_DISK_BYTES = 256 << 20
_CHUNK = 1 << 20
_KEPT_SECONDS = 7 * 86400
_VALIDATOR = "validator.json"
_CONTENT_RANGE = re.compile(r"bytes (?:(\d+)-\d+|\*)/(\d+)")


def is_url(text: str) -> bool:
    return "://" in text


def file_name(url: str) -> str:
    """The last part of a URL's path as a file's name of letters, digits, dots and dashes; "data" if there is none."""
    last = PurePosixPath(unquote(urlsplit(url).path)).name
    return re.sub(r"[^A-Za-z0-9._-]+", "-", last).strip("-._")[-100:].lstrip("-._") or "data"


def noted_url(url: str) -> str:
    """The URL as it is noted with a dataset: without its query, in which there may be a key."""
    return urlunsplit(urlsplit(url)._replace(query="", fragment=""))


@contextmanager
def downloaded(
    url: str, progress: DownloadProgress, policy: UrlPolicy = PUBLIC, max_bytes: int = MAX_BYTES
) -> Iterator[Path]:
    """The file. It is removed when all that is done with it succeeds; else it is kept for some days, for the next try.

    Raises:
        UsageError: the policy does not allow the URL.
        DataError: it cannot be downloaded, or it is no data file.
    """
    split_url(url, policy)
    downloads = paths.home() / "cache" / "downloads"
    _remove_abandoned(downloads)
    directory = make_private_directory(downloads / hashlib.sha256(url.encode()).hexdigest()[:24])
    with _only_one(directory, url):
        download = _Download(url, directory / file_name(url), progress, policy, max_bytes)
        try:
            while not download.is_complete:
                download.receive()
        except OSError as error:
            reason = error.strerror or error
            raise DataError(f"{str(directory)!r} cannot be written: {reason}.", "no_file") from None
        yield download.path
        shutil.rmtree(directory)


class _Download:
    """One file: `receive` takes what comes in one answer of the server."""

    def __init__(self, url: str, path: Path, progress: DownloadProgress, policy: UrlPolicy, max_bytes: int) -> None:
        self.path = path
        self.is_complete = False
        self._url, self._progress, self._policy, self._max_bytes = url, progress, policy, max_bytes

    def receive(self) -> None:
        """Raises DataError: refused, or not a byte more has come. What came before stays."""
        had = self._size()
        validator = str(object_in(self.path.with_name(_VALIDATOR)).get("validator", ""))
        headers = {"User-Agent": "camelid", "Accept-Encoding": "identity"}
        if had and validator:
            headers |= {"Range": f"bytes={had}-", "If-Range": validator}
        with open_url(self._url, headers, self._policy) as response:
            place = _CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", ""))
            if response.status == 416 and place and int(place[2]) == had:
                self.is_complete = True
                return
            if response.status == 206 and place and place[1] and int(place[1]) == had:
                self._write(response, had, int(place[2]))
            elif response.status == 200:
                self._begin(response)
            else:
                raise DataError(f"{self._url!r} answers {response.status} {response.reason}.", "no_file")
        if not self.is_complete and self._size() <= had:
            raise DataError(
                f"{self._url!r} broke off at {self._size():,} bytes. Type the same again to resume.", "no_connection"
            )

    def _size(self) -> int:
        return self.path.stat().st_size if self.path.exists() else 0

    def _begin(self, response: HTTPResponse) -> None:
        """The file from its first byte."""
        if response.headers.get_content_type() == "text/html":
            raise DataError(f"{self._url!r} is a web page; give the link of the data file itself.", "not_data")
        etag = response.headers.get("ETag", "")
        validator = response.headers.get("Last-Modified", "") if etag.startswith("W/") or not etag else etag
        with open_private(self.path.with_name(_VALIDATOR), "wb") as file:
            file.write(json.dumps({"validator": validator}).encode())
        self._write(response, 0, int(response.headers.get("Content-Length") or 0))

    def _write(self, response: HTTPResponse, start: int, size: int) -> None:
        """What comes, from byte `start` on; `size` is that of the whole file, 0 where the server does not say."""
        self._check_size(size, size - start)
        have = start
        with open_private(self.path, "r+b" if start else "wb") as file:
            file.seek(start)
            while chunk := _read(response):
                have += len(chunk)
                self._check_size(have, 0)
                file.write(chunk)
                if size:
                    self._progress(self.path.name, min(have, size), size)
        self.is_complete = chunk is not None and have >= size

    def _check_size(self, size: int, coming: int) -> None:
        if size > self._max_bytes:
            self.path.unlink(missing_ok=True)
            raise DataError(
                f"{self._url!r} is larger than {_amount(self._max_bytes)}, the most that is taken.", "too_long"
            )
        free = shutil.disk_usage(self.path.parent).free if coming else 0
        if coming and coming + _SPARE_DISK_BYTES > free:
            need = f"{self._url!r} has {_amount(coming)} to come, and {_amount(free)} of disk are free"
            raise DataError(f"{need}. Make room, or let CAMELID_HOME be on a larger disk.", "no_file")


def _read(response: HTTPResponse) -> bytes | None:
    """Some bytes; none at the end, None where the connection broke."""
    try:
        return response.read1(_CHUNK)
    except (OSError, HTTPException):
        return None


@contextmanager
def _only_one(directory: Path, url: str) -> Iterator[None]:
    with open_private(directory / ".lock", "a+b") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise DataError(f"{url!r} is being downloaded by another process.", "no_file") from None
        yield


def _remove_abandoned(downloads: Path) -> None:
    oldest = time.time() - _KEPT_SECONDS
    for directory in downloads.glob("*"):
        with suppress(OSError):
            if all(path.stat().st_mtime < oldest for path in directory.iterdir()):
                shutil.rmtree(directory)


def _amount(count: int) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 1e8 else f"{count / 1e6:.1f} MB"
