"""A named user logs in with a real browser: at a real OpenID provider, and from a notebook."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import openid

from sacnb._auth.guard import TokenGuard
from sacnb._auth.named_user import AuthorizationCode
from sacnb._auth.named_user_flow import log_in
from sacnb.sandbox import Sandbox

LOGIN = """
import os

os.environ |= {"SAC_AUTH": "authorization_code", "SAC_REDIRECT_URI": "http://127.0.0.1:0/", "SAC_LOG": "debug"}
os.environ["BROWSER"] = "true %s &"  # one that opens nothing: the link is clicked
%load_ext sacnb
%sac login
"""


def test_a_login_at_a_real_provider(browser: Any, expect: Any) -> None:
    page = browser.new_page()
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))

    def browse(link: str) -> None:
        page.goto(link)
        page.get_by_placeholder("sub").fill("bob@acme.example")
        page.get_by_role("button", name="Authorize", exact=True).click()
        expect(page.get_by_text("You can close this tab.")).to_be_visible()

    with openid.provider() as provider:
        source = AuthorizationCode(
            f"{provider}/oauth2/token", "client", redirect_uri="http://127.0.0.1:0/back", scope="openid email"
        )
        guard = TokenGuard(source)
        log_in(guard, to="x", keep=False, paste=None, timeout_s=90, show=str, find=lambda: browse)
        assert source.who.user == "bob@acme.example"
        assert guard.ensure().attempts == 0
    assert page.title() == "sacnb"
    assert errors == []
    assert [url for url in asked if "code_challenge_method=S256" in url]
    page.close()


def test_a_login_from_a_notebook(open_notebook: Callable[..., Any], tenant: Sandbox, expect: Any) -> None:
    notebook = open_notebook([LOGIN, "%sac models"])
    page = notebook.page
    page.get_by_role("menuitem", name="Run", exact=True).click()
    page.get_by_role("menuitem", name="Run All Cells", exact=True).click()
    with page.expect_popup() as opened:
        page.get_by_role("link", name="Log in with the browser").click()
    form = opened.value
    form.get_by_label("User").fill("planner")
    form.get_by_label("Password").fill("planner")
    form.get_by_role("button", name="Log in", exact=True).click()
    expect(form.get_by_text("You can close this tab.")).to_be_visible()
    assert form.evaluate("window.opener") is None
    code = form.url.partition("code=")[2].partition("&")[0]
    form.close()
    expect(page.get_by_text("planner@sandbox.invalid")).to_be_visible()
    expect(page.get_by_text("US_EMPLOYMENT").first).to_be_visible()
    expect(page.get_by_role("link", name="Log in with the browser")).to_have_count(0)
    notebook.save()
    assert code.startswith("sandbox-code.")
    # CANARIES are looked for when the notebook is closed; these are what only a login has.
    for secret in (code, "sandbox-code.", "sandbox-refresh.", "sandbox-token-"):
        assert notebook.seen(secret) == set(), secret
    assert notebook.seen("planner@sandbox.invalid") >= {"text", "html", "messages", "file"}
