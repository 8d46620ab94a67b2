"""The proxies of the environment, read once per address instead of once per request."""

from __future__ import annotations

from urllib.parse import urlsplit

from requests.utils import get_environ_proxies

from sacnb._settings.tenant_url import is_loopback


def environment_proxies(url: str) -> dict[str, str]:
    """The proxies that requests would use for ``url`` by the environment and the system's settings, NO_PROXY included.

    None for this machine itself, also where NO_PROXY forgets it: a proxy would look for it in the wrong place, and
    would be shown what may travel in plain http only because it never leaves the machine.
    """
    return {} if is_loopback(urlsplit(url).hostname or "") else get_environ_proxies(url)
