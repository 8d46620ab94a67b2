"""A program that uses Snowflake's own SDK against an address: it prints a last line of JSON with what it saw.

python sdk.py URL KEY_FILE DATABASE SCHEMA TABLE CHANNEL ROWS_FILE; SSL_CERT_FILE names the authority.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path


def main(*arguments: str) -> None:
    url, key_file, database, schema, table, channel_name, rows_file = arguments
    from snowflake.ingest.streaming import StreamingIngestClient

    properties = {
        "account": "SANDBOX-ACCOUNT",
        "user": "SVC_SAC",
        "url": url,
        "private_key": Path(key_file).read_text(),
        "role": "PUBLIC",
    }
    rows = json.loads(Path(rows_file).read_text())
    started = time.perf_counter()
    client = StreamingIngestClient("sacnb-test", database, schema, f"{table}-STREAMING", properties=properties)
    channel, opened = client.open_channel(channel_name)
    committed = int(opened.latest_committed_offset_token or 0)
    for start in range(committed, len(rows), 50_000):
        part = rows[start : start + 50_000]
        channel.append_rows(part, str(start + 1), str(start + len(part)))
    if rows:
        channel.wait_for_commit(lambda token: token is not None and int(token) >= len(rows), 60)
    last = channel.get_latest_committed_offset_token()
    channel.close()
    client.close()
    print(json.dumps({"from": committed, "last": last, "seconds": time.perf_counter() - started}))


if __name__ == "__main__":
    main(*sys.argv[1:])
