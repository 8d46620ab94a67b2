"""A spec takes the settings to a worker process, and no secret."""

from __future__ import annotations

import multiprocessing
import pickle
from pathlib import Path

import pytest

import sacnb
from sacnb._settings import Secret
from sacnb._slices.spec import ConnectSpec
from sacnb.errors import SettingsError, UnknownNameError
from sacnb.sandbox import Sandbox

TENANT = "https://acme.eu10.hcs.cloud.sap"
SECRET = "canary-secret$Zm9v="
OPTIONS = {"client_id": "sb-1!b2|client!b3", "page_size": 7, "deadline_s": 60.0, "streams": 2}


@pytest.fixture(autouse=True)
def nothing_set(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("SAC_TENANT_URL", "SAC_CLIENT_ID", "SAC_CLIENT_SECRET", "SAC_TOKEN"):
        monkeypatch.delenv(name, raising=False)


def test_it_holds_every_setting_and_no_secret(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    spec = sacnb.connect(TENANT, client_secret=SECRET, cache_dir="kept", **OPTIONS).spec
    assert isinstance(spec, sacnb.ConnectSpec)
    packed = pickle.dumps(spec)
    assert SECRET.encode() not in packed
    assert SECRET not in repr(spec)
    assert pickle.loads(packed) == spec
    assert len({spec, pickle.loads(packed)}) == 1
    monkeypatch.setenv("SAC_CLIENT_SECRET", "the-workers-own")
    monkeypatch.setenv("SAC_PAGE_SIZE", "9")  # the spec wins
    monkeypatch.chdir(tmp_path.parent)
    settings = sacnb.connect(spec).settings
    assert {name: getattr(settings, name) for name in OPTIONS} == OPTIONS
    assert (settings.tenant_url, settings.client_secret) == (TENANT, Secret("the-workers-own"))
    assert settings.cache_dir == tmp_path / "kept"
    assert sacnb.connect(spec).spec == spec


def test_a_pasted_token_does_not_travel() -> None:
    with pytest.warns(sacnb.errors.DeprecatedTokenWarning):
        spec = sacnb.connect(TENANT, token=SECRET).spec
    assert SECRET.encode() not in pickle.dumps(spec)
    with pytest.raises(SettingsError, match="SAC_TOKEN is missing"):
        sacnb.connect(spec)


def test_arguments_go_before_those_of_the_spec() -> None:
    spec = sacnb.connect(TENANT, client_secret=SECRET, **OPTIONS).spec
    settings = sacnb.connect(spec, client_secret="another", page_size=11).settings
    assert (settings.client_secret, settings.page_size, settings.streams) == (Secret("another"), 11, 2)


def test_without_its_secret_a_worker_is_told_what_to_do() -> None:
    spec = sacnb.connect(TENANT, client_secret=SECRET, **OPTIONS).spec
    with pytest.raises(SettingsError, match="SAC_CLIENT_SECRET is missing") as caught:
        sacnb.connect(spec)
    (note,) = caught.value.__notes__
    assert "sacnb.connect(spec, client_secret=...)" in note


def test_the_dotenv_of_the_parent_is_read_where_it_exists(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dotenv = tmp_path / ".env"
    dotenv.write_text(f"SAC_TENANT_URL={TENANT}\nSAC_CLIENT_ID=id\nSAC_CLIENT_SECRET='{SECRET}'\n", encoding="utf-8")
    spec = sacnb.connect().spec
    assert spec.dotenv_path == str(dotenv)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    assert sacnb.connect(spec).settings.client_secret.reveal() == SECRET
    dotenv.unlink()
    monkeypatch.setenv("SAC_CLIENT_SECRET", "of another machine")
    assert sacnb.connect(spec).settings.client_secret.reveal() == "of another machine"


def test_the_embedded_sandbox_is_the_workers_own() -> None:
    spec = sacnb.connect("sandbox").spec
    assert dict(spec.arguments)["tenant_url"] == "sandbox"
    assert "client_id" not in dict(spec.arguments)
    assert sacnb.connect(spec).sandbox is not None


def test_a_tenant_is_not_pickled_and_says_what_is() -> None:
    with pytest.raises(TypeError, match=r"tenant\.spec"):
        pickle.dumps(sacnb.connect(TENANT, client_secret=SECRET, **OPTIONS))


def read(spec: ConnectSpec, model: str) -> list[str]:
    """The work of a worker process."""
    with sacnb.connect(spec) as tenant:
        return tenant.model(model).schema.entity_set.split()


def test_a_spawned_worker_connects_and_its_errors_come_back(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("SAC_CLIENT_SECRET", sandbox.client_secret)
    tenant = sacnb.connect(
        sandbox.tenant_url, token_url=sandbox.token_url, client_id=sandbox.client_id, cache_dir=tmp_path / "cache"
    )
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        assert pool.apply_async(read, (tenant.spec, "US_EMPLOYMENT")).get(60) == ["FactData"]
        with pytest.raises(UnknownNameError) as caught:
            pool.apply_async(read, (tenant.spec, "..")).get(60)
    assert (caught.value.kind, caught.value.name) == ("model", "..")
