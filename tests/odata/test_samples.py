"""The replies that SAP and others published are read as they are, and the broken ones are refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from sacnb._odata.metadata import parse_metadata
from sacnb._odata.page import cut_page, read_list
from sacnb.errors import BadAnswer


@pytest.mark.parametrize(
    ("name", "dimension", "measure"),
    [
        ("acquired_model_des_metadata.xml", ("Account", 256), ("SignedData", 31, 7)),
        ("des_metadata_unit_fixture.xml", ("dim_a", 127), ("measure_x", 34, 6)),
    ],
)
def test_metadata(samples: Path, name: str, dimension: tuple[str, int], measure: tuple[str, int, int]) -> None:
    metadata = parse_metadata((samples / name).read_bytes())
    assert metadata.entity_sets == ("MasterData", "FactData")
    schema = metadata.schema("Model")
    assert [(c.name, c.max_length) for c in schema.dimensions] == [dimension]
    assert [(c.name, c.precision, c.scale) for c in schema.measures] == [measure]
    assert schema.column(measure[0]).nullable
    assert schema.date_columns == ()
    assert metadata.schema("Model", "MasterData").names == ("master_id",)


def test_a_type_nobody_knows_is_an_attribute(samples: Path) -> None:
    schema = parse_metadata((samples / "des_metadata_unit_fixture.xml").read_bytes()).schema("Model")
    assert [(c.name, c.edm_type) for c in schema.attributes] == [("weird_col", "Edm.Fancy")]


@pytest.mark.parametrize(
    ("name", "key", "values"),
    [
        ("des_namespaces.json", "NamespaceID", ["sac"]),
        ("des_providers.json", "ProviderID", ["ProviderA", "ProviderB"]),
        ("des_service_document.json", "name", ["FactData", "MasterData", "AccountMaster"]),
    ],
)
def test_lists(samples: Path, name: str, key: str, values: list[str]) -> None:
    body = (samples / name).read_bytes()
    assert [row[key] for row in read_list(body)] == values
    assert cut_page(body).next_link is None


def test_the_one_real_row(samples: Path) -> None:
    """SAP's README prints it as a bare list: no answer of OData, but good rows."""
    body = (samples / "des_factdata_row_sacapi_readme.json").read_bytes()
    with pytest.raises(BadAnswer, match="not JSON"):
        cut_page(body)
    (row,) = read_list(b'{"value":' + body + b"}")
    assert (row["Region"], row["Date"], row["Visitors"]) == ("Pacific West ", "202105", 67284)


def test_the_delta_page_as_sap_means_it(samples: Path) -> None:
    """As printed it lacks a comma and has curly quotes; put right, the link in lower case is found after the rows."""
    printed = (samples / "des_factdata_delta.as_printed.txt").read_text(encoding="utf-8")
    mended = printed.replace('{subscriptionID}"', '{subscriptionID}",').replace("\u2019", "'")
    page = cut_page(mended.encode())
    assert page.delta_link == "{BASE_URL}/providers/sac/{providerID}/FactData?deltaid={subscriptionID}"
    assert (page.next_link, page.rows_in_page, page.is_empty) == (None, 1, False)


@pytest.mark.parametrize(
    "name",
    [
        "des_dimension_master.as_printed.txt",
        "des_factdata_delta.as_printed.txt",
        "des_subscriptions_get.as_printed.txt",
    ],
)
def test_what_sap_misprinted_is_refused(samples: Path, name: str) -> None:
    with pytest.raises(BadAnswer, match="not valid JSON"):
        cut_page((samples / name).read_bytes())


@pytest.mark.parametrize("name", ["resources_odata_v2.json", "resource_models_odata_v2.json", "dis_models_list.json"])
def test_the_answers_of_other_services_are_not_taken_for_pages(samples: Path, name: str) -> None:
    with pytest.raises(BadAnswer, match="no array 'value'"):
        cut_page((samples / name).read_bytes())


def test_the_token_endpoints_refusal_is_told_in_its_words(samples: Path) -> None:
    with pytest.raises(BadAnswer, match="Bad credentials"):
        cut_page((samples / "oauth_error_invalid_client.json").read_bytes())


def test_every_sample_of_the_export_service_is_read_above(samples: Path) -> None:
    source = Path(__file__).read_text(encoding="utf-8")
    unread = [path.name for path in samples.glob("*des_*") if path.name not in source]
    assert unread == []
