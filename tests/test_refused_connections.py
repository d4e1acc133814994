"""A connection that a server does not take: the error says which of many reasons it was."""

from __future__ import annotations

import pytest
import sqlalchemy as sa

from checkpointdb import StoreUnavailableError
from checkpointdb.database import Database

NO_ENTRY = "does not let this user in"
NO_ROOM = "too many connections"


@pytest.fixture
def roles(postgres):
    """Roles of which none gets in: by a limit, or since it is nobody's name to log in by."""
    postgres.execute("CREATE ROLE limited LOGIN CONNECTION LIMIT 0", "CREATE ROLE nameless")
    yield
    postgres.execute("DROP ROLE limited, nameless")


def refused(url):
    database = Database(url)
    with pytest.raises(StoreUnavailableError) as caught:
        database.prepare()
    return str(caught.value).rsplit("): ", 1)[-1]


@pytest.mark.parametrize(
    ("given", "advice"),
    [
        ({"username": "nobody at all"}, NO_ENTRY),
        ({"username": "nameless"}, NO_ENTRY),
        ({"username": "limited"}, NO_ROOM),
        ({"database": "not_made"}, "create the database first"),
        ({"query": {"options": "-c nosuch=1"}}, "the server refuses the connection"),
        ({"port": 9}, "cannot be reached"),
    ],
)
@pytest.mark.usefixtures("roles")
def test_the_advice_is_about_why_a_connection_was_refused(server_url, given, advice):
    assert advice in refused(sa.make_url(server_url).set(**given))


def test_a_server_that_is_starting_is_not_taken_for_one_that_refuses(monkeypatch):
    import psycopg

    def refuse(*_arguments, **_options):
        raise psycopg.OperationalError(
            'connection failed: connection to server at "db", port 5432 failed: '
            "FATAL:  the database system is starting up"
        )

    monkeypatch.setattr(psycopg, "connect", refuse)
    assert "is being stopped or started" in refused("postgresql://db/runs")
