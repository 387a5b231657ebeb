"""Downloads that survive a bad connection: they resume where they broke off."""

import errno
import hashlib
import http.client
import re
import string
import time
from email.utils import formatdate
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.parse import quote
from urllib.request import Request, urlopen

from tqdm import tqdm

from core.support.errors import UserError

TIMEOUT = 30  # seconds without a byte after which a connection counts as broken
PAUSES = (1, 2, 4)  # seconds before each next try; they start over when a try brought more

_CHUNK = 2**18  # bytes
_DISK = (errno.ENOSPC, errno.EFBIG, errno.EDQUOT)  # what no connection fails with
_LASTING = (ValueError, FileNotFoundError, IsADirectoryError, PermissionError)


def fetch(url: str, path: Path, checksum: str | None = None) -> None:
    """Downloads a file, unless it is there already, and checks it.

    Until all of it has come, it is called `NAME.part`. A later call resumes a broken download. A
    file with another md5 or sha256 (lower-case hexadecimal digits) is deleted.

    Raises:
        UserError: if it does not come, cannot be written, or has another checksum.
    """
    if not path.exists():
        part = path.with_name(f"{path.name}.part")
        _Download(url, part).run()
        part.replace(path)
    if not checksum:
        return
    kind = "md5" if len(checksum) == 32 else "sha256"
    digest = hashlib.new(kind, usedforsecurity=False)
    with open(path, "rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    if digest.hexdigest() != checksum:
        path.unlink()
        raise UserError(
            f"{url}: what came has the {kind} {digest.hexdigest()}, not {checksum}, and was "
            "deleted. Run the same command again, or name another home with --url."
        )


class _Download:
    """One file on its way from a URL into the file `part`."""

    def __init__(self, url, part):
        self.url = url
        self.part = part
        self.total = None  # bytes, as far as the server says

    def run(self):
        """Tries until all has come, or until several tries in a row have brought nothing more."""
        furthest, pauses = _size(self.part), list(PAUSES)
        while True:
            try:
                return self._receive(_size(self.part))
            except (OSError, http.client.HTTPException, ValueError) as error:
                if _size(self.part) > furthest:
                    furthest, pauses = _size(self.part), list(PAUSES)
                if getattr(error, "code", 0) in (412, 416) and self.part.exists():
                    self.part.unlink()  # the server has no such rest: all anew, at once
                    continue
                if not pauses or _is_lasting(error):
                    raise UserError(self._story(error)) from error
            time.sleep(pauses.pop(0))

    def _receive(self, have):
        """Asks for what is missing, and writes what comes."""
        headers = {"User-Agent": "UNet-keras"}  # some servers refuse urllib's own
        if have:
            written = formatdate(self.part.stat().st_mtime, usegmt=True)
            headers |= {"Range": f"bytes={have}-", "If-Unmodified-Since": written}
        url = quote(self.url, safe=string.punctuation)  # blanks and letters beyond ASCII
        with urlopen(Request(url, headers=headers), timeout=TIMEOUT) as response:
            start = have if response.status == 206 else 0
            first, self.total = _extent(response.headers, start)
            if first != start:
                self.part.unlink()
                raise ConnectionError("the server sent another part than it was asked for")
            name = self.part.stem.lstrip(".")
            shown = {"unit": "B", "unit_scale": True, "disable": None, "leave": False}
            with (
                open(self.part, "ab" if start else "wb") as file,
                tqdm(desc=name, initial=start, total=self.total, **shown) as bar,
            ):
                while chunk := response.read1(_CHUNK):  # what is there already, so none is lost
                    file.write(chunk)
                    file.flush()
                    bar.update(len(chunk))
        if self.total is not None and _size(self.part) > self.total:
            self.part.unlink()
            raise ValueError("the server sent more than it announced")
        if self.total is not None and _size(self.part) != self.total:
            raise ConnectionError("the connection was cut")  # nobody else says so

    def _story(self, error):
        """What went wrong, how far it came, and what to do."""
        reason = getattr(error, "reason", error)
        reason = getattr(reason, "strerror", None) or reason
        came = f"{_size(self.part):,}{f' of {self.total:,}' if self.total else ''} bytes came"
        if _is_local(error):
            return (
                f"{self.part}: cannot be written ({reason}); {came}. Free some space or name "
                "another folder with --output; the same command resumes it."
            )
        if isinstance(error, HTTPError):
            reason = f"the server answers {error.code} {reason}"
        if _is_lasting(error):
            return f"{self.url}: cannot be fetched ({reason}). Name another home with --url."
        return (
            f"{self.url}: {reason}; {came}. The same command resumes it, --url names another home."
        )


def _is_local(error):
    """Whether it is the file that is written, not the connection, that failed."""
    if getattr(error, "errno", None) in _DISK:
        return True
    return not isinstance(error, URLError) and getattr(error, "filename", None) is not None


def _is_lasting(error):
    """Whether the next try would only run into the same."""
    if isinstance(error, HTTPError):
        return 400 <= error.code < 500 and error.code not in (408, 429)
    return _is_local(error) or isinstance(getattr(error, "reason", error), _LASTING)


def _extent(headers, start):
    """The first byte that comes and the size of the whole file, None if the server is silent."""
    span = re.match(r"bytes (\d+)-\d+/(\d+)", headers.get("Content-Range", ""))
    if start and span:
        return int(span[1]), int(span[2])
    length = headers.get("Content-Length")
    return start, start + int(length) if length else None


def _size(path):
    return path.stat().st_size if path.exists() else 0
