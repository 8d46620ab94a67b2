"""What else there is: the loop that everybody writes, SAP's sample client, python-odata, and dlt."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from benchmarks.server import PAGE_ROWS, Target, bearer
from benchmarks.worker import Run

_LINK = "@odata.nextLink"


def loop(target: Target, _: Path) -> Run:
    """requests, json and a pandas frame for each page, joined at the end."""
    import pandas as pd

    session = bearer(target)

    def run() -> dict[str, Any]:
        frames = []
        url: str | None = target.facts_url
        while url is not None:
            page = session.get(url, timeout=60).json()
            frames.append(pd.DataFrame(page["value"]))
            url = page.get(_LINK)
        return {"rows": len(pd.concat(frames, ignore_index=True))}

    return run


def sacapi(target: Target, _: Path) -> Run:
    """SAP's sample client: a list of one dictionary for each row."""
    rows = _sacapi(target)
    return lambda: {"rows": len(rows())}


def sacapi_frame(target: Target, _: Path) -> Run:
    """As above, and a pandas frame of that list, which is what people do next."""
    import pandas as pd

    rows = _sacapi(target)
    return lambda: {"rows": len(pd.DataFrame(rows()))}


def _sacapi(target: Target) -> Callable[[], list[dict[str, Any]]]:
    os.environ["OAUTHLIB_INSECURE_TRANSPORT"] = "1"
    from sacapi.sacapi import ModelMetadata, SACConnection

    # It builds https URLs from a tenant's name, so these are pointed at the sandbox.
    connection = SACConnection("tenant", "eu10")
    for name, url in vars(connection).items():
        if name.startswith("url"):
            setattr(connection, name, url.replace("https://tenant.eu10.hcs.cloud.sap", target.tenant_url))
    connection.urlAccessToken = target.token_url
    connection.connect(target.client_id, target.client_secret)
    # Its metadata call asks for the members of every column, a hundred thousand customers among them: not counted.
    connection.addFilterProvider(target.model)
    metadata = ModelMetadata(target.model)
    return lambda: connection.getFactData(metadata, PAGE_ROWS)


def python_odata(target: Target, _: Path) -> Run:
    """python-odata: an object for each row, of a class made from ``$metadata``."""
    from odata.service import ODataService

    root = target.facts_url.partition("FactData")[0]
    service = ODataService(root, session=bearer(target), reflect_entities=True, quiet_progress=True)
    entity = service.entities["FactData"]
    entity.__odata_url__ = classmethod(lambda _: target.facts_url)  # it has no way to ask for the size of a page
    return lambda: {"rows": len(service.query(entity).all())}


def dlt(target: Target, folder: Path) -> Run:
    """The REST source of dlt, normalized and loaded into Parquet files."""
    os.environ["DLT_DATA_DIR"] = str(folder / "dlt")
    os.environ["RUNTIME__DLTHUB_TELEMETRY"] = "false"
    import dlt as tool
    from dlt.sources.rest_api import rest_api_source

    authorization = bearer(target).headers["Authorization"]
    parts = urlsplit(target.facts_url)
    base, _, path = target.facts_url.partition(f"/{target.model}/")
    source = rest_api_source(
        {
            "client": {
                "base_url": f"{base}/{target.model}/",
                "headers": {"Authorization": authorization, "x-sap-sac-custom-auth": "true"},
                "paginator": {"type": "json_link", "next_url_path": "['@odata.nextLink']"},
            },
            "resources": [
                {
                    "name": "facts",
                    "endpoint": {
                        "path": path.partition("?")[0],
                        "params": dict([parts.query.split("=")]),
                        "data_selector": "value",
                    },
                }
            ],
        }
    )
    pipeline = tool.pipeline(
        f"bench_{target.model.lower()}",
        destination=tool.destinations.filesystem(bucket_url=(folder / "out").as_uri()),
        dataset_name="rows",
        pipelines_dir=str(folder / "pipelines"),
    )

    def run() -> dict[str, Any]:
        import pyarrow.parquet as pq

        pipeline.run(source, loader_file_format="parquet")
        files = list((folder / "out" / "rows" / "facts").glob("*.parquet"))
        return {"rows": sum(pq.read_metadata(file).num_rows for file in files)}

    return run
