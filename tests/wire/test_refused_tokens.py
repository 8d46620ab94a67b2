"""A token that is refused: by 401, by a challenge, or by a 403 that does not say why."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from sacnb._wire import Answer, DispatchContext
from sacnb.errors import AuthError, DeprecatedTokenWarning, ForbiddenError, RefreshError, RequestError

PATH = "/api/v1/dataexport/things"
TOKENS = "/oauth/token"
BEARER = "Bearer"

Connect = Callable[..., DispatchContext]


def get(context: DispatchContext, path: str = PATH) -> Answer:
    return context.session.fetch("GET", path, operation="read things")


def challenge(text: str) -> dict[str, str]:
    return {"WWW-Authenticate": text}


def accept_only(*bearers: str, otherwise: Any, reply: Any) -> Callable[[Any], Any]:
    return lambda seen: reply() if seen.bearer in bearers else otherwise


@pytest.mark.parametrize("face", ["fetch", "get"])
@pytest.mark.parametrize(
    ("status", "headers"),
    [
        (401, {}),
        (403, {}),
        (401, challenge('Bearer realm="x", error="invalid_token", error_description="expired"')),
        (403, challenge('Bearer error="invalid_token"')),
        (400, challenge('Bearer error="invalid_token", error_description="expired"')),
        (401, challenge(f'Basic realm="x", {BEARER} error=invalid_token')),
    ],
)
def test_a_dead_token_is_renewed_and_the_request_sent_once_more(  # noqa: PLR0917 - the columns of the table
    status: int, headers: dict[str, str], face: str, tenant: Any, reply: Any, connect: Connect
) -> None:
    tenant.answers[PATH] = accept_only("token-2", otherwise=reply(status=status, headers=headers), reply=reply)
    context = connect(tenant)
    assert (get(context).status if face == "fetch" else context.session.get(PATH).status_code) == 200
    assert [seen.bearer for seen in tenant.at(PATH)] == ["token-1", "token-2"]
    assert context.telemetry.summary().retries == {str(status): 1}


def test_a_right_that_is_missing_costs_one_renewal_for_a_token(tenant: Any, reply: Any, connect: Connect) -> None:
    tenant.answers[PATH] = [reply(status=403)]
    context = connect(tenant)
    for _ in range(5):
        with pytest.raises(ForbiddenError):
            get(context)
        assert context.session.get(PATH).status_code == 403
    assert len(tenant.at(TOKENS)) == 2
    context.guard.force()
    with pytest.raises(ForbiddenError):
        get(context)
    assert len(tenant.at(TOKENS)) == 4, "another token may have the right"


def test_many_threads_with_a_dead_token_are_few_renewals(
    tenant: Any, reply: Any, connect: Connect, in_threads: Callable[..., list[Any]]
) -> None:
    tenant.answers[PATH] = lambda seen: reply(status=403) if seen.bearer == "token-1" else reply()
    context = connect(tenant, read_timeout_s=60)
    context.guard.ensure()
    answers = in_threads(16, lambda _: get(context))
    assert all(isinstance(one, Answer) for one in answers), answers
    assert len(tenant.at(TOKENS)) <= 4


@pytest.mark.parametrize("token", ["cached", None])
def test_a_403_stays_one_where_no_other_token_can_be_had(
    token: str | None, tenant: Any, reply: Any, connect: Connect
) -> None:
    context = connect(tenant, max_attempts=1)
    context.guard.ensure()
    tenant.answers[PATH] = [reply(status=403)]
    body = b'{"access_token": "token-1", "expires_in": 600}'
    tenant.answers[TOKENS] = [reply(body=body) if token else reply(status=503)]
    with pytest.raises(ForbiddenError):
        get(context)
    tenant.answers[PATH] = [reply()]
    assert get(context).status == 200, "the token that others use is still there"


def test_a_pasted_token_is_not_renewed_for_a_403(tenant: Any, reply: Any, connect: Connect) -> None:
    tenant.answers[PATH] = [reply(status=403)]
    with pytest.warns(DeprecatedTokenWarning):
        context = connect(tenant, auth="static", token="pasted", client_id=None, client_secret=None)
    with pytest.raises(ForbiddenError):
        get(context)
    assert len(tenant.at(PATH)) == 1


@pytest.mark.parametrize(
    ("status", "text", "error_class", "said", "sent"),
    [
        (401, 'Bearer error="invalid_token", error_description="It has expired"', AuthError, "It has expired", 2),
        (403, 'Bearer error="insufficient_scope", scope="a b"', ForbiddenError, "(scope a b)", 1),
        (400, 'Bearer error="invalid_request", error_description="malformed"', RequestError, "malformed", 1),
        (403, 'Bearer error="invalid_token", error_description="gone"', ForbiddenError, "gone", 2),
        (401, 'bearer   error = "x\\"y" , error_description="a\x1b[31mb"', AuthError, 'x"y: a [31mb', 2),
    ],
)
def test_a_challenge_is_quoted(  # noqa: PLR0917 - the columns of the table
    status: int, text: str, error_class: Any, said: str, sent: int, tenant: Any, reply: Any, connect: Connect
) -> None:
    tenant.answers[PATH] = [reply(status=status, headers=challenge(text), body=b"")]
    with pytest.raises(error_class) as caught:
        get(connect(tenant))
    assert type(caught.value) is error_class
    assert said in str(caught.value)
    assert len(tenant.at(PATH)) == sent


def test_a_renewal_that_fails_after_a_401_is_a_refresh_error(tenant: Any, reply: Any, connect: Connect) -> None:
    context = connect(tenant, max_attempts=1)
    context.guard.ensure()
    tenant.answers[PATH] = [reply(status=401)]
    tenant.answers[TOKENS] = [reply(status=503)]
    with pytest.raises(RefreshError):
        get(context)
