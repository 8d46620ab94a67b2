"""Every envelope in which servers say that something went wrong."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sacnb._wire.failures import Problem, error_for, is_transient, read_problem
from sacnb.errors import ForbiddenError, RequestError, ServerError

SAMPLES = Path(__file__).parents[1] / "samples"


@pytest.mark.parametrize(
    ("documentation", "body", "content_type", "code", "message", "number"),
    [
        ("OData", '{"error":{"code":"c1","message":"No key [1402]"}}', None, "c1", "No key [1402]", 1402),
        ("OData with a language", '{"error":{"code":"c1","message":{"lang":"en","value":"No set [3707]"}}}', None,
         "c1", "No set [3707]", 3707),
        ("OData with only a code", '{"error":{"code":"c1"}}', None, "c1", "c1", None),
        ("OData with nothing", '{"error":{}}', None, None, '{"error":{}}', None),
        ("with a full stop", '{"error":{"message":"Bad [3401]."}}', None, None, "Bad [3401].", 3401),
        ("a number elsewhere is not SAC's", '{"error":{"message":"[12] apples [34]"}}', None, None,
         "[12] apples [34]", None),
        ("SCIM", '{"detail":"No user","status":404}', None, "404", "No user", None),
        ("OAuth", '{"error":"invalid_client","error_description":"Bad credentials"}', None, "invalid_client",
         "invalid_client: Bad credentials", None),
        ("OAuth with only a name", '{"error":"invalid_client"}', None, "invalid_client", "invalid_client", None),
        ("RFC 9457", '{"title":"Too much","status":413}', None, "413", "Too much", None),
        ("a gateway", '{"fault":{"faultstring":"Quota violation"}}', None, None, "Quota violation", None),
        ("Spring", '{"message":"Not Found","code":7}', None, "7", "Not Found", None),
        ("multi-actions", '{"messages":[{"code":596000996,"message":"first"},{"message":"second"}]}', None, "596000996",
         "first; second", None),
        ("messages that say nothing", '{"messages":[{"code":1}],"message":"Not Found"}', None, None, "Not Found", None),
        ("a list of errors", '[{"error":{"message":"first"}},{"error":{"message":"second"}}]', None, None, "first",
         None),
        ("an empty list", "[]", None, None, "[]", None),
        ("JSON without an envelope", '{"a":1}', None, None, '{"a":1}', None),
        ("a number where a message should be", '{"message": true}', None, None, '{"message": true}', None),
        ("JSON cut short", '{"error":{"mess', None, None, '{"error":{"mess', None),
        ("JSON with a byte order mark", '\ufeff {"detail":"x"}', None, None, "x", None),
        ("a web page", "<html><head><title>502 &amp; Bad\nGateway</title></head><body>x</body></html>", "text/html",
         None, "502 & Bad Gateway", None),
        ("a web page without a title", "<div><b>Oh</b> no</div>", None, None, "Oh no", None),
        ("a web page that begins with text", "Oops <br>", "text/html", None, "Oops", None),
        ("plain text", "  Service\n unavailable \x00", "text/plain", None, "Service unavailable", None),
        ("nothing", "", None, None, "", None),
        ("a secret", '{"error":{"message":"token=canary-1234 is bad"}}', None, None, "token=*** is bad", None),
    ],
)  # fmt: skip
def test_envelopes(  # noqa: PLR0917 - the columns of the table
    documentation: str, body: str, content_type: str | None, code: str | None, message: str, number: int | None
) -> None:
    assert read_problem(body.encode(), content_type) == Problem(code, message, number), documentation


def test_the_published_sample_of_the_token_service() -> None:
    problem = read_problem((SAMPLES / "oauth_error_invalid_client.json").read_bytes())
    assert problem.code == "invalid_client"


@given(st.binary(), st.sampled_from([None, "text/html", "application/json"]))
def test_any_body_is_a_short_line(body: bytes, content_type: str | None) -> None:
    problem = read_problem(body, content_type)
    assert len(problem.message) <= 500
    assert problem.message.isprintable()


def test_deep_json_is_not_a_crash() -> None:
    assert len(read_problem(b"[" * 60_000).message) == 500


@pytest.mark.parametrize(
    ("status", "expected"),
    [(408, True), (500, True), (503, True), (599, True), (501, False), (505, False), (429, False)],
)
def test_transient_statuses(status: int, expected: bool) -> None:
    assert is_transient(status) is expected


@pytest.mark.parametrize(
    ("message", "sentence"), [("", "9."), ("Really?", "Really?"), ("So.", "So."), ("Cut…", "Cut…"), ("x", "x.")]
)
def test_errors_are_sentences(message: str, sentence: str) -> None:
    error = error_for(499, Problem(None, message, None), method="GET", url="u", request_id=None, operation="op")
    assert type(error) is RequestError
    assert error.message.endswith(sentence)


def test_an_unknown_number_falls_back_to_the_hint_of_the_status() -> None:
    def made(number: int | None) -> Any:
        return error_for(503, Problem(None, "m", number), method="GET", url="u", request_id="r", operation="op")

    assert isinstance(made(9999), ServerError)
    assert made(9999).hint == made(None).hint is not None
    assert made(9999).sac_number == 9999


def test_a_403_names_what_matters_to_a_technical_user_first() -> None:
    error = error_for(403, Problem(None, "no", None), method="GET", url="u", request_id=None, operation="op")
    hint = str(error.hint)
    assert hint.index("'Access'") < hint.index("'Restricted Export'") < hint.index("named user")


@pytest.mark.parametrize(("status", "number"), [(400, None), (400, 3401), (403, 3401), (403, None)])
def test_a_client_that_is_not_allowed_is_told_so_whatever_the_status(status: int, number: int | None) -> None:
    message = "OAuth Client is not allowed to interact with API" + (f" [{number}]" if number else "")
    error = error_for(status, Problem(None, message, number), method="GET", url="u", request_id=None, operation="op")
    assert type(error) is ForbiddenError
    assert "App Integration" in str(error)
    assert (error.status, error.sac_number) == (status, number)
