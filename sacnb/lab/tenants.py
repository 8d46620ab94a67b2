"""The tenants of a Jupyter server: one connection, one guard and one catalogue for each profile."""

from __future__ import annotations

import importlib.util
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, MutableMapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, TypeVar

from sacnb._auth.guard import RefreshEvent
from sacnb._settings import SANDBOX, Secret, Settings, is_profile_name, profile_names, profiles_path, read_profile
from sacnb._tenant import Model, Tenant, connect
from sacnb.errors import QueryError, SettingsError, UnknownNameError

if TYPE_CHECKING:
    import polars as pl

    from sacnb._wire.telemetry import Event

__all__ = ["Held", "Tenants", "take_secrets"]

_T = TypeVar("_T")

# What a kernel is told by SAC_AUTH; the server itself signs in with the client.
_OF_KERNELS: Final = "jupyter_server"
_SECRETS: Final = ("SAC_CLIENT_SECRET", "SAC_TOKEN")
# A list is asked for again after this time, or when the user reloads.
_FRESH_S: Final = 600.0
_MOST_LISTS: Final = 100


def take_secrets(environ: MutableMapping[str, str]) -> dict[str, Secret]:
    """Return the secrets of a server whose kernels are to have none, and take them out of the environment.

    Kernels inherit the environment; with SAC_AUTH=jupyter_server they ask the server instead.
    """
    if environ.get("SAC_AUTH", "").strip().lower() != _OF_KERNELS:
        return {}
    return {name: Secret(environ.pop(name)) for name in _SECRETS if environ.get(name)}


class Held:
    """A connected tenant, and the lists that were read from it; safe for threads."""

    def __init__(self, profile: str, tenant: Tenant, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.profile = profile
        self.tenant = tenant
        self.last_refresh: tuple[RefreshEvent, datetime] | None = None
        self._clock = clock
        self._lock = threading.Lock()
        self._lists: OrderedDict[tuple[str, ...], tuple[float, Any]] = OrderedDict()
        tenant.telemetry.add_hook(self._note)

    def _note(self, event: Event) -> None:
        if isinstance(event, RefreshEvent):
            self.last_refresh = (event, self.now())

    def now(self) -> datetime:
        """Return the time on the tenant's clock."""
        return self.tenant._connection.context.session.now()

    def models(self, *, fresh: bool = False) -> pl.DataFrame:
        """Return the list of models. Raises what ``Tenant.models`` raises."""
        return self._kept((), self.tenant.models, fresh=fresh)

    def model(self, model_id: str, *, fresh: bool = False) -> Model:
        """Return the one object of a model, which keeps its ``$metadata``."""
        return self._kept((model_id,), lambda: self.tenant.model(model_id), fresh=fresh)

    def members(self, model_id: str, dimension: str, *, fresh: bool = False) -> pl.DataFrame:
        """Return the members of a dimension. Raises what ``Model.members`` raises."""
        model = self.model(model_id)
        return self._kept((model_id, dimension), lambda: model.members(dimension), fresh=fresh)

    def _kept(self, key: tuple[str, ...], read: Callable[[], _T], *, fresh: bool) -> _T:
        with self._lock:
            at, value = self._lists.get(key, (0.0, None))
            if value is not None and not fresh and self._clock() - at < _FRESH_S:
                self._lists.move_to_end(key)
                found: _T = value
                return found
        found = read()
        with self._lock:
            self._lists[key] = (self._clock(), found)
            self._lists.move_to_end(key)
            while len(self._lists) > _MOST_LISTS:
                self._lists.popitem(last=False)
        return found


@dataclass(slots=True)
class _Slot:
    """The place of one profile; its lock is held while it connects, so that there is one guard."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    held: Held | None = None
    version: int = 0


class Tenants:
    """Connects to the tenant of a profile when it is first asked for. ``""`` is the one of the server's environment.

    A change of the profiles' file is seen at the next request. *secrets* are those that ``take_secrets`` took.
    """

    def __init__(
        self, *, secrets: Mapping[str, Secret] | None = None, connect: Callable[..., Tenant] = connect
    ) -> None:
        self._secrets = dict(secrets or {})
        self._connect = connect
        self._lock = threading.Lock()
        self._slots: dict[str, _Slot] = {}

    def list(self) -> list[dict[str, Any]]:
        """Return profile and tenant of each, without connecting; a problem of the settings in its place."""
        default = self._default()
        found = [] if default is None else [default]
        found += [{"profile": name, "tenant": _tenant_of(name)} for name in profile_names()]
        if not found and importlib.util.find_spec("aiohttp") is not None:
            found.append({"profile": SANDBOX, "tenant": SANDBOX})
        return found

    def peek(self, profile: str) -> Held | None:
        """Return the tenant of a profile if it is connected."""
        slot = self._slots.get(profile)
        return None if slot is None else slot.held

    def get(self, profile: str) -> Held:
        """Return the tenant of a profile, connected now if need be.

        Raises SettingsError for settings that are not complete, UnknownNameError for an unknown profile.
        """
        if profile not in {"", SANDBOX}:
            if not is_profile_name(profile):
                raise QueryError(f"{profile!r:.80} is not the name of a profile.")
            if profile not in profile_names():
                raise UnknownNameError("profile", profile, list(profile_names()), where=str(profiles_path()))
        with self._lock:
            slot = self._slots.setdefault(profile, _Slot())
        with slot.lock:
            version = _version()
            if slot.held is not None and slot.version == version:
                return slot.held
            fresh = Held(profile, self._connected(profile))
            if slot.held is not None:
                slot.held.tenant.close()
            slot.held, slot.version = fresh, version
            return fresh

    def close(self) -> None:
        """Close all connections."""
        for slot in list(self._slots.values()):
            if slot.held is not None:
                slot.held.tenant.close()

    def _connected(self, profile: str) -> Tenant:
        if profile == SANDBOX:
            return self._connect(SANDBOX, profile="", replay="off")
        named: dict[str, Any] = {"profile": profile or None, "replay": "off"}
        if not profile and self._secrets:
            token, secret = self._secrets.get("SAC_TOKEN"), self._secrets.get("SAC_CLIENT_SECRET")
            auth = "client_credentials" if token is None or secret is not None else "static"
            return self._connect(**named, auth=auth, token=token, client_secret=secret)
        tenant = self._connect(**named)
        if tenant.settings.auth != _OF_KERNELS:
            return tenant
        tenant.close()  # the profile says so to the kernels; the server has the client of the same profile
        return self._connect(**named, auth="client_credentials")

    def _default(self) -> dict[str, Any] | None:
        """Return what the environment and ``.env`` name; nothing where they name no tenant, or a profile."""
        try:
            settings = Settings.resolve(auth=_OF_KERNELS, replay="off")  # so that no secret is looked for
        except SettingsError as error:
            if any(problem.startswith("SAC_TENANT_URL is missing") for problem in error.problems):
                return None
            return {"profile": "", "tenant": "", "problem": error}
        if settings.profile is not None:
            return None  # it stands among the profiles
        return {"profile": "", "tenant": SANDBOX if settings.is_sandbox else settings.tenant_url.partition("://")[2]}


def _tenant_of(profile: str) -> str:
    try:
        url = str(read_profile(profile).values.get("SAC_TENANT_URL", ""))
    except SettingsError:
        return ""  # connecting says what is wrong
    return url.partition("://")[2] or url


def _version() -> int:
    try:
        return profiles_path().stat().st_mtime_ns
    except (OSError, SettingsError):
        return 0
