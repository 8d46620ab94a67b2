"""What reads answers and files: one function for each kind of input, and the plain way beside it where there is one.

A target raises SacError for an input that it refuses, and Wrong where it took it for something else.
"""

from __future__ import annotations

import gzip
import io
import json
import tempfile
import tomllib
import warnings
import zlib
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final

import pyarrow as pa
import requests

from sacnb._actions.multi_action import MultiAction
from sacnb._admin.admin import Admin
from sacnb._auth.endpoint import _read_json_object
from sacnb._auth.named_user import _claims
from sacnb._auth.sources import expiry_of_jwt, read_reply
from sacnb._auth.token import envelope_from_reply
from sacnb._cache.state import segment_state
from sacnb._files import load_with_digest
from sacnb._frames.decode import decode_natively, decode_rows
from sacnb._frames.strict import decode_strictly
from sacnb._http import Origin, read_challenge, read_retry_after_s
from sacnb._odata.envelope import read_envelope
from sacnb._odata.metadata import parse_metadata
from sacnb._odata.page import Page, _cut_fast, _cut_slow, cut_page, next_url, read_list
from sacnb._odata.schema import Column
from sacnb._redact import redact_body, redact_text, redact_url
from sacnb._results.files import UnusableFileError, read_footer, read_parquet
from sacnb._settings import Secret
from sacnb._settings.files import Dotenv, _load
from sacnb._settings.variables import Limits
from sacnb._tenant.members import members_frame
from sacnb._track.delta import Doubt, _is_deleted, _rows, key_in_id
from sacnb._wire.failures import read_problem
from sacnb._wire.message import UndecodableBody, read_body
from sacnb._write import service
from sacnb._write.target import Members, read_import_metadata
from sacnb.errors import SacError
from sacnb.replay.document import from_text
from sacnb.replay.library import key_of_request
from sacnb.replay.scan import decode_text
from sacnb.snowflake.status import ChannelStatus, read_object, row_number
from sacnb.snowflake.tokens import read_text_or_json

NOW: Final = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
TENANT: Final = "https://acme.eu10.hcs.cloud.sap"
PAGE: Final = TENANT + "/api/v1/dataexport/providers/sac/M/FactData"
COLUMNS: Final = (
    Column("Key", "Edm.String", "dimension"),
    Column("Date", "Edm.String", "dimension"),
    Column("Amount", "Edm.Decimal", "measure", precision=31, scale=7),
    Column("Whole", "Edm.Int64", "measure"),
    Column("Day", "Edm.Date", "attribute"),
    Column("Flag", "Edm.Boolean", "attribute"),
)
KEYS: Final = tuple(column for column in COLUMNS if column.role == "dimension")


class Wrong(Exception):
    """An input was taken for something else than it is."""


def _text(data: bytes) -> str:
    return data.decode("utf-8", "replace")


def _json(data: bytes) -> Any:
    """Return what Python's own parser reads, with exact numbers; None where it refuses."""
    try:
        text = data.decode("utf-8-sig")
        return json.loads(text, parse_int=Decimal, parse_float=Decimal)
    except (ValueError, RecursionError, InvalidOperation):
        return None


def _same(ours: object, theirs: object, what: str) -> None:
    if ours != theirs:
        raise Wrong(f"{what}: {ours!r:.200} and {theirs!r:.200}")


# -- answers of SAC ---------------------------------------------------------------------------------------------------


def metadata(data: bytes) -> None:
    """Read ``$metadata`` and the schema of its facts."""
    found = parse_metadata(data)
    for entity_set in found.entity_sets[:3]:
        found.schema("M", entity_set)


def page(data: bytes) -> None:
    """Cut a page and decode its rows, in each way there is."""
    quick = _cut_fast(data)
    if quick is not None:
        plain = _attempt(lambda: _cut_slow(data))
        # The quick way leaves the rows to the decoder, which minds no damage in columns that nobody asked for.
        if plain is None and _json(data) is not None and _attempt(lambda: decode_rows(quick.view, COLUMNS)) is not None:
            raise Wrong("the quick way took a page that the plain way refuses")
        if isinstance(plain, Page):
            _same(
                (quick.start, quick.end, quick.next_link, quick.count),
                (plain.start, plain.end, plain.next_link, plain.count),
                "the quick cut",
            )
    found = cut_page(data)
    table = decode_rows(found.view, COLUMNS)
    strict = _attempt(lambda: decode_strictly(found.rows, COLUMNS))
    if not isinstance(strict, pa.Table):
        raise Wrong("rows were read that the strict decoder refuses")
    _same(table.to_pylist(), strict.to_pylist(), "the rows of both decoders")
    native = decode_natively(found.rows, COLUMNS)
    if native is not None:
        _same(native.to_pylist(), strict.to_pylist(), "the rows of the native decoder")
    body = _json(data)
    if not isinstance(body, dict) and data.strip():
        raise Wrong("Python's parser does not read the page")
    _compare_rows(table.to_pylist(), body.get("value") or [])


