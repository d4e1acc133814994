"""Three questions to the finished store, asked with `sqlite3` alone."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class Question:
    """A question in English and in SQL."""

    text: str
    sql: str


@dataclass(frozen=True, slots=True)
class Answer:
    """The columns and rows that came back."""

    columns: list[str]
    rows: list[tuple[Any, ...]]


QUESTIONS = [
    Question(
        "Which stages took longest, and what did their checkpoints cost?",
        """
SELECT checkpoint_id,
       json_extract(metadata, '$.seconds') AS seconds,
       kind,
       state_bytes,
       stored_bytes
  FROM checkpoint_overview
 ORDER BY seconds DESC
 LIMIT 3""",
    ),
    Question(
        "What does the last checkpoint hold, and since which stage?",
        """
SELECT key, type, raw_bytes, since
  FROM checkpoint_keys
  JOIN (SELECT key, digest, checkpoint_id AS since, min(created_at)
          FROM key_history
         GROUP BY key, digest) USING (key, digest)
 WHERE checkpoint_id = 'stage_9_report'
 ORDER BY raw_bytes DESC""",
    ),
    Question(
        "How many bytes were saved, how many of them were new, how many are on disk?",
        """
SELECT (SELECT sum(state_bytes) FROM checkpoint_overview) AS saved_bytes,
       sum(raw_bytes) AS new_bytes,
       sum(stored_bytes) AS stored_bytes
  FROM payload_usage""",
    ),
]


def ask(database: Path, sql: str) -> Answer:
    """Run a query on the database file, opened for reading only."""
    with closing(sqlite3.connect(f"{database.as_uri()}?mode=ro", uri=True)) as connection:
        cursor = connection.execute(sql)
        return Answer([column[0] for column in cursor.description], cursor.fetchall())
