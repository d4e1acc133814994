"""Where a store keeps its payloads: a URL becomes a payload store."""

from __future__ import annotations

from pathlib import Path

from checkpointdb.bucket_urls import Location, directory_of_url, is_file_url, parse_url
from checkpointdb.local_payloads import LocalPayloads
from checkpointdb.payloads import PayloadStore
from checkpointdb.records import CloudBackupConfig, CloudBackupProvider

DATABASE_NAME = "checkpoints.db"
PAYLOAD_DIRECTORY = "payloads"

_SCHEMES = {
    CloudBackupProvider.AWS_S3: "s3",
    CloudBackupProvider.AZURE_BLOB: "az",
    CloudBackupProvider.GCP_STORAGE: "gs",
}


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

    return ObjectPayloads(Bucket(_location(url, access)))


def named_place(url: str, directory: Path, access: CloudBackupConfig | None) -> str | None:
    """Return the one form of a URL; None if it names the directory that needs none.

    Raises InvalidInputError as `payloads_at` does.
    """
    if not is_file_url(url):
        return _location(url, access).url
    root = directory_of_url(url)
    return None if root == directory / PAYLOAD_DIRECTORY else root.as_uri()


def access_to(url: str, config: CloudBackupConfig | None) -> CloudBackupConfig | None:
    """Return what a backup's configuration says of a place: something, if it names its bucket."""
    if config is None or config.bucket_name is None or is_file_url(url):
        return None
    location = parse_url(url)
    is_same = (_SCHEMES.get(config.provider), config.bucket_name) == (
        location.scheme,
        location.bucket,
    )
    return config if is_same else None


def _location(url: str, access: CloudBackupConfig | None) -> Location:
    if access is None:
        return parse_url(url)
    return parse_url(
        url,
        region=access.region,
        endpoint=access.endpoint_url,
        credentials_path=access.credentials_path,
    )
