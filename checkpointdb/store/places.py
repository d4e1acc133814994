"""Where a store keeps its payloads: a URL becomes a payload store."""

from __future__ import annotations

from pathlib import Path

from checkpointdb.bucket_urls import directory_of_url, is_file_url, parse_url
from checkpointdb.local_payloads import LocalPayloads
from checkpointdb.payloads import PayloadStore
from checkpointdb.records import CloudBackupConfig

PAYLOAD_DIRECTORY = "payloads"


def payloads_at(
    url: str | None,
    directory: Path,
    *,
    durable: bool,
    access: CloudBackupConfig | None = None,
) -> PayloadStore:
    """Return the payload store that a URL names; None: the one below the store's directory.

    A `file://` is a local directory like any other, and as durable: obstore flushes nothing.
    Raises InvalidInputError if the URL names none.
    """
    if url is None or is_file_url(url):
        root = directory / PAYLOAD_DIRECTORY if url is None else directory_of_url(url)
        return LocalPayloads(root, durable=durable)
    from checkpointdb.bucket import Bucket  # a store without one need not import it
    from checkpointdb.object_payloads import ObjectPayloads

    location = parse_url(
        url,
        region=access.region if access else None,
        endpoint=access.endpoint_url if access else None,
        credentials_path=access.credentials_path if access else None,
    )
    return ObjectPayloads(Bucket(location))
