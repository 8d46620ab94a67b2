"""Arguments, then the environment, then ``.env``, then defaults, resolved into one frozen value."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, Literal, cast

from sacnb._endpoints import REPLAY_TENANT_URL, REPLAY_TOKEN_URL
from sacnb._settings.tenant_url import TenantAddress, check_token_url, read_tenant_url
from sacnb._settings.variables import VARIABLES, Secret
from sacnb.errors import SettingsError

SANDBOX: Final = "sandbox"

AuthMethod = Literal["client_credentials", "static"]
ReplayMode = Literal["off", "replay", "record"]
LogLevel = Literal["debug", "info", "warning", "error"]
REPLAY_MODES: Final = ("off", "replay", "record")

# What a corporate machine usually has set already; requests reads the first two itself.
_BUNDLE_VARIABLES: Final = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE")

# These shape the requests. In a cassette they must be the same on every machine, so there only the code has a say.
_SHAPE_VARIABLES: Final = ("SAC_PAGE_SIZE", "SAC_STREAMS")
# Who is asked where a cassette answers: nobody.
_REPLAYED: Final = MappingProxyType(
    {
        "tenant_url": REPLAY_TENANT_URL,
        "is_sandbox": False,
        "token_url": REPLAY_TOKEN_URL,
        "client_id": "replay",
        "client_secret": Secret("replay"),
        "auth": "client_credentials",
        "token": None,
    }
)


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything ``connect()`` needs to know.

    Times are in seconds. ``notes`` says in words what was understood differently from how it was written, such as a
    modeler address used as the tenant URL. For the sandbox, address and client are filled in when it is started; where
    a cassette is replayed, placeholders stand in their place.
    """

    tenant_url: str
    is_sandbox: bool
    token_url: str
    client_id: str
    client_secret: Secret
    auth: AuthMethod = "client_credentials"
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
    cache_dir: Path = Path()
    cache_max_age_s: float = 0.0
    ca_bundle: Path | None = None
    replay: ReplayMode = "off"
    replay_cassette: str | None = None
    log: LogLevel = "warning"
    notes: tuple[str, ...] = ()

    @classmethod
    def resolve(
        cls,
        *,
        environ: Mapping[str, str] | None = None,
        dotenv_path: str | os.PathLike[str] | None = None,
        **arguments: Any,
    ) -> Settings:
        """Settings from arguments, then ``environ``, then the ``.env`` file, then defaults.

        ``dotenv_path`` names the file; without it, ``.env`` is looked for from the working directory upwards.
        Raises SettingsError with every problem at once.
        """
        environ = os.environ if environ is None else environ
        return _Resolver(environ, read_dotenv(dotenv_path, environ), arguments).settings()

    def with_sandbox(self, *, tenant_url: str, token_url: str, client_id: str, client_secret: str) -> Settings:
        """The same settings, pointed at a sandbox that has been started."""
        return replace(
            self,
            tenant_url=tenant_url,
            token_url=token_url,
            client_id=client_id,
            client_secret=Secret(client_secret),
            auth="client_credentials",
            is_sandbox=True,
        )


@dataclass(frozen=True, slots=True)
class ReplayChoice:
    """What the variables say about replay alone: ``None`` where they do not say."""

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
        """As ``Settings.resolve``, for those who need no tenant. Raises SettingsError."""
        environ = os.environ if environ is None else environ
        arguments = {"replay": replay, "replay_cassette": replay_cassette}
        return _Resolver(environ, read_dotenv(dotenv_path, environ), arguments).replay_choice()


