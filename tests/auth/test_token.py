"""The envelope: whose clock counts, how long a token lives, and that nobody sees it."""

from __future__ import annotations

import logging
import math
import pickle
import traceback
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sacnb._auth.token import TokenEnvelope, WarnOnce, clamp_chosen_lifetime_s, envelope_from_reply
from sacnb._settings import Secret
from sacnb.errors import RefreshError

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
CANARY = "canary-token-5f2a"


def envelope(expires_in: Any = 3600, **options: Any) -> TokenEnvelope:
    options.setdefault("now", NOW)
    options.setdefault("warn_once", WarnOnce())
    reply = {"access_token": CANARY, "token_type": "Bearer", "expires_in": expires_in, **options.pop("extra", {})}
    if expires_in is ...:
        del reply["expires_in"]
    return envelope_from_reply(reply, **options)


@pytest.mark.parametrize(
    ("documentation", "expires_in", "configured_s", "lifetime_s", "was_clamped"),
    [
        ("an hour, as SAC says it", 3599, 3600, 3599, False),
        ("exactly the cap", 3600, 3600, 3600, False),
        ("twelve hours are capped", 43199, 3600, 3600, True),
        ("ten seconds are kept: a dead token must not be sent on purpose", 10, 3600, 10, False),
        ("a text", "3600", 3600, 3600, False),
        ("a text with a fraction and blanks", " 1800.5 ", 3600, 1800.5, False),
        ("zero says nothing", 0, 1200, 1200, False),
        ("a negative says nothing", -5, 1200, 1200, False),
        ("missing says nothing", ..., 1200, 1200, False),
        ("null says nothing", None, 1200, 1200, False),
        ("not a number says nothing", "soon", 1200, 1200, False),
        ("true is not a number", True, 1200, 1200, False),
        ("NaN says nothing", math.nan, 1200, 1200, False),
        ("infinity says nothing", "inf", 1200, 1200, False),
        ("a number beyond floats says nothing", 10**400, 1200, 1200, False),
        ("a list says nothing", [3600], 1200, 1200, False),
        ("the configured lifetime is clamped upwards", None, 5, 30, True),
        ("the configured lifetime is clamped downwards", None, 86400, 3600, True),
        ("the configured lifetime is not used when the server speaks", 600, 5, 600, False),
    ],
)
def test_the_lifetime(
    documentation: str, expires_in: Any, configured_s: float, lifetime_s: float, was_clamped: bool
) -> None:
    token = envelope(expires_in, assumed_lifetime_s=configured_s)
    assert token.lifetime_s == lifetime_s, documentation
    assert token.was_clamped is was_clamped, documentation


@given(st.one_of(st.floats(), st.integers(), st.text(), st.none(), st.booleans()), st.floats(), st.floats(-1e9, 1e9))
def test_a_lifetime_is_always_positive_and_at_most_an_hour(expires_in: Any, assumed_s: float, skew_s: float) -> None:
    token = envelope(expires_in, assumed_lifetime_s=assumed_s, server_date=NOW + timedelta(seconds=skew_s))
    assert 0 <= token.lifetime_s <= 3600
    assert not token.is_expired(NOW) or token.lifetime_s < 1e-6  # less than a clock can tell
    assert token.remaining_s(NOW) == pytest.approx(token.lifetime_s, abs=1e-6)


@given(st.floats())
def test_a_chosen_lifetime_is_within_thirty_seconds_and_an_hour(seconds: float) -> None:
    effective = clamp_chosen_lifetime_s(seconds, setting="X", warn_once=WarnOnce())
    assert 30 <= effective <= 3600
    if 30 <= seconds <= 3600:
        assert effective == seconds


@pytest.mark.parametrize(
    ("expires_in", "configured_s", "words"),
    [
        (None, 5.0, ("SAC_TOKEN_LIFETIME_S", "5", "30")),
        (None, 7200.0, ("SAC_TOKEN_LIFETIME_S", "7200", "3600")),
        (43199, 3600.0, ("43199", "3600")),
        (10, 3600.0, ("10", "30")),
    ],
)
def test_clamping_warns_once_and_names_both_values(
    expires_in: int | None, configured_s: float, words: tuple[str, ...], caplog: pytest.LogCaptureFixture
) -> None:
    warn_once = WarnOnce()
    for _ in range(3):
        envelope(expires_in, assumed_lifetime_s=configured_s, warn_once=warn_once)
    warnings = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert len(warnings) == 1
    assert all(word in warnings[0].getMessage() for word in words)


