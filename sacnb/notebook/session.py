"""The tenant of the magics, one per process."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sacnb.notebook.catalogue import Catalogue

if TYPE_CHECKING:
    import os

    from sacnb._tenant import Tenant

__all__ = ["SESSION", "Session", "current_tenant", "use_tenant"]


class Session:
    """Holds the connected tenant; connects with the settings if there is none yet."""

    def __init__(self) -> None:
        self._tenant: Tenant | None = None
        self._catalogue: Catalogue | None = None
        self._is_own = False
        self._is_chosen = False

    @property
    def tenant(self) -> Tenant:
        """The tenant, connected now with the environment and ``.env`` if need be. Raises SettingsError, AuthError."""
        return self._tenant or self._connect(None, None, is_chosen=False)

    @property
    def catalogue(self) -> Catalogue | None:
        """The catalogue of the tenant's models; ``None`` before there is a tenant."""
        return self._catalogue

    def connect(self, tenant_url: str | None = None, *, dotenv_path: str | os.PathLike[str] | None = None) -> Tenant:
        """Connect and get a token, so that mistakes show now; on failure the session keeps its tenant.

        Raises SettingsError and AuthError.
        """
        return self._connect(tenant_url, dotenv_path, is_chosen=True)

    def use(self, tenant: Tenant) -> None:
        """Use *tenant* from now on; the program that connected it closes it."""
        if tenant is not self._tenant:
            self._put(tenant, is_own=False, is_chosen=True)
        self._is_chosen = True

    def unload(self) -> None:
        """Drop a tenant that nobody chose.

        ``%reload_ext``, which IPython itself recommends, unloads the extension first. Dropping the user's choice would
        make the next magic read other numbers, from the tenant of ``.env``.
        """
        if not self._is_chosen:
            self.forget()

    def forget(self) -> None:
        """Drop the tenant."""
        self._put(None, is_own=False, is_chosen=False)

    def _connect(self, tenant_url: str | None, dotenv: str | os.PathLike[str] | None, *, is_chosen: bool) -> Tenant:
        from sacnb._tenant import connect

        tenant = connect(tenant_url, dotenv_path=dotenv)
        try:
            tenant.authenticate()
        except BaseException:
            tenant.close()
            raise
        self._put(tenant, is_own=True, is_chosen=is_chosen)
        return tenant

    def _put(self, tenant: Tenant | None, *, is_own: bool, is_chosen: bool) -> None:
        if self._tenant is not None and self._is_own:
            self._tenant.close()
        self._tenant, self._is_own, self._is_chosen = tenant, is_own, is_chosen
        self._catalogue = None if tenant is None else Catalogue(tenant)


SESSION = Session()


def current_tenant() -> Tenant:
    """Return the tenant of ``%sac`` and ``%%sac``; connects with the environment and ``.env`` if there is none yet.

    Raises SettingsError, AuthError.
    """
    return SESSION.tenant


def use_tenant(tenant: Tenant) -> None:
    """Use *tenant* for ``%sac`` and ``%%sac``, like ``%sac connect NAME``."""
    SESSION.use(tenant)
