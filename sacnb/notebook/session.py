"""The tenant of the magics, one per process.

The models, columns and members of a tenant, each read once, for completion and for the explorer; and the names that
completion suggests.
"""

from __future__ import annotations

import logging
import re
import textwrap
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

from sacnb._rendering import printable
from sacnb._settings import profile_names
from sacnb.errors import SacError, SettingsError

if TYPE_CHECKING:
    import os

    import polars as pl

    from sacnb._odata.schema import Schema
    from sacnb._tenant import Model, Tenant

__all__ = [
    "SESSION",
    "Catalogue",
    "Knowledge",
    "Session",
    "Suggestions",
    "beginning_with",
    "current_tenant",
    "described",
    "texts",
    "use_tenant",
]

_log = logging.getLogger("sacnb.notebook")

# A request that failed is not repeated at every Tab.
_RETRY_AFTER_S: Final = 30.0
# Nothing for the list of models, a model's id for its columns, a model and a dimension for members.
Path = tuple[str, ...]

_VALUES: Final = (str, int, float, Decimal, date, list, tuple)
# A longer type makes the popup as wide as the page.
_MAX_CHARS: Final = 40
_OF_IPYTHON: Final = frozenset({"In", "Out"})


class Catalogue:
    """Remembers models, columns and members of one tenant; safe for threads.

    ``models``, ``schema`` and ``members`` return what is known. With ``until``, a time of ``clock``, they read what is
    not known in the background, wait until then, and otherwise return ``None``: the answer is there the next time.
    """

    def __init__(self, tenant: Tenant, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.clock = clock
        self._tenant = tenant
        self._lock = threading.Lock()
        self._known: dict[Path, Any] = {}
        self._reading: dict[Path, threading.Event] = {}
        self._failed_at: dict[Path, float] = {}
        self._models: dict[str, Model] = {}

    def belongs_to(self, found: Tenant | Model) -> bool:
        """Return whether *found* has this tenant's connection."""
        return found._connection is self._tenant._connection

    def models(self, until: float | None = None) -> pl.DataFrame | None:
        """Return the list of models, as ``tenant.models()`` does."""
        found: pl.DataFrame | None = self._find((), until)
        return found

    def schema(self, model_id: str, until: float | None = None) -> Schema | None:
        """Return the columns of a model."""
        found: Schema | None = self._find((model_id,), until)
        return found

    def members(self, model_id: str, dimension: str, until: float | None = None) -> pl.DataFrame | None:
        """Return the members of a dimension, as ``model.members()`` does."""
        found: pl.DataFrame | None = self._find((model_id, dimension), until)
        return found

    def read(self, path: Path) -> None:
        """Read the models, the columns of a model, or the members of a dimension, in this thread.

        Raises what ``tenant.models()``, ``model.schema`` and ``model.members()`` raise.
        """
        found: Any
        match path:
            case ():
                found = self._tenant.models()
            case (model_id,):
                found = self._model(model_id).schema
            case (model_id, dimension):
                found = self._model(model_id).members(dimension)
        self._put(path, found)

    def put_models(self, models: pl.DataFrame) -> None:
        """Remember a list of models that a magic has read."""
        self._put((), models)

    def put_schema(self, model_id: str, schema: Schema) -> None:
        """Remember columns that a magic has read."""
        self._put((model_id,), schema)

    def put_members(self, model_id: str, dimension: str, members: pl.DataFrame) -> None:
        """Remember members that a magic has read."""
        self._put((model_id, dimension), members)

    def _model(self, model_id: str) -> Model:
        """Return the one object of a model, which keeps its ``$metadata``."""
        with self._lock:
            return self._models.setdefault(model_id, self._tenant.model(model_id))

    def _put(self, path: Path, value: object) -> None:
        with self._lock:
            self._known[path] = value

    def _find(self, path: Path, until: float | None) -> Any:
        with self._lock:
            if path in self._known or until is None:
                return self._known.get(path)
            failed_at = self._failed_at.get(path)
            if failed_at is not None and self.clock() - failed_at < _RETRY_AFTER_S:
                return None
            done = self._reading.get(path)
            if done is None:
                done = self._reading[path] = threading.Event()
                # A daemon: nobody who closes the notebook waits for a completion.
                threading.Thread(
                    target=self._read_in_background, args=(path, done), name="sacnb-catalogue", daemon=True
                ).start()
        done.wait(max(until - self.clock(), 0.0))
        return self._known.get(path)

    def _read_in_background(self, path: Path, done: threading.Event) -> None:
        try:
            self.read(path)
        except SacError as error:
            _log.info("No completions for %s: %s", " ".join(path) or "models", error)
            self._failed_at[path] = self.clock()
        finally:
            with self._lock:
                del self._reading[path]
            done.set()


def texts(frame: pl.DataFrame | None, key: str, value: str) -> dict[str, str]:
    """Return two text columns as a mapping; missing values are empty, rows without a key are left out."""
    if frame is None or key not in frame.columns:
        return {}
    values = frame[value].to_list() if value in frame.columns else [None] * len(frame)
    pairs = zip(frame[key].to_list(), values, strict=True)
    return {name: printable(text or "") for name, text in pairs if name is not None}


@dataclass(frozen=True, slots=True)
class Suggestions:
    """Texts to replace *fragment*, which ends at the cursor; each with a short description."""

    fragment: str
    texts: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Knowledge:
    """The names to suggest, as far as they are known at ``until``; none of a tenant before one is connected."""

    catalogue: Catalogue | None
    until: float
    variables: Mapping[str, Any] = field(default_factory=dict)

    def models(self) -> Mapping[str, str]:
        """Return ids of models, and their names."""
        found = self.catalogue.models(self.until) if self.catalogue is not None else None
        return {model: described("model", name) for model, name in texts(found, "id", "name").items()}

    def columns(self, model: str, *roles: str) -> Mapping[str, str]:
        """Return columns of a model with one of *roles* (or any), with their roles and labels."""
        schema = self._schema(model)
        columns = schema.columns if schema is not None else ()
        return {
            one.name: described(one.role, one.label if one.label != one.name else "")
            for one in columns
            if not roles or one.role in roles
        }

    def dates(self, model: str) -> Mapping[str, str]:
        """Return date columns of a model, and their grains."""
        schema = self._schema(model)
        return {date.name: date.grain or "date" for date in schema.date_columns} if schema is not None else {}

    def members(self, model: str, dimension: str) -> Mapping[str, str]:
        """Return ids of a dimension's members, and their descriptions."""
        if self.catalogue is None or dimension not in self.columns(model, "dimension"):
            return {}
        found = self.catalogue.members(model, dimension, self.until)
        return {one: described("member", text) for one, text in texts(found, "id", "description").items()}

    def values(self) -> Mapping[str, str]:
        """Return the user's variables that can be values in SQL, and their types."""
        return self._variables_that(lambda value: isinstance(value, _VALUES))

    def dictionaries(self) -> Mapping[str, str]:
        """Return the user's dictionaries."""
        return self._variables_that(lambda value: isinstance(value, Mapping))

    def tenants(self) -> Mapping[str, str]:
        """Return what ``%sac connect`` takes: variables with a tenant, profiles, and the sandbox."""
        from sacnb._tenant import Tenant

        found = self._variables_that(lambda value: isinstance(value, Tenant))
        return {**self.profiles(), **found, "sandbox": "the embedded sandbox"}

    def profiles(self) -> Mapping[str, str]:
        """Return the names of the profiles; none if their file cannot be read, which the command itself reports."""
        try:
            return dict.fromkeys(profile_names(), "profile")
        except SettingsError:
            return {}

    def _variables_that(self, fit: Callable[[object], bool]) -> Mapping[str, str]:
        ours = {name: value for name, value in self.variables.items() if name not in _OF_IPYTHON and name[0] != "_"}
        return {name: type(value).__name__ for name, value in ours.items() if fit(value)}

    def _schema(self, model: str) -> Schema | None:
        # Only of listed models: a name that is still being typed is not worth a request.
        if self.catalogue is None or model not in self.models():
            return None
        return self.catalogue.schema(model, self.until)


def described(kind: str, text: str | None) -> str:
    """Return the type that a popup shows beside a suggestion: ``model: US employment by sector``.

    JupyterLab has no other place for a description: its panel for documentation is closed by default and asks the
    kernel about Python names. It draws the first letter as a sign, so the kind comes first.
    """
    summary = re.split(r"[:;.](?=\s|$)", text or "")[0].strip()
    if not summary:
        return kind
    # JupyterLab would break the line at blanks and hyphens, and rows of its popup are one line high.
    line = f"{kind}: {textwrap.shorten(summary, _MAX_CHARS, placeholder=' …')}"
    return line.replace(" ", "\u00a0").replace("-", "\u2011")


def beginning_with(prefix: str, known: Mapping[str, str] | Iterable[str], what: str = "") -> dict[str, str]:
    """Return the texts that begin with *prefix*, ignoring case; if there are none, those that contain it."""
    described = known if isinstance(known, Mapping) else dict.fromkeys(known, what)
    wanted = prefix.casefold()
    found = {text: kind for text, kind in described.items() if text.casefold().startswith(wanted)}
    return found or {text: kind for text, kind in described.items() if wanted in text.casefold()}


class Session:
    """Holds the connected tenant; connects with the settings if there is none yet."""

    def __init__(self) -> None:
        self._tenant: Tenant | None = None
        self._catalogue: Catalogue | None = None
        self._is_own = False
        self._is_chosen = False

    @property
    def tenant(self) -> Tenant:
        """The tenant, connected now with the settings if need be. Raises SettingsError, AuthError."""
        return self._tenant or self._connect(is_chosen=False)

    @property
    def catalogue(self) -> Catalogue | None:
        """The catalogue of the tenant's models; ``None`` before there is a tenant."""
        return self._catalogue

    def connect(
        self,
        tenant_url: str | None = None,
        *,
        profile: str | None = None,
        dotenv_path: str | os.PathLike[str] | None = None,
    ) -> Tenant:
        """Connect and get a token, so that mistakes show now; on failure the session keeps its tenant.

        Raises SettingsError and AuthError.
        """
        return self._connect(tenant_url=tenant_url, profile=profile, dotenv_path=dotenv_path, is_chosen=True)

    def log_in(self, log_in: Callable[[Tenant], object], profile: str | None = None) -> Tenant:
        """Log a named user in, at the tenant of this session or of *profile*, and use it from now on.

        On failure the session keeps its tenant. Raises what *log_in* raises.
        """
        from sacnb._tenant import connect

        present = self._tenant
        if present is not None and present.settings.auth == "authorization_code" and profile is None:
            log_in(present)
            return present
        tenant = connect(auth="authorization_code", profile=profile)
        try:
            log_in(tenant)
        except BaseException:
            tenant.close()
            raise
        self._put(tenant, is_own=True, is_chosen=True)
        return tenant

    def use(self, tenant: Tenant) -> None:
        """Use *tenant* from now on; the program that connected it closes it."""
        if tenant is not self._tenant:
            self._put(tenant, is_own=False, is_chosen=True)
        self._is_chosen = True

    def unload(self) -> None:
        """Drop the tenant, unless the user chose it.

        ``%reload_ext``, which IPython itself recommends, unloads the extension first. Dropping the user's choice would
        make the next magic read other numbers, from the tenant of ``.env``.
        """
        if not self._is_chosen:
            self.forget()

    def forget(self) -> None:
        """Drop the tenant."""
        self._put(None, is_own=False, is_chosen=False)

    def _connect(self, *, is_chosen: bool, **arguments: Any) -> Tenant:
        from sacnb._tenant import connect

        tenant = connect(**arguments)
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
    """Return the tenant of ``%sac`` and ``%%sac``; connects with the settings if there is none yet.

    Raises SettingsError, AuthError.
    """
    return SESSION.tenant


def use_tenant(tenant: Tenant) -> None:
    """Use *tenant* for ``%sac`` and ``%%sac``, like ``%sac connect NAME``."""
    SESSION.use(tenant)
