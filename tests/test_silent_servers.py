"""A server that falls silent, without closing its connections, is not waited for without end."""

from __future__ import annotations

import socket
from contextlib import contextmanager

import sqlalchemy as sa

from checkpointdb.database import Database

LIMITS = {"connect_timeout", "keepalives_idle", "keepalives_interval", "keepalives_count"}


@contextmanager
def driver_of(url, **query):
    """The driver's own connection."""
    database = Database(sa.make_url(url).update_query_dict(query))
    with database.read() as connection:
        yield connection.connection.driver_connection
    database.close()


@contextmanager
def socket_of(driver):
    with socket.socket(fileno=driver.fileno()) as found:
        yield found
        found.detach()


def limits_of(driver):
    given = driver.info.get_parameters()
    return {name: int(given[name]) for name in LIMITS}


def test_a_connection_that_is_silent_is_given_up_in_half_a_minute(server_url):
    with driver_of(server_url) as driver:
        limits = limits_of(driver)
        with socket_of(driver) as found:
            assert found.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
            if hasattr(socket, "TCP_USER_TIMEOUT"):
                assert found.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 30_000
    probed = limits["keepalives_interval"] * limits["keepalives_count"]
    assert limits["keepalives_idle"] + probed == 30
    assert limits["connect_timeout"] == 10


def test_what_the_url_says_of_it_holds(server_url):
    with driver_of(server_url, keepalives_idle="77", connect_timeout="5") as driver:
        limits = limits_of(driver)
    assert (limits["keepalives_idle"], limits["connect_timeout"]) == (77, 5)


def test_what_the_environment_says_of_connecting_holds(server_url, monkeypatch):
    monkeypatch.setenv("PGCONNECT_TIMEOUT", "7")
    with driver_of(server_url) as driver:
        assert limits_of(driver)["connect_timeout"] == 7


def test_a_pooler_is_asked_for_nothing_that_it_does_not_know(server_url):
    with driver_of(server_url, prepared_statements="off") as driver:
        assert driver.prepare_threshold is None
        assert "options" not in driver.info.get_parameters()
