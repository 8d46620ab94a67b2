"""The one tenant that the magics of this process ask, and what is known of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sacnb.notebook.catalogue import Catalogue

if TYPE_CHECKING:
    import os

    from sacnb._tenant import Tenant

__all__ = ["SESSION", "Session", "current_tenant", "use_tenant"]


class Session:
    """Holds a connected tenant; connects by the settings where there is none yet."""

    def __init__(self) -> None:
        self._tenant: Tenant | None = None
        self._catalogue: Catalogue | None = None
        self._is_ours = False

    @property
    def tenant(self) -> Tenant:
        """The tenant, connected now by the environment and ``.env`` if need be. Raises SettingsError."""
        return self._tenant or self.connect()

    @property
    def catalogue(self) -> Catalogue | None:
        """What is known of the tenant's models; ``None`` before there is a tenant."""
        return self._catalogue

    def connect(self, tenant_url: str | None = None, *, dotenv_path: str | os.PathLike[str] | None = None) -> Tenant:
        """Connect and get a token, so that what is wrong shows now; the tenant so far stays if that fails.

        Raises SettingsError and AuthError.
        """
        from sacnb._tenant import connect

        tenant = connect(tenant_url, dotenv_path=dotenv_path)
        try:
            tenant.authenticate()
        except BaseException:
            tenant.close()
            raise
        self._put(tenant, is_ours=True)
        return tenant

    def use(self, tenant: Tenant) -> None:
        """Ask this tenant from now on; whoever connected it closes it."""
        if tenant is not self._tenant:
            self._put(tenant, is_ours=False)

    def forget(self) -> None:
        """Have no tenant any more."""
        self._put(None, is_ours=False)

    def _put(self, tenant: Tenant | None, *, is_ours: bool) -> None:
        if self._tenant is not None and self._is_ours:
            self._tenant.close()
        self._tenant, self._is_ours = tenant, is_ours
        self._catalogue = None if tenant is None else Catalogue(tenant)


SESSION = Session()


def current_tenant() -> Tenant:
    """The tenant that ``%sac`` and ``%%sac`` ask; connected by the environment and ``.env`` if there is none yet.

    Raises SettingsError, AuthError.
    """
    return SESSION.tenant


def use_tenant(tenant: Tenant) -> None:
    """Have ``%sac`` and ``%%sac`` ask a tenant that a program has connected, as ``%sac connect NAME`` does."""
    SESSION.use(tenant)
