"""URLs of buckets hold no secret, and no message about one shows it."""

from __future__ import annotations

import traceback

import pytest

from checkpointdb import CloudBackupConfig, CloudBackupProvider, InvalidInputError
from checkpointdb.backup.remote import remote_at
from checkpointdb.bucket_errors import shown
from checkpointdb.bucket_urls import parse_url

SECRET = "s3cr3t"

with_a_secret = pytest.mark.parametrize(
    "url",
    [
        f"s3://store/x?endpoint=http://AK:{SECRET}@host",
        f"s3://store/x?endpoint=http://{SECRET}@host",
        f"s3://store/x?endpoint=http://AK:{SECRET}%40host%40h",
        f"az://store/x?account=a&endpoint=http://h/a?sig={SECRET}",
        f"az://store/x?account=a&endpoint=http://h/a%23{SECRET}",
        f"az://store/x?account=a&sv=2&sig={SECRET}",
        f"s3://store/x#{SECRET}",
        f"s3://store/x:{SECRET}@y",
        f"s3://AK:{SECRET}@store/x",
        f"s3://AK:a/{SECRET}@store/x",
        f"s3://AK:a@{SECRET}@store/x",
        f"s3://{SECRET}@store/x",
        f"s3:/AK:{SECRET}@store/x",
        f"s3://AK:{SECRET}@[store/x",
        f"s3://AK:{SECRET}℀@store/x",
        f"ftp://AK:{SECRET}@store/x",
    ],
)


@with_a_secret
def test_a_url_with_a_secret_is_refused_and_not_shown(url):
    with pytest.raises(InvalidInputError) as caught:
        parse_url(url)
    assert SECRET not in "".join(traceback.format_exception(caught.value))


def test_so_is_an_endpoint_beside_the_url():
    config = CloudBackupConfig(
        True,
        provider=CloudBackupProvider.AWS_S3,
        bucket_name="store",
        endpoint_url=f"http://AK:{SECRET}@host",
    )
    with pytest.raises(InvalidInputError, match="credentials do not belong there") as caught:
        remote_at(config)
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize(
    "url",
    [
        "s3://store/a@b/c?endpoint=http://127.0.0.1:9000/base/&region=eu-1",
        "az://store/x?account=a&endpoint=https://host/a",
        "abfs://store@account.dfs.core.windows.net/x",
        "gs://store",
    ],
)
def test_a_url_without_one_is_taken_and_comes_back_the_same(url):
    assert parse_url(parse_url(url).url) == parse_url(url)


def test_an_answer_is_shown_without_what_an_endpoint_of_the_environment_holds():
    error = OSError(f"Error performing GET http://AK:{SECRET}@host/store/x?sig={SECRET} in 1ms")
    assert SECRET not in shown(error)
    assert "GET http://…@host/store/x in 1ms" in shown(error)
