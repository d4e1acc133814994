"""The reference page, made from the commands: python -m checkpointdb.cli.reference > PAGE."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator
from textwrap import fill
from typing import Any, Final

import click

from checkpointdb.cli.application import cli
from checkpointdb.cli.command import Command
from checkpointdb.cli.documents import described
from checkpointdb.cli.exits import EXITS
from checkpointdb.filters.expressions import COLUMNS

PAGE: Final = "docs/reference/cli.md"


def _claims() -> str:
    """Return what the help of the whole says of all commands."""
    paragraphs = (cli.help or "").split("\n\n")
    return fill(" ".join(paragraphs[1].split()), 100)


_HEAD: Final = f"""\
# The command line

Made from the commands: `python -m checkpointdb.cli.reference > {PAGE}`. What to do
with them is in [Operate a store from the command line](../how-to/operate-from-the-command-line.md).

`pip install 'checkpointdb[cli]'` brings what it needs. What cannot be printed (control characters,
line ends, characters that turn text around) is shown escaped, as `\\x1b`, where it stands in an id,
a key or a value.

{_claims()}

An id that begins with a dash stands behind `--`: `checkpointdb show -- -x`.
"""

_JSON: Final = """\
## JSON

With `--json`, before or behind the command, exactly one JSON document is printed on stdout, in
ASCII. Its shape is given with each command: texts name the kind of a value, `*` stands for any
key. Times are ISO 8601 in UTC, bytes hexadecimal, and numbers that JSON lacks texts (`"inf"`).
Notes and messages stay on stderr. A command that fails prints this document instead:

```json
{"error": {"code": "number", "name": "text", "type": "text", "message": "text"}}
```

`code` and `name` are those of the table above, `type` is the class of the error. Where `check`
finds problems, or some of several ids fail, the document is that of the command all the same, and
the exit code tells.
"""

_CONDITIONS: Final = r"""
## Conditions

What `--where` takes (in Python `parse_where`); nothing of it is run as code.

```text
accuracy > 0.9                            a metadata field and a number
run.host = n17 and not stage in (1, 2)    nested fields are joined by dots
tag ^= nightly or note exists             begins with; has a value that can be asked for
"odd name" = "two words"                  quotes, where there are spaces or signs
@created_at >= 2026-01-31T12:00           a column, here a time in UTC
(@pinned = true or accuracy > 0.9) and score != null
```

Asked are numbers, texts of up to 1 000 characters, true, false and null. A field that holds a list,
an object, a longer text, or an integer that no double equals is in the metadata and not found, by
`exists` neither: no rule of retention keeps a checkpoint for that.

Comparisons: `=` (or `==`), `!=`, `<`, `<=`, `>`, `>=`, `^=` (begins with), `in (…)`, `exists`;
joined by `and`, `or`, `not` and parentheses. Values: numbers, `true`, `false`, `null`, and texts. A
text that looks like another value is quoted (`host = "17"`), in `"…"` with the escapes of JSON or
in `'…'` without any. A dot that belongs to the name of a field is written `\.`. A comparison holds
only where the field is there, or the column has a value: `not @state_version = 1` also finds what
has none.

Columns: {columns}. `@is_backed_up = false` finds what no backup has yet.
"""


def reference() -> str:
    """Return the page."""
    exits = [
        f"| {each.code} | {each.name} | {_cell(each.meaning)} | {_errors(each)} |" for each in EXITS
    ]
    parts = [
        _HEAD,
        "## Options before or behind every command\n\n" + _options(cli.params),
        "## Exit codes\n\n| code | name | when | errors |\n|---|---|---|---|\n" + "\n".join(exits),
        _JSON.rstrip(),
        _CONDITIONS.strip().format(columns=", ".join(f"`@{name}`" for name in COLUMNS)),
        "## Commands",
        *_commands(cli, click.Context(cli, info_name="checkpointdb", **cli.context_settings)),
    ]
    return "\n\n".join(part.strip("\n") for part in parts) + "\n"


def _errors(found: Any) -> str:
    return ", ".join(f"`{error.__name__}`" for error in found.errors)


def _commands(group: click.Group, parent: click.Context) -> Iterator[str]:
    for name, command in sorted(group.commands.items()):
        ctx = click.Context(command, info_name=name, parent=parent)
        if isinstance(command, click.Group):
            yield from _commands(command, ctx)
        elif isinstance(command, Command):
            yield _section(command, ctx)


def _section(command: Command, ctx: click.Context) -> str:
    """Return a command's section: usage, help, options, and the shape of its document."""
    usage = " ".join([ctx.command_path, *command.collect_usage_pieces(ctx)])
    parts = [
        f"### {ctx.command_path.removeprefix('checkpointdb ')}",
        f"```console\n{usage}\n```",
        "\n\n".join(" ".join(each.split()) for each in (command.help or "").split("\n\n")),
        _options([each for each in command.params if each.name != "is_json"]),
        f"```json\n{_json(described(command.shape))}\n```",
    ]
    return "\n\n".join(part for part in parts if part)


def _json(shape: dict[str, Any]) -> str:
    """Return a shape with a line for each of its keys."""
    lines = [f"  {json.dumps(key)}: {json.dumps(each)}" for key, each in shape.items()]
    return "{\n" + ",\n".join(lines) + "\n}"


def _options(params: Iterable[click.Parameter]) -> str:
    """Return the table of options. Not by click's own texts, which change with its versions."""
    shown = [each for each in params if isinstance(each, click.Option) and not each.hidden]
    rows = [f"| `{_names(each)}` | {_cell(_meaning(each))} |" for each in shown]
    return "\n".join(["| option | meaning |", "|---|---|", *rows]) if rows else ""


def _names(option: click.Option) -> str:
    names = ", ".join([*option.opts, *option.secondary_opts])
    if option.is_flag:
        return names
    if isinstance(option.type, click.Choice):
        return f"{names} [{'|'.join(map(str, option.type.choices))}]"
    return f"{names} {option.metavar}"


def _meaning(option: click.Option) -> str:
    usual = f" Usually {option.default}." if option.show_default else ""
    variable = f" Or `{option.envvar}`." if option.envvar else ""
    return (option.help or "") + usual + variable


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


if __name__ == "__main__":
    sys.stdout.write(reference())
