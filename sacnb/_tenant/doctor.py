"""Find out why a connection does not work: one check after the other, each with its remedy."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import urlsplit

from sacnb._auth.token import RefreshPolicy
from sacnb._endpoints import IMPORT_MODELS_PATH, NAMESPACES_PATH
from sacnb._http import environment_proxies
from sacnb._rendering import Preview, Previewed
from sacnb._settings import Settings
from sacnb._tenant.connector import connect_with
from sacnb.errors import ForbiddenError, SacError, SettingsError

if TYPE_CHECKING:
    from sacnb._tenant.tenant import Tenant

Status = Literal["ok", "warning", "failed", "skipped"]


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at: how it is, and what to do about it (empty where nothing is to be done)."""

    name: str
    status: Status
    detail: str
    remedy: str = ""


@dataclass(frozen=True, slots=True)
class Diagnosis(Previewed):
    """All checks in the order they were made; ``healthy`` if none of them failed."""

    checks: tuple[Check, ...]

    @property
    def healthy(self) -> bool:
        """Whether data can be read: no check failed."""
        return all(check.status != "failed" for check in self.checks)

    def __str__(self) -> str:
        return self._preview().text()

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:  # noqa: FBT001, ARG002 - IPython's signature
        printer.text(str(self))

    def _preview(self) -> Preview:
        failed = sum(check.status == "failed" for check in self.checks)
        title = "Healthy: no check failed" if self.healthy else f"Not healthy: {failed} of {len(self.checks)} failed"
        rows = tuple((one.name, one.status, one.detail, one.remedy) for one in self.checks)
        return Preview(title, (), ("check", "status", "what was seen", "what to do"), (False,) * 4, rows, "")


def diagnose(
    *,
    dotenv_path: str | os.PathLike[str] | None = None,
    now: Callable[[], datetime] = lambda: datetime.now(UTC),
    **arguments: Any,
) -> Diagnosis:
    """Check settings, cache folder, host, TLS and proxy, clock, token, and which APIs the client may use.

    Takes the arguments of ``connect()``. A check that makes no sense after an earlier failure is skipped and says so.
    Raises nothing of its own: what goes wrong is what it reports.
    """
    return Diagnosis(tuple(_checks(dotenv_path, now, arguments)))


def _checks(
    dotenv_path: str | os.PathLike[str] | None, now: Callable[[], datetime], arguments: dict[str, Any]
) -> Iterator[Check]:
    try:
        settings = Settings.resolve(dotenv_path=dotenv_path, **arguments)
        tenant = connect_with(settings)
    except SettingsError as error:
        for problem in error.problems:
            yield Check("settings", "failed", problem, "Set it in the environment or in .env; see .env.example.")
        yield from _skipped("the settings are not complete", "host", "clock", "token", "grants")
        return
    except SacError as error:
        yield Check("settings", "failed", error.message, error.hint or "")
        return
    with tenant:
        settings = tenant.settings
        yield Check("settings", "ok", f"tenant {settings.tenant_url}, client {settings.client_id or '(pasted token)'}")
        for note in settings.notes:
            yield Check("settings", "warning", note)
        if settings.replay == "replay":
            yield from _skipped("a cassette is replayed, and no tenant is asked", "host", "clock", "token", "grants")
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


def _skipped(reason: str, *names: str) -> Iterator[Check]:
    for name in names:
        yield Check(name, "skipped", f"not looked at, since {reason}")


def _cache_folder(settings: Settings) -> Check:
    try:
        settings.cache_dir.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=settings.cache_dir):
            pass
    except OSError as error:
        detail = f"{settings.cache_dir} cannot be written to: {error.strerror or error}"
        return Check("cache folder", "failed", detail, "Set SAC_CACHE_DIR to a folder of your own.")
    return Check("cache folder", "ok", str(settings.cache_dir))


def _host(settings: Settings, server_date: list[datetime]) -> Check:
    """Whether the tenant's host answers at all: name, proxy and TLS. What it answers does not matter here."""
    import requests

    verify = str(settings.ca_bundle) if settings.ca_bundle is not None else True
    # The proxies that the session would use: none for this machine itself, whatever the variables say.
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
        return Check("host", "failed", f"the proxy {_without_user(proxy)} does not pass us on", remedy)
    except requests.exceptions.SSLError as error:
        remedy = (
            "Your company probably inspects TLS with an authority of its own: save its certificate as a PEM file and "
            "set SAC_CA_BUNDLE to that file."
        )
        return Check("host", "failed", f"TLS failed {trust}: {_innermost(error)}", remedy)
    except OSError as error:
        remedy = "Check SAC_TENANT_URL for typing errors, and whether this machine needs HTTPS_PROXY."
        return Check("host", "failed", f"no connection {way}: {_innermost(error)}", remedy)
    with contextlib.suppress(ValueError):  # No date, or none that can be read: the check of the clock says so.
        server_date.append(parsedate_to_datetime(answer.headers.get("Date", "")))
    return Check("host", "ok", f"{urlsplit(settings.tenant_url).netloc} answers {way}, {trust}")


def _without_user(proxy: str | None) -> str:
    """A proxy's address without the user name and password that may stand in it."""
    parts = urlsplit(proxy or "")
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"


def _innermost(error: BaseException) -> str:
    """The cause that says something: requests wraps it several times."""
    reason = getattr(error, "reason", None) or next(iter(error.args), None)
    if isinstance(reason, BaseException) and reason is not error:
        return _innermost(reason)
    return f"{type(error).__name__}: {error}"


def _clock(server_date: list[datetime], now: datetime) -> Check:
    if not server_date:
        return Check("clock", "warning", "SAC sent no date to compare this machine's clock with")
    skew_s = (now - server_date[0]).total_seconds()
    if abs(skew_s) <= RefreshPolicy().max_skew_s:
        return Check("clock", "ok", f"within {abs(skew_s):.0f} s of SAC's")
    detail = f"this machine is {abs(skew_s):.0f} s {'ahead of' if skew_s > 0 else 'behind'} SAC"
    return Check("clock", "warning", detail, "sacnb corrects for it; still, let the system set its clock by itself.")


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
        return Check(name, "failed" if needed else "warning", f"not allowed, so {use}: {error.message}", remedy)
    except SacError as error:
        return Check(name, "failed" if needed else "warning", error.message, error.hint or "")
    return Check(name, "ok", "allowed")