def test_an_ordinary_lifetime_is_not_warned_about(caplog: pytest.LogCaptureFixture) -> None:
    envelope(3599)
    envelope(None)
    assert not caplog.records


@pytest.mark.parametrize(
    ("documentation", "skew_s", "shifted"),
    [
        ("the same time", 0, False),
        ("as far as is ignored, ahead", 30, False),
        ("as far as is ignored, behind", -30, False),
        ("the server is ahead", 31, True),
        ("the server is behind", -31, True),
        ("this machine is an hour and more ahead", -4000, True),
        ("this machine is a day behind", 86400, True),
    ],
)
def test_a_skewed_date_shifts_the_envelope_and_not_its_age(documentation: str, skew_s: float, shifted: bool) -> None:
    token = envelope(3600, server_date=NOW + timedelta(seconds=skew_s))
    shift = timedelta(seconds=skew_s if shifted else 0)
    assert token.issued_at == NOW + shift, documentation
    assert token.expires_at == NOW + shift + timedelta(seconds=3600), documentation
    # Whatever the two clocks say, the token is as old as it is: neither dead on arrival nor immortal.
    assert token.remaining_s(NOW) == 3600, documentation
    assert not token.is_expired(NOW + timedelta(seconds=3599))
    assert token.is_expired(NOW + timedelta(seconds=3600))


def test_the_allowed_skew_can_be_chosen() -> None:
    date = NOW + timedelta(seconds=60)
    assert envelope(server_date=date, max_skew_s=61).issued_at == NOW
    assert envelope(server_date=date, max_skew_s=59).issued_at == date


def test_remaining_is_never_negative() -> None:
    token = envelope(10)
    assert token.remaining(NOW + timedelta(days=3)) == timedelta(0)
    assert token.remaining_s(NOW + timedelta(days=3)) == 0.0


@pytest.mark.parametrize(
    "extra",
    [
        {"access_token": None},
        {"access_token": ""},
        {"access_token": 12},
        {"access_token": f"{CANARY}\r\nX-Injected: 1"},
        {"access_token": f"{CANARY} {CANARY}"},
        {"access_token": f"{CANARY}\u2028"},
        {"token_type": "mac"},
    ],
)
def test_a_reply_without_a_usable_token_is_refused_without_quoting_it(extra: dict[str, Any]) -> None:
    with pytest.raises(RefreshError) as caught:
        envelope(extra=extra)
    assert caught.value.error_code == "non_retriable"
    assert CANARY not in str(caught.value)


@pytest.mark.parametrize("token_type", ["Bearer", "bearer", "BEARER", None])
def test_the_token_type_is_read_tolerantly(token_type: str | None) -> None:
    assert envelope(extra={"token_type": token_type}).value.reveal() == CANARY


def test_the_scope_is_kept() -> None:
    assert envelope(extra={"scope": "uaa.resource"}).scope == "uaa.resource"
    assert envelope(extra={"scope": ["a"]}).scope is None


def test_the_value_is_never_shown(caplog: pytest.LogCaptureFixture) -> None:
    token = TokenEnvelope(Secret(CANARY), NOW, NOW + timedelta(hours=1))
    caplog.set_level(logging.DEBUG)
    logging.getLogger("x").debug("%s %r", token, token)
    try:
        raise RuntimeError(f"{token}")
    except RuntimeError as error:
        text = "".join(traceback.TracebackException.from_exception(error, capture_locals=True).format())
    assert "token = TokenEnvelope(" in text  # it is among the locals
    for shown in (repr(token), str(token), f"{token}", caplog.text, text):
        assert CANARY not in shown
    with pytest.raises(TypeError, match="pickled"):
        pickle.dumps(token)
