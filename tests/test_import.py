"""The public face is short and sorted, and importing it is light."""

from __future__ import annotations

import subprocess
import sys

import pytest

import sacnb

HEAVY = [
    "pandas",
    "polars",
    "pyarrow",
    "numpy",
    "IPython",
    "ipywidgets",
    "click",
    "rich",
    "altair",
    "requests",
    "aiohttp",
]


def loaded_by(program: str) -> set[str]:
    """The modules that are loaded after a program ran in a Python of its own."""
    report = "\nimport sys; print('\\n' + ' '.join(sys.modules))"
    done = subprocess.run([sys.executable, "-c", program + report], capture_output=True, text=True, check=True)
    return set(done.stdout.splitlines()[-1].split())


def test_importing_sacnb_and_catching_its_errors_loads_nothing_heavy() -> None:
    assert loaded_by("import sacnb\ntry: 1/1\nexcept sacnb.SacError: pass").isdisjoint(HEAVY)


def test_the_check_would_notice_a_heavy_import() -> None:
    assert "polars" in loaded_by("import sacnb; sacnb.Result")


def test_connecting_to_a_tenant_loads_no_optional_part() -> None:
    program = (
        "import sacnb\n"
        "sacnb.connect('https://acme.eu10.hcs.cloud.sap', client_id='sb-example', client_secret='example')"
    )
    assert loaded_by(program).isdisjoint({"pandas", "IPython", "ipywidgets", "altair", "aiohttp"})


def test_reading_facts_loads_no_pandas() -> None:
    """Not to add up a page with missing values, and not to filter on text in the sandbox.

    The import takes seconds on a busy machine, and a download does not see the stop button meanwhile.
    """
    program = """
import tempfile, pyarrow as pa, pyarrow.json as json, sacnb
from sacnb._pull.duplicates import limbs_of
schema = pa.schema([("Amount", pa.decimal128(31, 7)), ("Count", pa.int32())])
options = json.ParseOptions(explicit_schema=schema)
rows = b'{"Amount":1.5,"Count":7}\\n{"Amount":null,"Count":null}'
page = json.read_json(pa.BufferReader(rows), parse_options=options)
for column in page.columns:
    assert limbs_of(column.combine_chunks())[:, 0].tolist()[1] == 0
with tempfile.TemporaryDirectory() as folder, sacnb.connect('sandbox', cache_dir=folder) as sac:
    sac.model('PLANNING').facts(where={'Region': 'JP'}).fetch()
"""
    assert "pandas" not in loaded_by(program)


def test_the_public_face_is_exactly_this() -> None:
    assert sacnb.__all__ == [
        "BatchStream",
        "Chart",
        "ConnectSpec",
        "DateColumn",
        "Facts",
        "MemberPath",
        "Model",
        "MultiAction",
        "ParquetFolder",
        "Result",
        "Run",
        "SacError",
        "Schema",
        "Slice",
        "Tenant",
        "TidyFrame",
        "Track",
        "Variance",
        "WriteReport",
        "__version__",
        "col",
        "connect",
        "read_slice",
        "under",
    ]
    assert sacnb.__all__ == sorted(sacnb.__all__)


def test_every_public_name_is_there_and_listed() -> None:
    for name in sacnb.__all__:
        assert getattr(sacnb, name) is not None
    assert set(sacnb.__all__) <= set(dir(sacnb))
    # What Tab offers: no names that the module itself uses.
    assert not {"Any", "TYPE_CHECKING", "annotations", "importlib", "logging", "register"} & set(dir(sacnb))
    assert "errors" in dir(sacnb)


def test_a_name_that_is_not_there_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'refresh'"):
        _ = sacnb.refresh


def test_star_import_gives_the_public_face() -> None:
    names: dict[str, object] = {}
    exec("from sacnb import *", names)
    assert set(names) - {"__builtins__"} == set(sacnb.__all__)


def test_a_working_folder_that_is_gone_is_named() -> None:
    program = (
        "import os, tempfile\nfolder = tempfile.mkdtemp(); os.chdir(folder); os.rmdir(folder)\nimport sacnb\n"
        "try: sacnb.connect('sandbox'); print('connected')\nexcept sacnb.SacError as error: print(error)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert "working folder does not exist any more" in done.stdout or done.stdout == "connected\n"
