"""Find out why a connection does not work: checks in order, each with its remedy."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import urlsplit

from sacnb._auth.token import RefreshPolicy
from sacnb._endpoints import IMPORT_MODELS_PATH, NAMESPACES_PATH
from sacnb._http import environment_proxies, in_words
from sacnb._rendering import Preview, Previewed
from sacnb._settings import Settings, profiles_path
from sacnb._tenant.connector import connect_with
from sacnb.errors import ForbiddenError, SacError, SettingsError

if TYPE_CHECKING:
    from sacnb._tenant.tenant import Tenant

Status = Literal["ok", "warning", "failed", "skipped"]


@dataclass(frozen=True, slots=True)
class Check:
    """A check: its status, what was found, and what to do (empty if nothing)."""

    name: str
    status: Status
    detail: str
    remedy: str = ""


@dataclass(frozen=True, slots=True)
class Diagnosis(Previewed):
    """All checks in order; ``healthy`` if none failed."""

    checks: tuple[Check, ...]

    @property
    def healthy(self) -> bool:
        """Return whether data can be read: no check failed."""
        return all(check.status != "failed" for check in self.checks)

    def __str__(self) -> str:
        return self._preview().text()

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:  # noqa: FBT001, ARG002 - IPython's signature
        printer.text(str(self))

    def _preview(self) -> Preview:
        failed = sum(check.status == "failed" for check in self.checks)
        title = "Healthy: no check failed" if self.healthy else f"Not healthy: {failed} of {len(self.checks)} failed"
        rows = tuple((one.name, one.status, one.detail, one.remedy) for one in self.checks)
        return Preview(title, (), ("check", "status", "found", "what to do"), (False,) * 4, rows, "")


def diagnose(
    *,
    dotenv_path: str | os.PathLike[str] | None = None,
    environ: Mapping[str, str] | None = None,
    now: Callable[[], datetime] = lambda: datetime.now(UTC),
    **arguments: Any,
) -> Diagnosis:
    """Check settings, cache folder, host, TLS and proxy, clock, token, and which APIs the client may use.

    Takes the arguments of ``connect()``, and with *environ* another environment, in which no ``.env`` is looked for. A
    check that makes no sense after an earlier failure is reported as skipped.
    Failures are reported, not raised.
    """
    return Diagnosis(tuple(_checks(now, {"dotenv_path": dotenv_path, "environ": environ, **arguments})))


def _checks(now: Callable[[], datetime], arguments: dict[str, Any]) -> Iterator[Check]:
    try:
        settings = Settings.resolve(**arguments)
        warnings = settings.warnings
        tenant = connect_with(replace(settings, warnings=()))  # they are among the checks
    except SettingsError as error:
        for problem in error.problems:
            yield Check("settings", "failed", problem, "Run sacnb init, or set it in the environment or in .env.")
        yield from _skipped("the settings are not complete", "host", "clock", "token", "grants")
        return
    except SacError as error:
        yield Check("settings", "failed", error.message, error.hint or "")
        return
    with tenant:
        settings = tenant.settings
        file = _files_read(settings)
        if settings.replay == "replay":  # its settings name no file of this machine
            file, warnings = "", ()
        client = settings.client_id or "(pasted token)"
        yield Check("settings", "ok", f"tenant {settings.tenant_url}, client {client}{file}")
        for note in (*warnings, *settings.notes):
            yield Check("settings", "warning", note)
        if settings.replay == "replay":
            yield from _skipped("a cassette answers instead of a tenant", "host", "clock", "token", "grants")
            return
        yield _cache_folder(settings)
        server_date: list[datetime] = []
        host = _host(settings, server_date)
        yield host
        if host.status == "failed":
            yield from _skipped("the host cannot be reached", "clock", "token", "grants")
            return
        yield _clock(server_date, now())
        yield from _token_and_grants(tenant)


def _files_read(settings: Settings) -> str:
    if settings.profile is None:
        return ", no .env was read" if settings.dotenv_path is None else f", from {settings.dotenv_path}"
    named = "" if settings.dotenv_path is None else f" and {settings.dotenv_path}"
    return f", from the profile {settings.profile} in {profiles_path()}{named}"


def _skipped(reason: str, *names: str) -> Iterator[Check]:
    for name in names:
        yield Check(name, "skipped", reason)


def _cache_folder(settings: Settings) -> Check:
    try:
        settings.cache_dir.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=settings.cache_dir):
            pass
    except OSError as error:
        detail = f"cannot write to {settings.cache_dir}: {error.strerror or error}"
        return Check("cache folder", "failed", detail, "Set SAC_CACHE_DIR to a folder you can write to.")
    return Check("cache folder", "ok", str(settings.cache_dir))


def _host(settings: Settings, server_date: list[datetime]) -> Check:
    """Check that the tenant's host answers: name, proxy and TLS. The content of the answer does not matter."""
    import requests

    verify = str(settings.ca_bundle) if settings.ca_bundle is not None else True
    # Use the proxies of the session: none for loopback, whatever the variables say.
    proxies = environment_proxies(settings.tenant_url)
    scheme = urlsplit(settings.tenant_url).scheme
    proxy = proxies.get(scheme) or proxies.get("all")
    way = f"through the proxy {_without_user(proxy)}" if proxy else "without a proxy"
    trust = f"trusting {settings.ca_bundle}" if settings.ca_bundle is not None else "trusting the usual authorities"
    try:
        with requests.Session() as session:
            session.trust_env = False
            answer = session.head(
                settings.tenant_url,
                timeout=(settings.connect_timeout_s, settings.read_timeout_s),
                verify=verify,
                proxies=proxies,
                allow_redirects=False,
            )
    except requests.exceptions.ProxyError:
        remedy = "Check HTTPS_PROXY, and NO_PROXY for hosts that need none; ask your network team for the address."
        return Check("host", "failed", f"the proxy {_without_user(proxy)} refused the connection", remedy)
    except requests.exceptions.SSLError as error:
        remedy = (
            "Your company probably inspects TLS with its own certificate authority: save its certificate as a PEM file "
            "and set SAC_CA_BUNDLE to that file."
        )
        return Check("host", "failed", f"TLS failed {trust}: {_innermost(error)}", remedy)
    except OSError as error:
        remedy = "Check SAC_TENANT_URL for typing errors, and whether this machine needs HTTPS_PROXY."
        return Check("host", "failed", f"no connection {way}: {in_words(error)[1]}", remedy)
    with contextlib.suppress(ValueError):  # the clock check reports a missing or unreadable date
        server_date.append(parsedate_to_datetime(answer.headers.get("Date", "")))
    return Check("host", "ok", f"{urlsplit(settings.tenant_url).netloc} answers {way}, {trust}")


