"""The key under which a result is kept."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from sacnb._cache.folder import NAME_FORM, CacheKey

PARTS: dict[str, Any] = {
    "tenant_host": "acme.eu10.sapanalytics.cloud",
    "principal": "sb-client!b1|client!b2",
    "provider_id": "Cg7geq0sgrstd2l1o5subvs16n",
    "entity_set": "FactData",
    "query": "/api/v1/…/FactData\n$filter=true",
}


def test_the_same_question_has_the_same_key() -> None:
    assert CacheKey.build(**PARTS) == CacheKey.build(**PARTS)
    assert (
        CacheKey.build(**PARTS).name == CacheKey.build(**{**PARTS, "tenant_host": "ACME.eu10.SAPanalytics.cloud"}).name
    )


@pytest.mark.parametrize("part", list(PARTS))
def test_every_part_counts(part: str) -> None:
    assert CacheKey.build(**PARTS).digest != CacheKey.build(**{**PARTS, part: "other"}).digest


def test_the_version_of_the_contract_counts() -> None:
    key = CacheKey.build(**PARTS)
    assert dataclasses.replace(key, contract_version=key.contract_version + 1).digest != key.digest


def test_parts_do_not_run_into_each_other() -> None:
    one = CacheKey.build(**{**PARTS, "provider_id": "AB", "entity_set": "C"})
    other = CacheKey.build(**{**PARTS, "provider_id": "A", "entity_set": "BC"})
    assert one.digest != other.digest


def test_the_principal_is_kept_as_a_digest_only() -> None:
    key = CacheKey.build(**PARTS)
    assert "sb-client" not in repr(key)
    assert "sb-client" not in key.name
    assert len(key.principal) == 16


@pytest.mark.parametrize(
    ("provider_id", "begin"),
    [
        ("US_EMPLOYMENT", "us-employment-factdata-"),
        ("sap.epm:BestRunJuice_SampleModel", "sap-epm-bestrunjuice-samplemodel-factdata-"),
        ("../../etc/passwd", "etc-passwd-factdata-"),
        ("CON", "con-factdata-"),
        ("x" * 500, "x" * 48 + "-"),
        ("größe", "gr-sse-factdata-"),
        ("目的", "factdata-"),
    ],
)
def test_names_are_safe_on_every_system(provider_id: str, begin: str) -> None:
    key = CacheKey.build(**{**PARTS, "provider_id": provider_id})
    assert key.name == begin + key.digest
    assert NAME_FORM.fullmatch(key.name)
    assert len(key.name) < 120
