"""The side panel of JupyterLab and Notebook 7, and the routes of the Jupyter server that it asks.

``pip install "sacnb[lab]"`` switches both on. The server connects to the tenants and keeps their tokens: neither the
browser nor a kernel with ``SAC_AUTH=jupyter_server`` ever sees one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__all__: list[str] = []

if TYPE_CHECKING:
    from jupyter_server.serverapp import ServerApp


def _jupyter_server_extension_points() -> list[dict[str, Any]]:
    """Return where Jupyter finds the server part."""
    return [{"module": "sacnb.lab"}]


def _jupyter_labextension_paths() -> list[dict[str, str]]:
    """Return where ``jupyter labextension develop`` finds the panel."""
    return [{"src": "share/jupyter/labextensions/sacnb", "dest": "sacnb"}]


def _load_jupyter_server_extension(server: ServerApp) -> None:
    """Add the routes to a Jupyter server; nothing is connected yet."""
    from sacnb.lab.handlers import add_routes

    add_routes(server.web_app)