def _without_user(proxy: str | None) -> str:
    """Return a proxy's address without user name and password."""
    parts = urlsplit(proxy or "")
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"


def _innermost(error: BaseException) -> str:
    """Return the innermost cause; requests wraps it several times."""
    reason = getattr(error, "reason", None) or next(iter(error.args), None)
    if isinstance(reason, BaseException) and reason is not error:
        return _innermost(reason)
    return f"{type(error).__name__}: {error}"


def _clock(server_date: list[datetime], now: datetime) -> Check:
    if not server_date:
        return Check("clock", "warning", "SAC sent no date to compare with")
    skew_s = (now - server_date[0]).total_seconds()
    if abs(skew_s) <= RefreshPolicy().max_skew_s:
        return Check("clock", "ok", f"within {abs(skew_s):.0f} s of SAC's")
    detail = f"this machine is {abs(skew_s):.0f} s {'ahead of' if skew_s > 0 else 'behind'} SAC"
    return Check("clock", "warning", detail, "sacnb corrects for it. Turn on automatic time in the system settings.")


def _token_and_grants(tenant: Tenant) -> Iterator[Check]:
    try:
        status = tenant.authenticate()
    except SacError as error:
        yield Check("token", "failed", error.message, error.hint or "")
        yield from _skipped("there is no token", "grants")
        return
    yield Check("token", "ok", str(status))
    yield _grant(tenant, "Data Export Service", NAMESPACES_PATH, needed=True)
    yield _grant(tenant, "Data Import Service", IMPORT_MODELS_PATH, needed=False)


def _grant(tenant: Tenant, api: str, path: str, *, needed: bool) -> Check:
    name = f"grant: {api}"
    try:
        tenant.read(path, f"check {api}")
    except ForbiddenError as error:
        remedy = f"System > Administration > App Integration, edit the OAuth client, and tick {api} under Access."
        use = "models cannot be read" if needed else "plans cannot be written back"
        return Check(name, "failed" if needed else "warning", f"not granted, so {use}: {error.message}", remedy)
    except SacError as error:
        return Check(name, "failed" if needed else "warning", error.message, error.hint or "")
    return Check(name, "ok", "allowed")
