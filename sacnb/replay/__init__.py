"""Cassettes: record what a tenant answers, replay it without one, and keep secrets out of what is shared.

``cassette("first_read", "record")`` records every call in its block into the file of that name, and
``cassette("first_read")`` answers them out of it again: without a tenant, without a secret, without a network.
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
