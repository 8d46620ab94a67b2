"""Where the next page is: follow ``@odata.nextLink``, but only on the tenant's own origin, and never in a circle."""

from __future__ import annotations

import re
from collections.abc import Container
from typing import Final
from urllib.parse import urljoin, urlsplit

from sacnb._wire.origin import Origin
from sacnb.errors import BadAnswer

__all__ = ["MAX_LINK_CHARS", "next_url"]

# Longer than any server would take back.
MAX_LINK_CHARS: Final = 32_768
# Python drops tabs and line ends from a URL, some read a backslash as a slash: what is checked must be what is sent.
_UNSAFE: Final = re.compile(r"[\x00-\x1f\x7f\\]")


def next_url(current_url: str, link: str, *, seen: Container[str] = (), origin: str | None = None) -> str:
    """The URL that ``link``, found in the answer to ``current_url``, stands for.

    Links may be absolute, root-relative or relative to ``current_url`` (all three are said to occur). The URL must
    have the scheme, host and port of ``current_url``, and of ``origin`` (the tenant URL) where that is given, because
    the bearer token will be sent there; and it must not be ``current_url`` or one of those ``seen``, which the caller
    keeps.

    The link is requested as it stands, with no option added or changed. Two things happen to it all the same: requests
    percent-encodes what may not stand in a URL, such as blanks; and a bare ``#``, which would end the URL there, is
    written ``%23``, because in a link to a page it can only be the member "unassigned" in a repeated filter.

    Raises:
        BadAnswer: the link is empty, too long, no URL, leads elsewhere, or leads back.
    """
    if not link.strip() or len(link) > MAX_LINK_CHARS or _UNSAFE.search(link):
        raise _bad(f"is empty, longer than {MAX_LINK_CHARS} characters, or has characters in it that no link may have")
    written = link.replace("#", "%23")
    try:
        target = written if urlsplit(written).scheme else urljoin(current_url, written)
    except ValueError as error:
        raise _bad(f"is not a URL ({error})") from error
    found = Origin.of(target)
    for home in (current_url, origin):
        if home is not None and (found is None or found != Origin.of(home)):
            raise _bad(f"leads to {_shown(target)} and not to {_shown(home)}, so it was not followed")
    if target == current_url or target in seen:
        raise _bad("leads back to a page that was already read, so the pages would never end")
    return target


def _shown(url: str) -> str:
    """Scheme, host and port of a URL, without a user name or password that may be in front of them."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"


def _bad(why: str) -> BadAnswer:
    return BadAnswer(f"The link to the next page {why}.", hint="Nothing was kept. Report it to who runs the tenant.")
