"""Names of databases, schemas, tables, pipes and channels, as SQL reads them and as addresses hold them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final
from urllib.parse import quote

from sacnb._arguments import required_text
from sacnb.errors import QueryError

__all__ = ["Pipe", "identifier", "quoted", "split_table"]

_PLAIN: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_$]*")
_PART: Final = re.compile(r'"(?:[^"]|"")+"|[^".]+')
_QUOTED: Final = re.compile(r'"((?:[^"]|"")+)"')


def identifier(argument: str, value: object) -> str:
    """Return the name that *value* means, by the rules of SQL: upper case, unless it stands in double quotes.

    A name that could not stand in SQL without quotes, such as ``Sales 2026``, is taken as it is.
    Raises QueryError.
    """
    text = required_text(argument, value).strip()
    if _PLAIN.fullmatch(text):
        return text.upper()
    if found := _QUOTED.fullmatch(text):
        text = found[1].replace('""', '"')
    if text in {".", ".."} or any(ord(character) < 32 for character in text):
        raise QueryError(f"{argument} is {value!r}, which is no name that an address can hold.")
    return text


def split_table(table: object, database: str | None, schema: str | None) -> tuple[str, str | None, str | None]:
    """Return the name, database and schema of *table*, which may be ``DATABASE.SCHEMA.NAME``.

    Dots in double quotes belong to a name. Raises QueryError, also where database or schema is given twice.
    """
    text = required_text("table", table).strip()
    parts = _PART.findall(text)
    if ".".join(parts) != text or not 1 <= len(parts) <= 3:
        raise QueryError(
            f"The table is {text!r}; expected NAME or DATABASE.SCHEMA.NAME.",
            hint="A name with a dot or a quote stands in double quotes, where a quote is written twice.",
        )
    *place, name = parts
    for argument, given, part in zip(("schema", "database"), (schema, database), reversed(place), strict=False):
        if given is not None and identifier(argument, given) != identifier(argument, part):
            raise QueryError(f"The table is {text!r}, and {argument} is {given!r}.", hint="Leave one of them out.")
    found = [*reversed(place), None, None]
    return name, found[1] or database, found[0] or schema


def quoted(name: str) -> str:
    """Return *name* in double quotes, for SQL."""
    return '"' + name.replace('"', '""') + '"'


@dataclass(frozen=True, slots=True)
class Pipe:
    """A pipe by its full name; that of a table, made on first use, is ``<TABLE>-STREAMING``."""

    database: str
    schema: str
    name: str

    @classmethod
    def of_table(cls, database: str, schema: str, table: str) -> Pipe:
        """Return the default pipe of a table."""
        return cls(database, schema, f"{table}-STREAMING")

    def path(self, *, data: bool = False) -> str:
        """Return the path of the pipe, for appends with ``data``."""
        names = [quote(name, safe="") for name in (self.database, self.schema, self.name)]
        return "/v2/streaming/{}databases/{}/schemas/{}/pipes/{}".format("data/" if data else "", *names)

    def channel_path(self, channel: str, *, data: bool = False) -> str:
        """Return the path of a channel."""
        return f"{self.path(data=data)}/channels/{quote(channel, safe='')}"

    def __str__(self) -> str:
        return f"{self.database}.{self.schema}.{self.name}"
