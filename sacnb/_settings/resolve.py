"""Resolve arguments, environment, ``.env`` and defaults into one frozen value."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Final, Literal, TypeVar, cast, get_args

from sacnb._redact import Secret
from sacnb._rendering import shown_path
from sacnb._settings.ca_bundle import check_bundle
from sacnb._settings.sources import Given, Sources, show
from sacnb._settings.tenant_url import (
    TOKEN_URL_EXAMPLE,
    TenantAddress,
    check_redirect_uri,
    check_token_url,
    read_tenant_url,
)
from sacnb._settings.variables import REPLAYED, SANDBOX, VARIABLES, documentation
from sacnb.errors import SettingsError

_T = TypeVar("_T")
AuthMethod = Literal["client_credentials", "authorization_code", "static", "jupyter_server"]
ReplayMode = Literal["off", "replay", "record"]
LogLevel = Literal["debug", "info", "warning", "error"]
LogFormat = Literal["plain", "json"]

# A corporate machine usually has one of these set; requests reads the first two itself.
_BUNDLE_VARIABLES: Final = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE")


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything ``connect()`` needs to know; times are in seconds.

    ``notes`` tells in words which values were understood differently from how they were written, such as a modeler
    address used as the tenant URL; ``warnings`` what the user must see. ``sources`` names where each variable that is
    set was read, ``dotenv_path`` the ``.env`` and ``profile`` the profile. For the sandbox, address and client are
    filled in when it starts; for a replay they are placeholders.
    """

    tenant_url: str
    is_sandbox: bool
    token_url: str
    client_id: str
    client_secret: Secret
    auth: AuthMethod = "client_credentials"
    redirect_uri: str = "http://127.0.0.1:8414/"
    token: Secret | None = None
    token_lifetime_s: float = 3600.0
    refresh_margin_s: float | None = None
    connect_timeout_s: float = 10.0
    read_timeout_s: float = 120.0
    deadline_s: float = 900.0
    max_attempts: int = 4
    page_size: int = 50_000
    streams: int = 4
    max_answer_mb: int = 512
    max_document_mb: int = 128
    max_list_rows: int = 1_000_000
    max_empty_pages: int = 1_000
    cache_dir: Path = Path()
    cache_max_age_s: float = 0.0
    cache_history_mb: float = 256.0
    ca_bundle: Path | None = None
    replay: ReplayMode = "off"
    replay_cassette: str | None = None
    log: LogLevel = "warning"
    log_format: LogFormat = "plain"
    profile: str | None = None
    notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    sources: Mapping[str, str] = field(default_factory=dict, compare=False)
    dotenv_path: Path | None = field(default=None, compare=False)

    def __repr__(self) -> str:
        values = {one.name: getattr(self, one.name) for one in fields(self)}
        values["cache_dir"] = shown_path(self.cache_dir)
        return f"Settings({', '.join(f'{name}={value!r}' for name, value in values.items())})"

    @classmethod
    def resolve(
        cls,
        *,
        environ: Mapping[str, str] | None = None,
        dotenv_path: str | os.PathLike[str] | None = None,
        **arguments: Any,
    ) -> Settings:
        """Return the settings from arguments, profile, ``environ``, the ``.env`` file and defaults, in this order.

        ``dotenv_path`` names the file; without it, and without a profile, ``.env`` is looked for from the working
        directory upwards. Where a profile is named, tenant and client come from arguments and profile only.
        Raises SettingsError with every problem at once; no frame of its traceback holds a secret.
        """
        resolver = _Resolver(Sources(environ, dotenv_path, arguments), arguments)
        del environ, arguments
        return resolver.settings()

    def with_sandbox(self, *, tenant_url: str, token_url: str, client_id: str, client_secret: str) -> Settings:
        """Return the same settings for a sandbox that has been started."""
        return replace(
            self,
            tenant_url=tenant_url,
            token_url=token_url,
            client_id=client_id,
            client_secret=Secret(client_secret),
            auth="authorization_code" if self.auth == "authorization_code" else "client_credentials",
            is_sandbox=True,
        )


