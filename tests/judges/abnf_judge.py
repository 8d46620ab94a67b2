"""Filters as they stand in a URL, against the grammar that OASIS publishes for OData 4.0.

The npm package odata-v4-parser ships it as ``odata-v4.abnf``, and OASIS' own test cases beside it: they show first that
the grammar is read right.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

from .verdict import Verdict

# RFC 5234 has these, and a parser for ABNF brings them.
_CORE: Final = frozenset({"ALPHA", "DIGIT", "HEXDIG", "DQUOTE", "SP", "HTAB", "VCHAR"})
# What the text of the grammar leaves out by mistake: octets %70 to %7F within a string ("%7C" is "|").
_AMENDED: Final = (
    '"%" ( "0" / "1" /   "3" / "4" / "5" / "6" / "8"',
    '"%" ( "0" / "1" /   "3" / "4" / "5" / "6" / "7" / "8"',
)
_LITERAL: Final = re.compile(r"'([^']*)'|\"[^\"]*\"|;.*")


def judge_abnf(grammar: Path, filters: Iterable[str]) -> Verdict:
    """Judge raw, percent-encoded filters: each has to be what the grammar calls ``filter``."""
    from abnf.parser import ParseError  # type: ignore[import-not-found,unused-ignore]

    verdict = Verdict("filters against the ABNF of OASIS")
    rule = _rules(grammar).get("filter")
    for raw in filters:
        verdict.tried += 1
        try:
            rule.parse_all(f"$filter={raw}")
        except ParseError:
            verdict.wrong.append(f"{raw} is no filter by the ABNF")
    return verdict


def judge_the_abnf_judge(grammar: Path, cases: Path) -> Verdict:
    """Judge the judge: OASIS' test cases for the rules that filters use are taken or refused as OASIS says."""
    from abnf.parser import ParseError  # type: ignore[import-not-found,unused-ignore]
    from lxml import etree  # type: ignore[import-untyped,unused-ignore]

    verdict = Verdict("the ABNF judge against OASIS' own test cases")
    rules = _rules(grammar)
    root = etree.parse(str(cases)).getroot()
    for case in root.iter("{*}TestCase"):
        name = case.get("Rule")
        if name not in {"filter", "boolCommonExpr", "commonExpr", "primitiveLiteral"}:
            continue
        text = case.findtext("{*}Input") or ""
        verdict.tried += 1
        try:
            rules.get(name).parse_all(text)
            taken = True
        except ParseError:
            taken = False
        if taken is (case.get("FailAt") is not None):
            verdict.wrong.append(f"{case.get('Name')}: {name} {text!r} was {'taken' if taken else 'refused'}")
    return verdict


def _rules(grammar: Path) -> Any:
    from abnf import Rule  # type: ignore[import-not-found,unused-ignore]

    class Grammar(Rule):  # type: ignore[misc,unused-ignore]
        """The rules of OData, apart from those of other grammars in this process."""

    Grammar.load_grammar(_as_rfc_7405(grammar.read_text(encoding="utf-8")), strict=False)
    return Grammar


def _as_rfc_7405(text: str) -> str:
    """Return the grammar without comments and core rules; OASIS quotes with ``'`` what is sensitive to case."""
    before, after = _AMENDED
    lines = []
    for line in text.replace(before, after).splitlines():
        plain = _LITERAL.sub(lambda found: f'%s"{found[1]}"' if found[1] is not None else _kept(found[0]), line)
        if plain.strip() and plain.split()[0] not in _CORE:
            lines.append(plain.rstrip())
    return "\r\n".join(lines) + "\r\n"


def _kept(found: str) -> str:
    return "" if found.startswith(";") else found
