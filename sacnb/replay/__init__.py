"""Cassettes and what must never be in them: the scan for leaked secrets."""

from __future__ import annotations

from sacnb.replay.scan import Finding, scan_paths, scan_text

__all__ = ["Finding", "scan_paths", "scan_text"]
