"""Record a tenant's answers in a cassette, replay them without a tenant, and keep secrets out of shared files.

``cassette("first_read", "record")`` records every call in its block to the file of that name. After that,
``cassette("first_read")`` answers the same calls from that file: without a tenant, a secret or a network.
"""

from __future__ import annotations

from sacnb.replay.control import cassette, start, start_for, stop
from sacnb.replay.notebook import NotebookRecording, Pruned, prune, record_notebook
from sacnb.replay.scan import Finding, scan_paths, scan_text
from sacnb.replay.session import ReplaySession, ReplaySummary, active, finished

__all__ = [
    "Finding",
    "NotebookRecording",
    "Pruned",
    "ReplaySession",
    "ReplaySummary",
    "active",
    "cassette",
    "finished",
    "prune",
    "record_notebook",
    "scan_paths",
    "scan_text",
    "start",
    "start_for",
    "stop",
]
