"""What must not be shared: that it is nowhere, and that the tests would have seen it."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from sacnb.sandbox import Sandbox

CONNECT = """
import os

os.environ["SAC_LOG"] = "debug"
import sacnb

sac = sacnb.connect()
sac.model("US_EMPLOYMENT").refresh_panel(where={"Sector": "20"})
"""


def test_secrets_are_nowhere_and_are_found_where_somebody_shows_them(
    open_notebook: Callable[..., Any], tenant: Sandbox, expect: Any
) -> None:
    """With the most that is logged, with a refused token, and with a notebook that is saved with its widgets."""
    notebook = open_notebook(
        [CONNECT, "print(sac, repr(sac.settings))", "%load_ext sacnb\n%sac connect sac\n%sac status"]
    )
    notebook.page.evaluate("console.log('US_EMPLOYMENT')")
    notebook.run_all()
    panel = notebook.output("Refresh")
    status = panel.get_by_role("status")
    panel.get_by_role("button", name="Refresh", exact=True).click()
    expect(status).to_contain_text("fresh, ")
    expect(notebook.page.get_by_text("the token is valid until")).to_be_visible()
    expect(notebook.page.get_by_text(re.compile("DEBUG")).first).to_be_visible()
    tenant.revoke_tokens()
    tenant.misbehave("token_invalid_client")
    panel.get_by_role("button", name="Renew token", exact=True).click()
    expect(panel.get_by_role("alert")).to_be_visible()
    notebook.save()
    assert "widgets" in notebook.file.read_text(encoding="utf-8")

    # The same look, for what is there on purpose, finds it everywhere: what it does not find is not there.
    assert notebook.seen("US_EMPLOYMENT") == {"text", "html", "console", "messages", "file"}
    assert notebook.seen(notebook.file.name) == {"text", "html", "messages", "log"}
