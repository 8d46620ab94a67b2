"""Tables in a browser, without Jupyter: a saved notebook pages, sorts and searches without a kernel and a network."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import polars as pl
import pytest

from sacnb._frames.preview import shown_frame

ROWS = 510  # at the top and to page through


@pytest.fixture
def page(browser: Any) -> Iterator[Any]:
    numbers = [float(1500 * place - 3000) for place in range(600)]
    frame = pl.DataFrame({"Sector": [f"<b>{place:03}" for place in range(600)], "Amount": [None, *numbers[1:]]})
    shown = shown_frame(frame)
    context = browser.new_context(offline=True)
    page = context.new_page()
    said: list[str] = []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.set_content(f"<html lang='en'><title>t</title><main>{shown._repr_mimebundle_()['text/html']}</main></html>")
    yield page
    context.close()
    assert said == []


def cells(page: Any, column: int) -> list[str]:
    """Return the texts of a column that is shown."""
    found: list[str] = page.locator(f"tbody td:nth-child({column})").all_text_contents()
    return found


def test_rows_are_paged_sorted_and_searched(page: Any) -> None:
    from axe_playwright_python.sync_playwright import Axe

    status = page.get_by_role("status")
    assert status.text_content() == f"1\u201310 of {ROWS}: search and sort see the first {ROWS} of 600 rows"
    assert cells(page, 1)[0] == "<b>000"
    page.get_by_label("Next rows").click()
    assert cells(page, 1)[0] == "<b>010"

    amount = page.get_by_role("button", name="Amount")
    amount.press("Enter")
    assert cells(page, 2)[:3] == ["-1,500", "0", "1,500"]  # by their size
    amount.press("Enter")
    assert cells(page, 2)[0] == "760,500"
    assert page.locator("th[aria-sort=descending]").count() == 1

    page.get_by_label("Search in the rows").fill("<b>00")
    assert len(cells(page, 1)) == 10
    assert cells(page, 2)[-1] == "null"  # at the end, however the others are sorted
    page.get_by_label("Search in the rows").fill("nothing")
    assert status.text_content().startswith("no rows")
    found = Axe().run(page, options={"runOnly": ["wcag2a", "wcag2aa"]})
    assert found.violations_count == 0, found.generate_report()