@dataclass(frozen=True, slots=True)
class ReplayChoice:
    """The variables about replay alone; ``None`` for one that is not set."""

    mode: ReplayMode | None
    cassette: str | None

    @classmethod
    def resolve(
        cls,
        *,
        environ: Mapping[str, str] | None = None,
        dotenv_path: str | os.PathLike[str] | None = None,
        replay: str | None = None,
        replay_cassette: str | os.PathLike[str] | None = None,
    ) -> ReplayChoice:
        """Resolve as ``Settings.resolve`` does, without a tenant. Raises SettingsError."""
        arguments = {"replay": replay, "replay_cassette": replay_cassette}
        resolver = _Resolver(Sources(environ, dotenv_path, arguments), arguments)
        del environ
        return resolver.replay_choice()


_DEFAULTS: Final[Mapping[str, Any]] = {name: member.default for name, member in Settings.__dataclass_fields__.items()}


class _Resolver:
    """Reads each variable by its meaning, and gathers problems instead of stopping at the first."""

    def __init__(self, sources: Sources, arguments: Mapping[str, Any]) -> None:
        known = {variable.argument for variable in VARIABLES}
        self._sources = sources
        self._problems = sources.problems
        self._problems[:0] = [
            f"connect() has no argument {name!r}; there is: {', '.join(sorted(known))}."
            for name in sorted(set(arguments) - known)
        ]

    def _given(self, name: str) -> Given:
        return self._sources.get(name) or Given(None, name, "the defaults")

    def _text(self, name: str) -> str:
        given = self._given(name)
        if given.value is None:
            return ""
        if not isinstance(given.value, str):
            self._problems.append(f"{given.origin} must be a text, not {type(given.value).__name__}.")
            return ""
        return given.value

    def _secret(self, name: str) -> Secret | None:
        given = self._given(name)
        if given.value is not None and not isinstance(given.value, Secret):
            self._problems.append(f"{given.origin} must be a text, not {type(given.value).__name__}.")
            return None
        return given.value

    def _choice(self, name: str, choices: tuple[str, ...], default: str) -> str:
        given = self._given(name)
        if given.value is None:
            return default
        if str(given.value).lower() not in choices:
            self._problems.append(f"{given.origin} is {show(given.value)}; expected one of {', '.join(choices)}.")
            return default
        return str(given.value).lower()

    def _number(self, name: str, accept: Callable[[float], bool], expected: str, example: float | None = None) -> float:
        given, default = self._given(name), _DEFAULTS[name.removeprefix("SAC_").lower()]
        if given.value is None:
            return cast("float", default)
        try:
            number = float(given.value)
        except (TypeError, ValueError, OverflowError):
            number = math.nan
        if isinstance(given.value, bool) or not math.isfinite(number) or not accept(number):
            shown = f"{default if example is None else example:g}"
            self._problems.append(f"{given.origin} is {show(given.value)}; expected {expected}, for example {shown}.")
            return cast("float", default)
        return number

    def _whole(self, name: str, most: int) -> int:
        return int(self._number(name, lambda n: n.is_integer() and 1 <= n <= most, f"a whole number from 1 to {most}"))

    def _seconds(self, name: str, *, zero: bool = False) -> float:
        expected = "seconds, 0 or more" if zero else "seconds, more than 0"
        return self._number(name, lambda n: n > 0 or (zero and n == 0), expected)

    def _ca_bundle(self) -> Path | None:
        given = self._given("SAC_CA_BUNDLE")
        if given.value is None:
            for name in _BUNDLE_VARIABLES:
                if (found := self._sources.environment(name)) is not None:
                    given = Given(found, name, "the environment")
                    break
        if given.value is None:
            return None
        path = self._path(given, "the path of a PEM file with your company's certificate authority")
        if path is not None:
            self._checked(replace(given, value=path), check_bundle)
        return path

    def _path(self, given: Given, expected: str) -> Path | None:
        try:
            return Path(given.value).expanduser()
        except (RuntimeError, TypeError):  # ~somebody, who is not known here, or ~ without a home folder
            self._problems.append(f"{given.origin} is {given.value!r}, which leads nowhere here; expected {expected}.")
            return None

    def _cache_dir(self) -> Path:
        given = self._given("SAC_CACHE_DIR")
        if given.value is None:
            return self._sources.usual_cache_dir()
        return self._path(given, "a folder, such as /data/sac-cache") or Path()

    def _tenant(self) -> TenantAddress | None:
        if not self._text("SAC_TENANT_URL"):
            self._problems.append(
                "SAC_TENANT_URL is missing: the address of your tenant, for example https://acme.eu10.hcs.cloud.sap, "
                "or 'sandbox' for the embedded one."
            )
            return None
        return self._checked(self._given("SAC_TENANT_URL"), read_tenant_url)

    def _checked(self, given: Given, check: Callable[[Any], _T]) -> _T | None:
        """Return what *check* makes of a value; its ValueError is the rest of a sentence after the origin."""
        try:
            return check(given.value)
        except ValueError as error:
            self._problems.append(f"{given.origin} {error}")
            return None

    def _token_url(self, tenant: TenantAddress | None, auth: str) -> str:
        if self._text("SAC_TOKEN_URL"):
            return self._checked(self._given("SAC_TOKEN_URL"), check_token_url) or ""
        if tenant is None or auth in {"static", "jupyter_server"}:
            return ""
        if tenant.derived_token_url is None:
            self._problems.append(
                f"SAC_TOKEN_URL is missing and cannot be derived from {tenant.url}: copy the 'Token URL' of "
                f"System > Administration > App Integration, for example {TOKEN_URL_EXAMPLE}."
            )
            return ""
        return tenant.derived_token_url

    def _redirect_uri(self) -> str:
        if not self._text("SAC_REDIRECT_URI"):
            return str(_DEFAULTS["redirect_uri"])
        return self._checked(self._given("SAC_REDIRECT_URI"), check_redirect_uri) or ""

    def settings(self) -> Settings:
        """Return the settings. Raises SettingsError with every problem."""
        replay = cast("ReplayMode", self._choice("SAC_REPLAY", get_args(ReplayMode), _DEFAULTS["replay"]))
        if replay != "off":
            self._sources.leave_to_the_code(replay)
        who = REPLAYED if replay == "replay" else self._who()
        settings = Settings(
            **who,
            token_lifetime_s=self._number("SAC_TOKEN_LIFETIME_S", lambda _: True, "seconds"),  # the guard clamps it
            refresh_margin_s=self._number("SAC_REFRESH_MARGIN_S", lambda n: n >= 30, "at least 30 seconds", 60.0),
            connect_timeout_s=self._seconds("SAC_CONNECT_TIMEOUT_S"),
            read_timeout_s=self._seconds("SAC_READ_TIMEOUT_S"),
            deadline_s=self._seconds("SAC_DEADLINE_S"),
            max_attempts=self._whole("SAC_MAX_ATTEMPTS", 20),
            page_size=self._whole("SAC_PAGE_SIZE", 1_000_000),
            streams=self._whole("SAC_STREAMS", 16),
            max_answer_mb=self._whole("SAC_MAX_ANSWER_MB", 100_000),
            max_document_mb=self._whole("SAC_MAX_DOCUMENT_MB", 100_000),
            max_list_rows=self._whole("SAC_MAX_LIST_ROWS", 1_000_000_000),
            max_empty_pages=self._whole("SAC_MAX_EMPTY_PAGES", 1_000_000_000),
            cache_dir=self._cache_dir(),
            cache_max_age_s=self._seconds("SAC_CACHE_MAX_AGE_S", zero=True),
            cache_history_mb=self._number("SAC_CACHE_HISTORY_MB", lambda n: n >= 0, "megabytes, 0 or more"),
            ca_bundle=self._ca_bundle(),
            replay=replay,
            replay_cassette=self._path_text("SAC_REPLAY_CASSETTE"),
            log=cast("LogLevel", self._choice("SAC_LOG", get_args(LogLevel), _DEFAULTS["log"])),
            log_format=cast("LogFormat", self._choice("SAC_LOG_FORMAT", get_args(LogFormat), _DEFAULTS["log_format"])),
        )
        if settings.is_sandbox:
            self._sources.warn_of_a_chosen_sandbox()
        else:
            if self._sources.pass_over_cache_dir():
                settings = replace(settings, cache_dir=self._cache_dir())
            self._sources.check_trust()
        self._raise_problems()
        return replace(
            settings,
            profile=None if self._sources.profile is None else self._sources.profile.name,
            notes=tuple(dict.fromkeys(self._sources.notes)),
            warnings=tuple(self._sources.warnings),
            sources=self._sources.provenance(),
            dotenv_path=self._sources.dotenv.path,
        )

    def replay_choice(self) -> ReplayChoice:
        """Return the choice. Raises SettingsError with every problem."""
        mode = self._choice("SAC_REPLAY", get_args(ReplayMode), "") or None
        choice = ReplayChoice(cast("ReplayMode | None", mode), self._path_text("SAC_REPLAY_CASSETTE"))
        self._sources.check_trust(("SAC_REPLAY", "SAC_REPLAY_CASSETTE"))
        self._raise_problems()
        return choice

    def _raise_problems(self) -> None:
        if self._problems:
            error = SettingsError(tuple(dict.fromkeys(self._problems)))
            missing = [problem.partition(" is missing")[0] for problem in self._problems if " is missing" in problem]
            without = (
                ' Without a tenant: sacnb demo, or sacnb.connect("sandbox").' if "SAC_TENANT_URL" in missing else ""
            )
            if missing:
                error.hint = f"Run sacnb init in a terminal: it asks for what is missing, tests and writes it.{without}"
            raise error

    def _path_text(self, name: str) -> str | None:
        given = self._given(name)
        if given.value is not None and not isinstance(given.value, str | os.PathLike):
            self._problems.append(f"{given.origin} must be a text or a path, not {type(given.value).__name__}.")
            return None
        return None if given.value is None else os.fspath(given.value)

    def _who(self) -> Mapping[str, Any]:
        """Return the settings that name the tenant and the client."""
        is_sandbox = self._text("SAC_TENANT_URL").lower() == SANDBOX
        auth, client_id = self._choice("SAC_AUTH", get_args(AuthMethod), self._sources.usual_auth()), ""
        client_secret = token = None
        if auth != "jupyter_server":  # which has client and secret, so that they are not in this process
            if not is_sandbox:
                self._sources.open_keyring()
            client_id, client_secret = self._text("SAC_CLIENT_ID"), self._secret("SAC_CLIENT_SECRET")
            token = self._secret("SAC_TOKEN")
        tenant_url = token_url = ""
        if not is_sandbox:
            tenant = self._tenant()
            token_url = self._token_url(tenant, auth)
            if tenant is not None:
                tenant_url = tenant.url
                self._sources.notes.extend(tenant.notes)
                self._compare_with_profile(tenant)
                if auth != "static" and token_url and self._given("SAC_TOKEN_URL").value is None:
                    self._sources.notes.append(f"The token URL was derived from the tenant URL: {token_url}.")
            self._check_client(auth, client_id, client_secret, token)
        return {
            "tenant_url": tenant_url,
            "is_sandbox": is_sandbox,
            "token_url": token_url,
            "client_id": client_id,
            "client_secret": client_secret or Secret(""),
            "auth": auth,
            "redirect_uri": self._redirect_uri(),
            "token": token,
        }

    def _compare_with_profile(self, tenant: TenantAddress) -> None:
        """Warn where an argument leads the client of a profile to another tenant than the profile's own."""
        profile = self._sources.profile
        own = None if profile is None else profile.values.get("SAC_TENANT_URL")
        if profile is not None and isinstance(own, str) and own.lower() != SANDBOX:
            with suppress(ValueError):  # it is not in use
                if (url := read_tenant_url(own).url) != tenant.url:
                    self._sources.warnings.append(
                        f"{tenant.url} is used with the client of {profile.source}, whose own tenant is {url}."
                    )

    def _check_client(self, auth: str, client_id: str, client_secret: Secret | None, token: Secret | None) -> None:
        page = documentation("docs/access.md")
        where = f"create an OAuth client under System > Administration > App Integration (see {page})"
        if auth in {"static", "jupyter_server"}:
            if token is None and auth == "static":
                self._problems.append("SAC_TOKEN is missing, and SAC_AUTH=static needs it; better: " + where + ".")
            return
        if not client_id:
            example = "sb-00000000-0000-0000-0000-000000000000!b0|client!b0"
            self._problems.append(f"SAC_CLIENT_ID is missing: {where}. It looks like {example}.")
        if client_secret is None and auth == "client_credentials":  # a client of named users may be a public one
            self._problems.append(
                "SAC_CLIENT_SECRET is missing: SAC shows it when the OAuth client is made; in .env put it in "
                "single quotes, since it holds $ and !."
            )
