"""From settings to a tenant that can be asked, and nothing asked before it has to be."""

from __future__ import annotations

import json
import logging
import re
import sys
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import pytest

import sacnb
from sacnb._logs import JsonLines
from sacnb._redact import Secret
from sacnb._settings import VARIABLES
from sacnb._tenant import Tenant
from sacnb._tenant.connector import embedded_sandbox, start_sandbox
from sacnb.errors import MissingExtraError, SettingsError
from sacnb.sandbox import Sandbox

ConnectTo = Callable[..., Tenant]


def test_connect_takes_every_variable_as_an_argument() -> None:
    import inspect

    arguments = set(inspect.signature(sacnb.connect).parameters) - {"dotenv_path"}
    assert arguments == {variable.argument for variable in VARIABLES}


def test_the_sandbox_needs_nothing_else_and_is_shared_in_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAC_TENANT_URL", "sandbox")
    with sacnb.connect() as first, sacnb.connect() as second:
        assert first.sandbox is second.sandbox is embedded_sandbox()
        assert "US_EMPLOYMENT" in first.models()["id"].to_list()
        assert repr(first) == "Tenant('sandbox')"


def test_an_empty_environment_says_what_is_missing(monkeypatch: pytest.MonkeyPatch, tmp_path: object) -> None:
    monkeypatch.chdir(str(tmp_path))
    with pytest.raises(SettingsError, match="SAC_TENANT_URL is missing"):
        sacnb.connect()


def test_a_missing_extra_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def start(**_: object) -> None:
        raise ImportError("No module named 'aiohttp'", name="aiohttp")

    monkeypatch.setattr("sacnb.sandbox.start", start)
    with pytest.raises(MissingExtraError, match=r'pip install "sacnb\[sandbox\]"'):
        start_sandbox()


def test_the_token_can_be_seen_and_renewed(sandbox: Sandbox, connect_to: ConnectTo) -> None:
    tenant = connect_to(sandbox)
    status = tenant.authenticate()
    assert str(status).startswith("OK, the token is valid until ")
    assert status.remaining_s == pytest.approx(3600, abs=60)
    assert tenant.authenticate().renewed is False
    assert tenant.renew_token().renewed is True
    assert sandbox.counts["tokens_issued"] == 2


def test_our_log_is_shown_unless_the_program_has_its_own(
    sandbox: Sandbox, connect_to: ConnectTo, monkeypatch: pytest.MonkeyPatch
) -> None:
    logger = logging.getLogger("sacnb")
    monkeypatch.setattr(logging.getLogger(), "handlers", [])
    logger.handlers[:] = [logging.NullHandler()]
    connect_to(sandbox, log="info")
    connect_to(sandbox, log="debug")
    shown = [handler for handler in logger.handlers if not isinstance(handler, logging.NullHandler)]
    assert (len(shown), logger.level) == (1, logging.DEBUG)

    logger.handlers[:] = [logging.NullHandler()]
    monkeypatch.setattr(logging.getLogger(), "handlers", [logging.StreamHandler()])
    connect_to(sandbox)
    assert [type(handler) for handler in logger.handlers] == [logging.NullHandler]


def test_the_log_tells_what_a_job_did_with_time_zone_level_and_logger(
    sandbox: Sandbox, connect_to: ConnectTo, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    logger = logging.getLogger("sacnb")
    monkeypatch.setattr(logging.getLogger(), "handlers", [])
    logger.handlers[:] = [logging.NullHandler()]
    sac = connect_to(sandbox, log="info")
    sandbox.misbehave("error_503", on="facts", times=1)
    sac.model("US_EMPLOYMENT").facts(page_size=500, limit=700).fetch()
    logger.handlers[:] = [logging.NullHandler()]
    lines = capsys.readouterr().err.splitlines()
    at = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[+-]\d\d:\d\d"
    assert all(re.match(rf"{at} INFO sacnb(\.\w+)?: ", line) for line in lines), lines
    told = [line.split(": ", 1)[1] for line in lines if "sacnb.wire" in line or "sacnb.pull" in line]
    assert re.fullmatch(r"pull facts: no good answer \(503\); waiting [\d.]+ s before attempt 2 of \d.", told[0])
    assert re.fullmatch(
        r"US_EMPLOYMENT/FactData: downloaded 700 rows in 2 pages, in [\d.]+ s, [\d.]+ s of them waiting for 1 retry.",
        told[1],
    )


def test_models_are_found_by_text_and_by_index() -> None:
    with sacnb.connect("sandbox") as sac:
        assert sac._ipython_key_completions_() == []
        assert sac.models("us_empl")["id"].to_list() == ["US_EMPLOYMENT"]
        assert "US_EMPLOYMENT" in sac._ipython_key_completions_()
        assert len(sac._ipython_key_completions_()) == sac.models().height
        assert repr(sac["US_EMPLOYMENT"]) == repr(sac.model("US_EMPLOYMENT"))
        with pytest.raises(TypeError):
            list(sac)  # type: ignore[call-overload]


def test_the_log_is_one_json_object_a_line_where_asked_for(
    sandbox: Sandbox, connect_to: ConnectTo, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    logger = logging.getLogger("sacnb")
    monkeypatch.setattr(logging.getLogger(), "handlers", [])
    logger.handlers[:] = [logging.NullHandler()]
    sac = connect_to(sandbox, log="info", log_format="json")
    sandbox.misbehave("error_503", on="facts", times=1)
    sac.model("US_EMPLOYMENT").facts(page_size=500, limit=700).fetch()
    logging.getLogger("sacnb.wire").info("two\nlines \x1b[31m and ü", extra={"pages": 2, "what": Path("a")})
    logger.handlers[:] = [logging.NullHandler()]
    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert all({"time", "level", "logger", "message", "trace_id", "request_id"} <= set(line) for line in lines)
    assert all(datetime.fromisoformat(line["time"]).tzinfo is not None for line in lines)
    retry, done, own = lines[-3:]
    assert retry["message"].startswith("pull facts: no good answer (503)")
    assert re.fullmatch("[0-9a-f]{32}", retry["trace_id"])
    assert done["trace_id"] == retry["trace_id"]
    assert (own["pages"], own["what"], own["level"], own["logger"]) == (2, "a", "info", "sacnb.wire")
    assert "\x1b" not in own["message"]
    assert "ü" in own["message"]


def test_a_traceback_is_part_of_its_json_line_and_holds_no_secret() -> None:
    record = logging.makeLogRecord({"msg": "It failed.", "levelname": "ERROR", "name": "sacnb.wire"})
    kept = Secret("a-long-secret-text")  # planted
    try:
        raise ValueError(f"refused {kept.reveal()}")
    except ValueError:
        record.exc_info = sys.exc_info()
    line = json.loads(JsonLines().format(record))
    assert line["error"].splitlines()[0].startswith("Traceback")
    assert kept.reveal() not in line["error"]
    assert "time" not in json.loads(JsonLines(lambda: True).format(record))
