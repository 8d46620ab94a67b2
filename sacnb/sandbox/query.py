"""Parse the query options of a request as SAC does."""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import unquote_to_bytes

from sacnb.sandbox.exchange import Refusal

__all__ = ["Options", "decode", "parse_options", "split_query"]

_OPTIONS = (
    "$select", "$filter", "$orderby", "$top", "$skip", "$count", "$format", "$skiptoken",
    "pagesize", "package", "delimiter", "deltaid",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Options:
    """The options that the sandbox knows; it ignores all others, as SAC ignores ``$apply``."""

    select: tuple[str, ...] | None = None
    filter: str | None = None
    order_by: tuple[tuple[str, bool], ...] = ()
    top: int | None = None
    skip: int = 0
    count: bool = False
    page_size: int | None = None
    package: int = 1
    format: str = "json"
    delimiter: str = ","
    cursor: str | None = None


def decode(text: str) -> str:
    """Decode percent-encoding; ``+`` stays ``+``.

    A live tenant was seen to refuse ``+`` for a blank.
    """
    if re.search(r"%(?![0-9A-Fa-f]{2})", text):
        raise Refusal(400, f"The URI is malformed: {text!r} has a percent sign without two hexadecimal digits.")
    try:
        return unquote_to_bytes(text).decode()
    except UnicodeDecodeError:
        raise Refusal(400, f"The URI is malformed: {text!r} is not UTF-8.") from None


def split_query(raw: str) -> list[tuple[str, str]]:
    """Return the pairs of a query string, still encoded."""
    pairs = (piece.partition("=") for piece in raw.split("&") if piece)
    return [(name, value) for name, _, value in pairs]


def parse_options(raw: str) -> Options:
    """Return the options of a query string.

    An option may be given twice with the same value, as SAP's Postman sample does; two values are refused.
    """
    given: dict[str, str] = {}
    for raw_name, raw_value in split_query(raw):
        name, value = decode(raw_name), decode(raw_value)
        if name in _OPTIONS and given.setdefault(name, value) != value:
            raise Refusal(400, f"The query option {name} is given twice.")
    select = given.get("$select", "*")
    return Options(
        select=None if select == "*" else _names(select, "$select"),
        filter=given.get("$filter"),
        order_by=_order(given["$orderby"]) if "$orderby" in given else (),
        top=_whole(given, "$top", least=0),
        skip=_whole(given, "$skip", least=0) or 0,
        count=_flag(given, "$count"),
        page_size=_whole(given, "pagesize", least=1),
        package=_whole(given, "package", least=1) or 1,
        format=_format(given.get("$format", "json")),
        delimiter=_delimiter(given.get("delimiter", ",")),
        cursor=given.get("$skiptoken"),
    )


def _names(text: str, option: str) -> tuple[str, ...]:
    names = text.split(",")
    for name in names:
        # A live tenant was seen to refuse "$select=A, B" as a malformed URI.
        if not name or name != name.strip() or " " in name:
            raise Refusal(400, f"The URI is malformed: {option} holds {text!r}; write names without blanks.")
    return tuple(names)


def _order(text: str) -> tuple[tuple[str, bool], ...]:
    items: list[tuple[str, bool]] = []
    for item in text.split(","):
        match = re.fullmatch(r"(\S+)(?:[ \t]+(asc|desc))?", item, re.IGNORECASE)
        if match is None:
            raise Refusal(400, f"The URI is malformed: $orderby holds {text!r}.")
        items.append((match[1], (match[2] or "").lower() == "desc"))
    return tuple(items)


def _whole(given: dict[str, str], name: str, *, least: int) -> int | None:
    if name not in given:
        return None
    if not re.fullmatch(r"\d{1,18}", given[name], re.ASCII) or int(given[name]) < least:
        raise Refusal(400, f"The query option {name} must be a whole number from {least} on, not {given[name]!r}.")
    return int(given[name])


def _flag(given: dict[str, str], name: str) -> bool:
    value = given.get(name, "false")
    if value not in {"true", "false"}:
        raise Refusal(400, f"The query option {name} must be true or false, not {value!r}.")
    return value == "true"


def _format(value: str) -> str:
    known: dict[str, str] = {"json": "json", "application/json": "json", "text/csv": "csv", "csv": "csv", "xml": "xml"}
    known["application/xml"] = "xml"
    found = known.get(value.partition(";")[0].strip().lower())
    if found is None:
        raise Refusal(400, f"The $format {value!r} is not supported.")
    return found


def _delimiter(value: str) -> str:
    if len(value) != 1 or not value.isascii() or value in '"\r\n':
        raise Refusal(400, f"The delimiter must be one character, not {value!r}.")
    return value
