"""``$metadata`` documents that SAP CAP writes, from seeded models in its own language."""

from __future__ import annotations

import json
import random
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from .inputs import Inputs

_SCRIPT: Final = Path(__file__).with_name("cap_compile.cjs")
_TYPES: Final = (
    "UUID", "Boolean", "Integer", "UInt8", "Int16", "Int32", "Int64", "Decimal", "Decimal(15, 4)", "Decimal(31, 7)",
    "Decimal(5)", "Double", "Date", "Time", "DateTime", "Timestamp", "String", "String(6)", "String(256)", "Binary",
    "Binary(16)", "LargeString", "LargeBinary", "Code", "Money", "Address", "Status", "many String", "hana.SMALLINT",
    "hana.REAL", "hana.ST_POINT",
)  # fmt: skip
_FORMATS: Final = ("structured", "flat")
_TIMEOUT_S: Final = 120


def cap_documents(inputs: Inputs, *, seed: int, count: int) -> Iterator[tuple[str, bytes]]:
    """Yield documents, each with the model that it was made of as its name."""
    assert inputs.node is not None
    random_ = random.Random(seed)
    models = [_model(random_) for _ in range(count)]
    lines = "".join(json.dumps({"model": model, "format": random_.choice(_FORMATS)}) + "\n" for model in models)
    answers = subprocess.run(
        [inputs.node, "--no-warnings", str(_SCRIPT), str(inputs.node_modules / "@sap" / "cds")],
        input=lines,
        capture_output=True,
        text=True,
        encoding="utf-8",
        check=True,
        timeout=_TIMEOUT_S,
    ).stdout.splitlines()
    for model, answer in zip(models, map(json.loads, answers), strict=True):
        yield model, answer.encode()


def _model(random_: random.Random) -> str:
    """Return a service with facts and members, in CDS."""
    entities = []
    for name in random_.sample(["FactData", "MasterData", "SectorMaster", "Sector", "Texts"], random_.randint(1, 3)):
        names = random_.sample(
            ["Version", "Date", "Sector", "Amount", "Price", "Note", "Größe", "Day", "Flag", "x_1"], 7
        )
        keys = "; ".join(f"key {one} : {random_.choice(['String(256)', 'Integer', 'UUID'])}" for one in names[:2])
        rest = "; ".join(_element(random_, one) for one in names[2:])
        base = random_.choice(["", " : managed"])
        link = f"; up : Association to {name}; parts : Composition of many {{ key n : Integer; q : Integer }}"
        entities.append(f"entity ![{name}]{base} {{ {keys}; {rest}{random_.choice(['', link])} }}")
    return (
        "type Code : String(10) @title : 'Code of <all>'; type Money : Decimal(23, 2);"
        " type Address { street : String; city : String(40); }; type Status : String enum { open; closed; };"
        " aspect managed { createdAt : Timestamp @title : 'Created On'; modifiedBy : String(255); }"
        f" service sac {{ {'; '.join(entities)}; }}"
    )


def _element(random_: random.Random, name: str) -> str:
    title = random_.choice(
        ["", "", " @title : 'Größe & more'", " @Common.Label : 'A \"label\"'", " @readonly", " not null"]
    )
    return f"![{name}] : {random_.choice(_TYPES)}{title}"
