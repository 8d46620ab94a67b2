"""Filters as they stand in a URL, against the parser of SAP's own framework (CAP, ``cds.odata.parse``)."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, time
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

from .conditions import AllOf, AnyOf, Compare, Condition, Constant, Match, Not
from .inputs import Inputs
from .verdict import Verdict

_SCRIPT: Final = Path(__file__).with_name("cap_parse.cjs")
_SIGNS: Final = {"=": "eq", "!=": "ne", "<>": "ne", "<": "lt", "<=": "le", ">": "gt", ">=": "ge"}
# What OData allows and CAP's parser does not read.
_BEYOND_CAP: Final[Mapping[str, re.Pattern[str]]] = {
    "durations": re.compile(r"duration'"),
    "empty binary values": re.compile(r"binary''"),
    "infinity": re.compile(r"%20-?INF\b"),
    "exponents with a sign": re.compile(r"%20-?\d+(?:\.\d+)?e[+-]\d"),
    "fractions of a second in a time of day": re.compile(r"%20\d{2}:\d{2}:\d{2}\.\d"),
}
_TIMEOUT_S: Final = 300


def judge_cap_parser(inputs: Inputs, filters: Sequence[tuple[str, Condition]], types: Mapping[str, str]) -> Verdict:
    """Judge filters with what each is meant to say: CAP has to read the same comparisons, joined in the same way."""
    verdict = Verdict("filters against the parser of SAP CAP")
    assert inputs.node is not None
    answers = subprocess.run(
        [inputs.node, str(_SCRIPT), str(inputs.node_modules / "@sap" / "cds")],
        input="".join(f"{raw}\n" for raw, _ in filters),
        capture_output=True,
        text=True,
        encoding="utf-8",
        check=True,
        timeout=_TIMEOUT_S,
    ).stdout.splitlines()
    for (raw, meant), answer in zip(filters, map(json.loads, answers), strict=True):
        verdict.tried += 1
        beyond = next((what for what, found in _BEYOND_CAP.items() if found.search(raw)), None)
        if beyond is not None:
            verdict.not_judged[f"CAP does not read {beyond}"] += 1
        elif "error" in answer:
            verdict.wrong.append(f"{raw}: CAP says {answer['error']}")
        elif (read := _Reader(answer["where"], types).whole()) != meant:
            verdict.wrong.append(f"{raw} was read by CAP as {read} and not as {meant}")
    return verdict


class _Reader:
    """Reads CQN, a flat list of operands and words, with ``and`` before ``or``."""

    def __init__(self, tokens: list[Any], types: Mapping[str, str]) -> None:
        self._tokens = tokens
        self._types = types
        self._at = 0

    def whole(self) -> Condition:
        found = self._joined("or", AnyOf, lambda: self._joined("and", AllOf, self._one))
        assert self._at == len(self._tokens), self._tokens
        return found

    def _joined(self, word: str, kind: type[AllOf | AnyOf], part: Any) -> Condition:
        parts = [part()]
        while self._at < len(self._tokens) and self._tokens[self._at] == word:
            self._at += 1
            parts.append(part())
        return parts[0] if len(parts) == 1 else kind(tuple(parts))

    def _one(self) -> Condition:
        token = self._next()
        if token == "not":
            return Not(self._one())
        if "xpr" in token:
            return _Reader(token["xpr"], self._types).whole()
        if "func" in token:
            column, text = token["args"]
            return Match(column["ref"][0], token["func"], text["val"])
        if "val" in token:
            return Constant(token["val"])
        (name,) = token["ref"]
        sign = _SIGNS[self._next()]
        return Compare(name, sign, _value(self._types[name], self._next()["val"]))

    def _next(self) -> Any:
        self._at += 1
        return self._tokens[self._at - 1]


def _value(edm_type: str, value: Any) -> Any:
    if value is None:
        return None
    match edm_type:
        case "Edm.String" | "Edm.Boolean":
            return value
        case "Edm.Date":
            return date.fromisoformat(value)
        case "Edm.DateTimeOffset":
            return datetime.fromisoformat(value).astimezone(UTC)
        case "Edm.TimeOfDay":
            return time.fromisoformat(value)
        case "Edm.Guid":
            return value.lower()
        case "Edm.Binary":
            return bytes(value["data"])
        case "Edm.Double" | "Edm.Single":
            return float(value)
    return Decimal(str(value))
