"""A real OpenID provider on loopback, which shares no code with sacnb or its sandbox."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def provider() -> Iterator[str]:
    """Run the provider; give its address."""
    with warnings.catch_warnings():
        import authlib.deprecate  # switches its own warnings on: it is about to be split in two

        warnings.simplefilter("ignore", authlib.deprecate.AuthlibDeprecationWarning)
        import oidc_provider_mock

        logging.getLogger("werkzeug").setLevel(logging.ERROR)
        users = [oidc_provider_mock.User(sub="ann", claims={"email": "ann@acme.example"})]
        with oidc_provider_mock.run_server_in_thread(require_nonce=True, user_claims=users) as server:
            yield f"http://localhost:{server.server_port}"
