"""``make judges``: try sacnb against grammars, parsers, evaluators and a server of others; see docs/judges.md."""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Final

import sacnb

from .abnf_judge import judge_abnf, judge_the_abnf_judge
from .cap_documents import cap_documents
from .cap_parser import judge_cap_parser
from .cap_tenant import judge_tenant
from .inputs import FOLDER, Inputs, gather, importable
from .metadata_judge import judge_generated, judge_the_lxml_judge, judge_with_lxml, metadata_below
from .rows import TYPES
from .sandboxed import judge_filters, judge_scans, judge_sql, judged, judged_rows, written_filters
from .verdict import Verdict

_JUDGES: Final = ("filters", "grammar", "scans", "sql", "metadata", "tenant")


def main() -> int:
    """Run the judges; return 1 where one found something wrong, or, if required, where an input could not be had."""
    parser = argparse.ArgumentParser(prog="make judges", description=__doc__)
    parser.add_argument("--only", nargs="+", choices=_JUDGES, default=_JUDGES, help="some of the judges")
    parser.add_argument("--seed", type=int, default=1, help="another seed gives other conditions (default: 1)")
    parser.add_argument("--count", type=int, default=2000, help="conditions for each judge (default: 2000)")
    parser.add_argument("--documents", type=Path, metavar="FOLDER", help="judge $metadata documents of your own too")
    given = parser.parse_args()
    warnings.simplefilter("ignore", sacnb.errors.PrecisionWarning)
    inputs = gather()
    verdicts: list[Verdict] = []
    missing = list(inputs.missing)

    def run(judge: Callable[[], Verdict]) -> None:
        began = time.monotonic()
        verdicts.append(judge())
        print(f"{verdicts[-1]} ({time.monotonic() - began:.0f} s)", flush=True)

    with tempfile.TemporaryDirectory() as folder:
        _judge_questions(given, inputs, Path(folder), run, missing)
    print()
    for one in missing:
        print(f"NOT JUDGED: {one}")
    wrong = sum(len(verdict.wrong) for verdict in verdicts)
    tried = sum(verdict.tried for verdict in verdicts)
    print(f"{len(verdicts)} judges tried {tried:,}: {wrong:,} wrong, {len(missing)} inputs could not be had.")
    return 1 if wrong or (missing and os.environ.get("SACNB_JUDGES") == "required") else 0


def _judge_questions(
    given: argparse.Namespace,
    inputs: Inputs,
    folder: Path,
    run: Callable[[Callable[[], Verdict]], None],
    missing: list[str],
) -> None:
    rows = judged_rows(given.seed)
    seed, count = given.seed, given.count
    with judged(rows, folder / "cache") as tenant:
        if "filters" in given.only:
            run(lambda: judge_filters(tenant, rows, seed=seed, count=count))
        if "scans" in given.only:
            run(lambda: judge_scans(tenant, rows, seed=seed, count=count))
        if "sql" in given.only:
            run(lambda: judge_sql(tenant, rows, seed=seed, count=count))
        if "grammar" in given.only:
            _judge_grammar(given, inputs, run, missing, tenant)
    if "metadata" in given.only:
        _judge_metadata(given, inputs, run, missing)
    if "tenant" in given.only:
        if inputs.has("@sap/cds") and inputs.has("@cap-js/sqlite"):
            run(lambda: judge_tenant(inputs, folder, seed=seed, count=count // 40))
        else:
            missing.append("SAP CAP as a tenant: it needs Node 22 and npm's @sap/cds and @cap-js/sqlite")


def _judge_metadata(
    given: argparse.Namespace, inputs: Inputs, run: Callable[[Callable[[], Verdict]], None], missing: list[str]
) -> None:
    run(lambda: judge_generated(seed=given.seed, count=given.count))
    if not importable("lxml"):
        missing.append("$metadata against a reading with lxml: it needs lxml")
        return
    run(lambda: judge_the_lxml_judge(seed=given.seed, count=given.count // 2))
    if inputs.has("@sap/cds"):
        run(lambda: judge_with_lxml("written by SAP CAP", cap_documents(inputs, seed=given.seed, count=100)))
    else:
        missing.append("$metadata that SAP CAP writes: it needs Node 22 and npm's @sap/cds")
    shipped = list(metadata_below(FOLDER))
    if shipped:
        run(lambda: judge_with_lxml("in the packages of PyPI and npm", shipped))
    else:
        missing.append("$metadata in the packages of PyPI and npm: none of those fetched ships a document")
    if given.documents is not None:
        run(lambda: judge_with_lxml("in your folder", metadata_below(given.documents)))
    else:
        print("    (more documents: python -m judges --only metadata --documents FOLDER)")


def _judge_grammar(
    given: argparse.Namespace,
    inputs: Inputs,
    run: Callable[[Callable[[], Verdict]], None],
    missing: list[str],
    tenant: sacnb.Tenant,
) -> None:
    filters = written_filters(tenant, seed=given.seed, count=2 * given.count)
    shipped = inputs.node_modules / "odata-v4-parser"
    grammar, cases = shipped / "odata-v4.abnf", shipped / "test" / "odata-abnf-testcases.xml"
    if importable("abnf") and importable("lxml") and grammar.exists():
        run(lambda: judge_the_abnf_judge(grammar, cases))
        run(lambda: judge_abnf(grammar, [raw for raw, _ in filters]))
    else:
        missing.append("filters against the ABNF of OASIS: it needs abnf, lxml and npm's odata-v4-parser")
    if inputs.has("@sap/cds"):
        run(lambda: judge_cap_parser(inputs, filters, TYPES))
    else:
        missing.append("filters against SAP CAP's parser: it needs Node 22 and npm's @sap/cds")


if __name__ == "__main__":
    sys.exit(main())
