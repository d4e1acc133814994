"""The page of tables and views, made from the schema and a store that was just made."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator
from typing import Any, Final

from sqlalchemy import Column, Table, UniqueConstraint, inspect
from sqlalchemy.dialects import sqlite

from checkpointdb import PipelineCheckpoint
from checkpointdb.schema import metadata

from .schema_words import TABLES, VIEWS

_HEAD: Final = """\
# Tables and views

Made from the schema: `python -m docs.generate`.

The database is `checkpoints.db` in the store's directory: SQLite in WAL mode, application id
`0x436B7044`, auto-vacuum set to incremental (freed pages are used again, and given back to the disk
once they are many). A copy by SQLite that was put in its place, such as the backup that an upgrade
makes, has a rollback journal: it works as well, but who reads keeps others from writing, until
`PRAGMA journal_mode = WAL` was asked of it in `sqlite3`. Its schema is made and changed by
migrations alone; the revision is in `checkpointdb_version`. **The views are a promise**: names and
columns stay. The tables may change with a revision.

How to ask them is in [Inspect a store with sqlite3](../how-to/inspect-with-sqlite3.md)."""

_RANGE: Final = """\
## A state is a range query

What a checkpoint holds are the entries of its chain whose interval covers its depth
([why](../explanation/delta-chains.md)):

```sql
SELECT entries.key, state_values.type_name
  FROM checkpoints
  JOIN entries
    ON entries.chain_id = checkpoints.chain_id
   AND entries.from_depth <= checkpoints.depth
   AND (entries.to_depth IS NULL OR entries.to_depth > checkpoints.depth)
  JOIN state_values ON state_values.id = entries.value_id
 WHERE checkpoints.checkpoint_id = 'reported'
 ORDER BY entries.position;
```"""

_TABLES: Final = """\
## Tables

Types are those of SQLite. An `id` is the row's number, which is never used again. Foreign keys are
enforced, and none cascades. Times are UTC, digests and hashes are bytes, and every `…_bytes` is a
length.

![The tables and their foreign keys](../pictures/schema.svg)"""


def page() -> str:
    """Return the page."""
    parts = [_HEAD, "## Views", *_views(), _TABLES, *map(_table, metadata.tables.values()), _RANGE]
    return "\n\n".join(parts) + "\n"


def _views() -> Iterator[str]:
    with (
        tempfile.TemporaryDirectory() as folder,
        PipelineCheckpoint(folder) as store,
        store.query() as connection,
    ):
        found = inspect(connection)
        for view in found.get_view_names():
            sentence, words = VIEWS[view]
            names = [column["name"] for column in found.get_columns(view)]
            rows = [f"| `{name}` | {words.get(name, '')} |" for name in names]
            yield _section(view, sentence, "| column | |\n|---|---|", rows)


def _table(table: Table) -> str:
    sentence, words = TABLES[table.name]
    rows = [
        f"| `{column.name}` | {_type(column)} | {_meaning(column, words)} |" for column in table.c
    ]
    section = _section(table.name, sentence, "| column | type | |\n|---|---|---|", rows)
    return section + _keys(table)


def _section(name: str, sentence: str, head: str, rows: list[str]) -> str:
    return "\n".join([f"### {name}\n\n{sentence}\n", head, *rows])


def _type(column: Column[object]) -> str:
    text = column.type.compile(sqlite.dialect())
    return f"{text}, or NULL" if column.nullable else text


def _meaning(column: Column[object], words: dict[str, str]) -> str:
    """Return what a column is: marks that the schema gives, then our words."""
    targets = [key.column.table.name for key in column.foreign_keys]
    marks = ["primary key"] * column.primary_key + [f"→ [{each}](#{each})" for each in targets]
    return "; ".join(filter(None, [*marks, words.get(column.name, "")]))


def _keys(table: Table) -> str:
    """Return what is unique in a table, and what else it is indexed by."""
    unique = [each.columns for each in table.constraints if isinstance(each, UniqueConstraint)]
    lists = {"Unique": unique, "Indexed": [each.columns for each in table.indexes]}
    return "".join(
        f"\n\n{what}: {'; '.join(sorted(map(_listed, found)))}."
        for what, found in lists.items()
        if found
    )


def _listed(columns: Iterable[Any]) -> str:
    return ", ".join(f"`{each.name}`" for each in columns)