def _compare_rows(ours: list[dict[str, Any]], theirs: list[dict[str, Any]]) -> None:
    _same(len(ours), len(theirs), "the number of rows")
    for mine, plain in zip(ours, theirs, strict=True):
        for column in COLUMNS:
            value = plain.get(column.name)
            if column.edm_type in {"Edm.Decimal", "Edm.Int64"}:
                expected = None if value is None else Decimal(str(value))
                _same(None if mine[column.name] is None else Decimal(mine[column.name]), expected, column.name)
            elif column.edm_type == "Edm.Date":
                _same(None if mine[column.name] is None else mine[column.name].isoformat(), value, column.name)
            elif isinstance(value, str | bool | None):
                _same(mine[column.name], value, column.name)


def _attempt(call: Callable[[], Any]) -> Any:
    try:
        return call()
    except SacError:
        return None


def envelope(data: bytes) -> None:
    """Read a list, and its members as a frame."""
    read_envelope(_text(data))
    rows = read_list(data)
    try:
        plain = json.loads(data.decode("utf-8-sig")) if data else {}
    except ValueError as error:
        if "Exceeds the limit" in str(error):  # on digits, of an annotation that nobody reads as a number
            return
        raise Wrong("Python's parser does not read the list") from None
    _same(repr(rows), repr(plain.get("value") or []), "the rows of a list")
    members_frame(rows)
    Members.of(rows)


def changes(data: bytes) -> None:
    """Read a page of changes, and the keys of deleted rows."""
    found = cut_page(data)
    for text, row in _rows(found):
        _same(json.loads(text, parse_int=Decimal, parse_float=Decimal, parse_constant=str), row, "a changed row")
        with suppress(Doubt):  # all rows are read again
            if _is_deleted(row, "FactData"):
                key_in_id(str(row.get("id") or row.get("@id")), "FactData", KEYS)


def link(data: bytes) -> None:
    """Follow a link: it stays with the tenant as requests reads it, or is refused."""
    target = next_url(PAGE, _text(data), origin=TENANT)
    prepared = requests.PreparedRequest()
    try:
        prepared.prepare_url(target, None)
    except (requests.RequestException, ValueError):
        return  # it is not sent
    if Origin.of(prepared.url or "") != Origin.of(TENANT):
        raise Wrong(f"the link leads to {prepared.url!r}")


def problem(data: bytes) -> None:
    """Read the explanation of a refusal."""
    for kind in (None, "text/html", "application/json"):
        found = read_problem(data, kind)
        if "\n" in found.message:
            raise Wrong("the message has several lines")


def headers(data: bytes) -> None:
    """Read ``Retry-After``, a bearer challenge and a ``Location``."""
    text = data.decode("latin-1")
    wait_s = read_retry_after_s(text, server_date=NOW, now=NOW)
    if wait_s is not None and not 1 <= wait_s < float("inf"):
        raise Wrong(f"a wait of {wait_s} seconds")
    str(read_challenge({"WWW-Authenticate": text}))
    origin = Origin.of(TENANT)
    led = None if origin is None else origin.resolve(PAGE, text)
    if led is not None and Origin.of(led) != origin:
        raise Wrong(f"a redirect to {led!r}")


class _Packets:
    """A response that arrives in packets."""

    def __init__(self, data: bytes) -> None:
        self._stream = io.BytesIO(data)

    def read1(self, most: int) -> bytes:
        return self._stream.read(min(most, 700))


def packed(data: bytes) -> None:
    """Unpack a body within its bound."""
    for encoding in ("gzip", "deflate"):
        try:
            body, _ = read_body(_Packets(data), encoding, max_bytes=1_000_000)
        except UndecodableBody:
            continue
        if len(body) > 1_000_000:
            raise Wrong("more than the bound")
        if encoding == "gzip" and data[:2] == b"\x1f\x8b":
            try:
                theirs = gzip.decompress(data)
            except (OSError, EOFError, zlib.error):
                continue  # isal reads some incomplete tables of codes that zlib refuses; the checksum holds for both
            _same(body, theirs, "what gzip unpacks")


def secrets(data: bytes) -> None:
    """Redact what may be a body, an address or a text; what is not secret is not the point here, but the time."""
    text = _text(data)
    redact_text(text)
    redact_url(text)
    for kind in ("application/json", "application/x-www-form-urlencoded", None):
        redact_body(data, kind)


