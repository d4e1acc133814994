"""URLs that name a place for payloads: which service, which bucket, what stands before each name.

s3://BUCKET/PREFIX        ?region=…  ?endpoint=…
gs://BUCKET/PREFIX        ?endpoint=…
az://CONTAINER/PREFIX     ?account=…  ?endpoint=…      also azure://, abfs://
memory://NAME/PREFIX      in this process alone
file:///DIRECTORY         a local directory
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import NamedTuple
from urllib.parse import parse_qsl, quote, unquote, unquote_to_bytes, urlencode, urlsplit

from checkpointdb.errors import InvalidInputError

_SCHEMES = {
    "s3": "s3",
    "s3a": "s3",
    "gs": "gs",
    "az": "az",
    "azure": "az",
    "abfs": "az",
    "abfss": "az",
    "memory": "memory",
}
_OPTIONS = {
    "s3": {"region", "endpoint"},
    "gs": {"endpoint"},
    "az": {"account", "endpoint"},
    "memory": set[str](),
}
# What stands in a bucket's name at every provider; "." and "_" only at some.
_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,254}")
_PART = re.compile(r"[A-Za-z0-9 ._=+@-]+")  # what no server and no library escapes or refuses
_MOST_CITED = 200


class Location(NamedTuple):
    """A place in an object store; no credentials are in it but the path of a file of them."""

    scheme: str
    bucket: str
    prefix: str = ""
    endpoint: str | None = None
    region: str | None = None
    account: str | None = None
    credentials_path: str | None = None

    @property
    def url(self) -> str:
        """The URL that names the place, in one form whichever was given."""
        options = {"account": self.account, "endpoint": self.endpoint, "region": self.region}
        query = urlencode({name: value for name, value in options.items() if value}, safe=":/")
        path = f"{self.scheme}://{self.bucket}/{quote(self.prefix)}".rstrip("/")
        return f"{path}?{query}" if query else path

    def path_of(self, name: str) -> str:
        """Return the path of what has a name here."""
        return f"{self.prefix}/{name}" if self.prefix else name


def is_file_url(url: str) -> bool:
    """Say whether a URL names a local directory."""
    return url.partition(":")[0].lower() == "file"


def is_url(text: str) -> bool:
    """Say whether a text is a URL, a good one or not, rather than the name of a directory."""
    scheme, colon, _ = text.partition(":")
    return "://" in text or (bool(colon) and scheme.lower() in {"file", *_SCHEMES})


def directory_of_url(url: str) -> Path:
    """Return the directory of a `file://` URL. Raises InvalidInputError if it names none."""
    if set(url) & set("?#\t\r\n"):  # what urlsplit cuts off, or drops
        raise InvalidInputError(
            f"{_shown(url)} has a ?, a #, a tab or the end of a line in it, which no directory's "
            "name has in a URL: write %3F for ? and %23 for #, as Path(…).as_uri() does"
        )
    try:
        parts = urlsplit(url)
        path = _local_path(parts.path)
    except ValueError as error:
        raise InvalidInputError(f"{_shown(url)} is no URL: {error}") from error
    if parts.netloc not in {"", "localhost"} or not Path(path).is_absolute() or "\0" in path:
        raise InvalidInputError(f"{_shown(url)} names no local directory: write file:///PATH")
    return Path(path)


def _local_path(quoted: str) -> str:
    if os.name == "nt":
        from urllib.request import url2pathname  # which brings HTTP along

        return url2pathname(quoted)
    return os.fsdecode(unquote_to_bytes(os.fsencode(quoted)))  # a name may be no UTF-8


def parse_url(
    url: str,
    *,
    region: str | None = None,
    endpoint: str | None = None,
    credentials_path: str | None = None,
) -> Location:
    """Return the place that a URL names; the rest stands where the URL does not say.

    Raises InvalidInputError if it names none, or has credentials in it.
    """
    try:
        parts = urlsplit(url)
        user, host = parts.username, parts.hostname
    except ValueError:  # whose text may cite what stands before the host
        raise InvalidInputError(f"{_shown(url)} is no URL") from None
    scheme = _SCHEMES.get(parts.scheme)
    if scheme is None:
        known = ", ".join(f"{each}://" for each in ("file", *_SCHEMES))
        raise InvalidInputError(f"{_shown(url)} names no place that is known: use one of {known}")
    bucket, account = parts.netloc, None
    if scheme == "az" and user and host:  # abfs://CONTAINER@ACCOUNT.dfs.core.windows.net
        bucket, account = user, host.partition(".")[0]
    prefix = unquote(parts.path).strip("/")
    if not _BUCKET.fullmatch(bucket) or parts.fragment or not _is_path(prefix):
        raise InvalidInputError(
            f"{_shown(url)} does not name a bucket and what stands before each name, as "
            f"{scheme}://BUCKET/PREFIX does: of letters, digits and ' ._=+@-', and no credentials"
        )
    options = _options(url, parts.query, _OPTIONS[scheme])
    given = {"region": region, "endpoint": endpoint, "account": account}
    chosen = {name: options.get(name) or given[name] for name in _OPTIONS[scheme]}
    _refuse_secrets(url, chosen.get("endpoint") or "")
    return Location(scheme, bucket, prefix, credentials_path=credentials_path, **chosen)


def _is_path(prefix: str) -> bool:
    parts = prefix.split("/")
    return not prefix or (all(map(_PART.fullmatch, parts)) and not {".", ".."} & set(parts))


def _options(url: str, query: str, known: set[str]) -> dict[str, str]:
    options = dict(parse_qsl(query, keep_blank_values=True))
    if unknown := sorted(options.keys() - known):
        raise InvalidInputError(
            f"{_shown(url)} has the unknown option {unknown[0]!a} (known: "
            f"{', '.join(sorted(known)) or 'none'}). Credentials do not belong in a URL: they are "
            "found where the provider's own tools find them, or in the file credentials_path"
        )
    return options


def _refuse_secrets(url: str, endpoint: str) -> None:
    """Refuse an endpoint with a password or a signature, which the database would remember."""
    if set(endpoint) & set("@?#"):
        raise InvalidInputError(
            f"the endpoint of {_shown(url)} has an @, a ? or a #: credentials do not belong there, "
            "they are found where the provider's own tools find them, or in the file "
            "credentials_path"
        )


def _shown(url: str) -> str:
    """Return a URL for a message, without what may be a secret: all before an @, options, a #…."""
    return ascii(re.sub(r":(//)?.*@", r":\1…@", re.split(r"[?#]", url)[0]))[:_MOST_CITED]
