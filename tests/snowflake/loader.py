"""A program that loads SCALE into Snowflake, to be killed; its last line is JSON. Settings come from the environment.

python loader.py CACHE_DIR CHANNELS APPEND_BYTES
"""

from __future__ import annotations

import json
import sys
from pathlib import Path


def main(cache_dir: str, channels: str, append_bytes: str) -> None:
    import sacnb
    from sacnb.snowflake import Channel
    from sacnb.snowflake.chunks import Chunker

    (Chunker.__init__.__kwdefaults__ or {})["target_bytes"] = int(append_bytes)
    (Channel.__init__.__kwdefaults__ or {})["commit_timeout_s"] = 10.0
    with sacnb.connect(cache_dir=cache_dir) as tenant:
        facts = tenant.model("SCALE").facts(page_size=20_000)
        done = facts.to_snowflake("scale", channel="kills", channels=int(channels), progress=None)
    # ru_maxrss may still be that of the process that started this one.
    status = Path("/proc/self/status").read_text(encoding="ascii")
    peak_mb = int(status.partition("VmHWM:")[2].split()[0]) / 1000
    print(json.dumps({"rows": done.rows, "resumed": done.resumed_rows, "peak_mb": peak_mb}))


if __name__ == "__main__":
    main(*sys.argv[1:])