class _Session:
    limits: Final = Limits()

    """A session that has one answer to everything."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._asked = 0

    def fetch(self, *_: object, check: Callable[[Any], None] | None = None, **__: object) -> Any:
        self._asked += 1
        if self._asked > 50:
            raise Wrong("it asks without an end")
        answer = SimpleNamespace(body=self._data, status=200, url=PAGE, headers={}, outcome=None)
        if check is not None:
            check(answer)
        return answer


def replies(data: bytes) -> None:
    """Read replies of the import service."""
    to: Any = SimpleNamespace(session=_Session(data), id="M", service="models", url=TENANT)
    calls: list[Callable[[], Any]] = [
        lambda: read_import_metadata(data),
        lambda: service.table_of(to),
        lambda: service.import_id(to, "dimension"),
        lambda: service.versions_of(to),
        lambda: service.others_of(service.list_jobs(to.session), "M"),
        lambda: service.read_job(to.session, "j"),
        lambda: service.ask_job(to.session, "j"),
        lambda: service.rejected_rows(service.read_object(data).get("failedrows")),
    ]
    _each(calls)


def others(data: bytes) -> None:
    """Read replies of the multi-actions, the administration and the Jupyter server."""
    session: Any = _Session(data)
    run: Any = MultiAction("t.M:1", session)
    calls: list[Callable[[], Any]] = [
        lambda: run.run({}).refresh().messages,
        lambda: Admin(session).users(),
        lambda: Admin(session).teams(),
        lambda: Admin(session).activities(limit=5),
        lambda: Admin(session).files(),
        lambda: read_reply(200, data),
        lambda: read_reply(500, data),
    ]
    _each(calls)


def snowflake(data: bytes) -> None:
    """Read replies of Snowflake."""
    calls: list[Callable[[], Any]] = [
        lambda: read_text_or_json(data, "token"),
        lambda: row_number(ChannelStatus.read(read_object(data, "x").get("channel_status"), "c").committed_token),
        lambda: ChannelStatus.read(read_object(data, "x"), "c").is_healthy,
    ]
    _each(calls)


def token(data: bytes) -> None:
    """Read a reply of the token endpoint, and the claims of a token."""
    expiry_of_jwt(Secret(_text(data)))
    _claims(Secret(_text(data)))
    fields = _read_json_object(data)
    if fields is None:
        return
    found = envelope_from_reply(fields, now=NOW, server_date=NOW, warn_once=_nobody)
    if not 0 <= found.remaining_s(NOW) <= 3600:
        raise Wrong(f"a token of {found.remaining_s(NOW)} seconds")


def _nobody(*_: object) -> None:
    """Warn nobody."""


def _each(calls: list[Callable[[], Any]]) -> None:
    """Call all; raise an error of sacnb where none of them can read the input."""
    errors = []
    for call in calls:
        try:
            call()
        except SacError as error:
            errors.append(error)
    if len(errors) == len(calls):
        raise errors[0]


# -- files ------------------------------------------------------------------------------------------------------------

_FOLDER: Final = Path(tempfile.mkdtemp(prefix="sacnb-fuzz-"))


def dotenv(data: bytes) -> None:
    """Read a ``.env`` file."""
    path = _FOLDER / ".env"
    path.write_bytes(data)
    found = Dotenv.named(path)
    if not found.problems and not all(isinstance(name, str) for name in found.values):
        raise Wrong("a name that is no text")


def profiles(data: bytes) -> None:
    """Read profiles; what is read is what Python's own parser reads."""
    path = _FOLDER / "profiles.toml"
    path.write_bytes(data)
    _, tables = _load(path)
    try:
        plain = tomllib.loads(data.decode("utf-8-sig").replace("\r\n", "\n"))
    except (ValueError, RecursionError):
        return  # in another encoding
    _same(repr(tables), repr(plain), "the profiles")


def cassette(data: bytes) -> None:
    """Read a cassette, and the keys of its requests."""
    text = decode_text(data)
    if text is not None:
        for request, _ in from_text(text, Path("x.cassette.json"))[1]:
            key_of_request(request)


def kept(data: bytes) -> None:
    """Read a file of Parquet that the cache keeps: it is the one that was written, or it is refused."""
    path = _FOLDER / "entry.parquet"
    path.write_bytes(data)
    try:
        read_footer(path)
        read_parquet(path)
    except UnusableFileError:
        return


def state(data: bytes) -> None:
    """Read a manifest or state with a digest, and the state of a segment."""
    found = load_with_digest(data)
    plain = _json(data)
    if found is not None:
        if not isinstance(plain, dict):
            raise Wrong("Python's parser does not read the state")
        _same(found.keys() | {"digest"}, plain.keys() | {"digest"}, "the members of a state")
    if isinstance(plain, dict):
        try:
            loose = json.loads(data.decode("utf-8-sig"))
        except ValueError:
            return  # Python has its own limit on the digits of a number
        segment_state({name: value for name, value in loose.items() if name not in {"digest", "run", "segment"}})


TARGETS: Final[Mapping[str, Callable[[bytes], None]]] = {
    each.__name__: each
    for each in (
        *(
            metadata,
            page,
            envelope,
            changes,
            link,
            problem,
            headers,
            packed,
            secrets,
            replies,
            others,
            snowflake,
            token,
        ),
        *(dotenv, profiles, cassette, kept, state),
    )
}
warnings.simplefilter("ignore")