def read_dotenv(path: str | os.PathLike[str] | None, environ: Mapping[str, str]) -> Mapping[str, str]:
    """The variables in a ``.env`` file; without ``path``, in the nearest one, if there is one.

    Raises SettingsError where the file that was named is not there, or cannot be read.
    """
    from dotenv import dotenv_values, find_dotenv

    if path is not None and not Path(path).is_file():
        raise SettingsError(f"There is no file {os.fspath(path)!r}, which was named as the .env file.")
    # A test or a job that hands in its own environment means that environment, and no file found by chance.
    found = os.fspath(path) if path is not None else (find_dotenv(usecwd=True) if environ is os.environ else "")
    if not found:
        return {}
    try:
        # Without interpolation: client secrets contain "$", which is theirs.
        values = dotenv_values(found, interpolate=False, encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        problem = f"The file {found!r} cannot be read: {error}. Save it as UTF-8 text."
        raise SettingsError(problem) from error
    return {name: value for name, value in values.items() if value is not None}


class _Resolver:
    """Looks each variable up once, in order, and gathers problems instead of stopping at the first."""

    def __init__(self, environ: Mapping[str, str], dotenv: Mapping[str, str], arguments: Mapping[str, Any]) -> None:
        known = {variable.argument: variable.name for variable in VARIABLES}
        unknown = sorted(set(arguments) - set(known))
        self.problems = [f"connect() has no argument {name!r}; there is: {', '.join(known)}." for name in unknown]
        self._environ = environ
        self._given: dict[str, tuple[Any, str]] = {}
        for argument, name in known.items():
            for value, origin in (
                (arguments.get(argument), f"the argument {argument}"),
                (environ.get(name), name),
                (dotenv.get(name), f"{name} (in .env)"),
            ):
                if isinstance(value, Secret):
                    value = value.reveal()  # noqa: PLW2901
                if value is None or (isinstance(value, str) and not value.strip()):
                    continue
                self._given[name] = (value.strip() if isinstance(value, str) else value, origin)
                break

    def _value(self, name: str) -> tuple[Any, str]:
        return self._given.get(name, (None, name))

    def _text(self, name: str) -> str:
        value, origin = self._value(name)
        if value is None:
            return ""
        if not isinstance(value, str):
            self.problems.append(f"{origin} must be a text, not {type(value).__name__}.")
            return ""
        return value

    def _choice(self, name: str, choices: tuple[str, ...], default: str) -> str:
        value, origin = self._value(name)
        if value is None:
            return default
        if str(value).lower() not in choices:
            self.problems.append(f"{origin} is {value!r}; expected one of {', '.join(choices)}.")
            return default
        return str(value).lower()

    def _number(self, name: str, default: float, accept: Callable[[float], bool], expected: str) -> float:
        value, origin = self._value(name)
        if value is None:
            return default
        try:
            number = float(value)
        except (TypeError, ValueError):
            number = math.nan
        if isinstance(value, bool) or not math.isfinite(number) or not accept(number):
            self.problems.append(f"{origin} is {value!r}; expected {expected}, for example {default:g}.")
            return default
        return number

    def _whole(self, name: str, default: int, most: int) -> int:
        def accept(number: float) -> bool:
            return number.is_integer() and 1 <= number <= most

        return int(self._number(name, default, accept, f"a whole number from 1 to {most}"))

    def _seconds(self, name: str, default: float, *, zero: bool = False) -> float:
        expected = "seconds, 0 or more" if zero else "seconds, more than 0"
        return self._number(name, default, lambda n: n > 0 or (zero and n == 0), expected)

    def _margin_s(self) -> float | None:
        if "SAC_REFRESH_MARGIN_S" not in self._given:
            return None
        return self._number("SAC_REFRESH_MARGIN_S", 60.0, lambda n: n >= 30, "at least 30 seconds")

    def _ca_bundle(self) -> Path | None:
        value, origin = self._value("SAC_CA_BUNDLE")
        if value is None:
            for name in _BUNDLE_VARIABLES:
                if self._environ.get(name):
                    value, origin = self._environ[name], name
                    break
        if value is None:
            return None
        path = Path(value).expanduser()
        if not path.exists():
            self.problems.append(
                f"{origin} is {str(value)!r}, which does not exist; expected the path of a PEM file with your "
                "company's certificate authority."
            )
        return path

    def _cache_dir(self) -> Path:
        value, _ = self._value("SAC_CACHE_DIR")
        if value is not None:
            return Path(value).expanduser()
        from platformdirs import user_cache_path

        return user_cache_path("sacnb", appauthor=False)

    def _tenant(self) -> tuple[TenantAddress | None, str]:
        """The tenant's address and the origin it was read from; ``None`` where there is none that can be used."""
        text = self._text("SAC_TENANT_URL")
        _, origin = self._value("SAC_TENANT_URL")
        if not text:
            self.problems.append(
                "SAC_TENANT_URL is missing: the address of your tenant, for example https://acme.eu10.hcs.cloud.sap, "
                "or 'sandbox' for the embedded one."
            )
            return None, origin
        try:
            return read_tenant_url(text), origin
        except ValueError as error:
            self.problems.append(f"{origin} {error}")
            return None, origin

    def _token_url(self, tenant: TenantAddress | None, auth: str) -> str:
        text = self._text("SAC_TOKEN_URL")
        if text:
            try:
                return check_token_url(text)
            except ValueError as error:
                self.problems.append(f"{self._value('SAC_TOKEN_URL')[1]} {error}")
                return ""
        if tenant is None or auth == "static":
            return ""
        if tenant.derived_token_url is None:
            self.problems.append(
                f"SAC_TOKEN_URL is missing and cannot be derived from {tenant.url}: copy the 'Token URL' of "
                "System > Administration > App Integration, for example "
                "https://acme.authentication.eu10.hana.ondemand.com/oauth/token."
            )
            return ""
        return tenant.derived_token_url

    def settings(self) -> Settings:
        replay = cast("ReplayMode", self._choice("SAC_REPLAY", REPLAY_MODES, "off"))
        notes: list[str] = [] if replay == "off" else self._leave_to_the_code(replay)
        who = _REPLAYED if replay == "replay" else self._who(notes)
        settings = Settings(
            **who,
            # Out of range is not an error here: the engine clamps it and says so once.
            token_lifetime_s=self._number("SAC_TOKEN_LIFETIME_S", 3600.0, lambda _: True, "seconds"),
            refresh_margin_s=self._margin_s(),
            connect_timeout_s=self._seconds("SAC_CONNECT_TIMEOUT_S", 10.0),
            read_timeout_s=self._seconds("SAC_READ_TIMEOUT_S", 120.0),
            deadline_s=self._seconds("SAC_DEADLINE_S", 900.0),
            max_attempts=self._whole("SAC_MAX_ATTEMPTS", 4, 20),
            page_size=self._whole("SAC_PAGE_SIZE", 50_000, 1_000_000),
            streams=self._whole("SAC_STREAMS", 4, 16),
            max_answer_mb=self._whole("SAC_MAX_ANSWER_MB", 512, 100_000),
            cache_dir=self._cache_dir(),
            cache_max_age_s=self._seconds("SAC_CACHE_MAX_AGE_S", 0.0, zero=True),
            ca_bundle=self._ca_bundle(),
            replay=replay,
            replay_cassette=self._path_text("SAC_REPLAY_CASSETTE"),
            log=cast("LogLevel", self._choice("SAC_LOG", ("debug", "info", "warning", "error"), "warning")),
            notes=tuple(notes),
        )
        if self.problems:
            raise SettingsError(self.problems)
        return settings

    def replay_choice(self) -> ReplayChoice:
        mode = self._choice("SAC_REPLAY", REPLAY_MODES, "") or None
        choice = ReplayChoice(cast("ReplayMode | None", mode), self._path_text("SAC_REPLAY_CASSETTE"))
        if self.problems:
            raise SettingsError(self.problems)
        return choice

    def _path_text(self, name: str) -> str | None:
        value, _ = self._value(name)
        return None if value is None else os.fspath(value)

    def _leave_to_the_code(self, replay: ReplayMode) -> list[str]:
        """Forget the variables that would make one machine's requests differ from another's; what was forgotten."""
        notes = []
        for name in _SHAPE_VARIABLES:
            _, origin = self._given.get(name, (None, ""))
            if origin.startswith(name):
                del self._given[name]
                notes.append(f"{name} is not used with SAC_REPLAY={replay}: a cassette must fit every machine.")
        return notes

    def _who(self, notes: list[str]) -> Mapping[str, Any]:
        """The settings that say which tenant is asked, and as whom; adds to ``notes``."""
        is_sandbox = self._text("SAC_TENANT_URL").lower() == SANDBOX
        token = self._text("SAC_TOKEN")
        client_id, client_secret = self._text("SAC_CLIENT_ID"), self._text("SAC_CLIENT_SECRET")
        pasted_only = bool(token) and not client_id and not client_secret
        auth = self._choice(
            "SAC_AUTH", ("client_credentials", "static"), "static" if pasted_only else "client_credentials"
        )
        tenant_url = token_url = ""
        if not is_sandbox:
            tenant, _ = self._tenant()
            token_url = self._token_url(tenant, auth)
            if tenant is not None:
                tenant_url = tenant.url
                notes += tenant.notes
                if auth == "client_credentials" and token_url and "SAC_TOKEN_URL" not in self._given:
                    notes.append(f"The token URL was derived from the tenant URL: {token_url}.")
            self._check_client(auth, client_id, client_secret, token)
        return {
            "tenant_url": tenant_url,
            "is_sandbox": is_sandbox,
            "token_url": token_url,
            "client_id": client_id,
            "client_secret": Secret(client_secret),
            "auth": auth,
            "token": Secret(token) if token else None,
        }

    def _check_client(self, auth: str, client_id: str, client_secret: str, token: str) -> None:
        where = "create an OAuth client under System > Administration > App Integration (see docs/access.md)"
        if auth == "static":
            if not token:
                self.problems.append("SAC_TOKEN is missing, and SAC_AUTH=static needs it; better: " + where + ".")
            return
        if not client_id:
            example = "sb-00000000-0000-0000-0000-000000000000!b0|client!b0"
            self.problems.append(f"SAC_CLIENT_ID is missing: {where}. It looks like {example}.")
        if not client_secret:
            self.problems.append(
                "SAC_CLIENT_SECRET is missing: SAC shows it when the OAuth client is made; in .env put it in "
                "single quotes, since it holds $ and !."
            )
