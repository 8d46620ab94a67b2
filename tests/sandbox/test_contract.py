"""The sandbox's answers have the shape of the published samples in ``tests/samples``."""

from __future__ import annotations

import json
import re
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

EDM = "{http://docs.oasis-open.org/odata/ns/edm}"


def _sample(samples: Path, name: str) -> Any:
    return json.loads((samples / name).read_text(encoding="utf-8"))


def test_token_reply(start: Callable[..., Any], samples: Path) -> None:
    sample = _sample(samples, "oauth_token_response_datasphere_sibling.json")
    reply = start(login=False).token().json()
    assert set(sample) <= set(reply)
    assert {name: type(value) for name, value in sample.items()} == {name: type(reply[name]) for name in sample}


def test_namespaces(start: Callable[..., Any], samples: Path) -> None:
    assert start().get("administration/Namespaces").json() == _sample(samples, "des_namespaces.json")


def test_providers(start: Callable[..., Any], samples: Path) -> None:
    sample = _sample(samples, "des_providers.json")
    api = start()
    answer = api.get("administration/Namespaces(NamespaceID='sac')/Providers").json()
    assert answer["@odata.context"] == sample["@odata.context"]
    base = f"{api.sandbox.tenant_url}/api/v1/dataexport"
    for row in answer["value"]:
        assert list(row) == list(sample["value"][0])
        assert row["ServiceURL"] == sample["value"][0]["ServiceURL"].format(BaseURL=base).replace(
            "ProviderA", row["ProviderID"]
        )


def test_service_document(start: Callable[..., Any], samples: Path) -> None:
    sample = _sample(samples, "des_service_document.json")
    answer = start().get("providers/sac/PLANNING/").json()
    assert answer["@odata.context"] == sample["@odata.context"]
    assert all(entry in answer["value"] for entry in sample["value"])
    assert answer["value"][:2] == sample["value"][:2]


def test_dimension_master_has_the_row_that_sap_prints(start: Callable[..., Any], samples: Path) -> None:
    printed = (samples / "des_dimension_master.as_printed.txt").read_text()
    page = start().data("PLANNING", "AccountMaster", dollar_filter="ID eq '400000'").json()
    shown = dict(re.findall(r'"([@.\w]+)":\s*"([^"]*)"', printed))
    assert page["@odata.context"] == shown["@odata.context"]
    assert page["value"][0].items() >= {"ID": shown["ID"], "Description": shown["Description"]}.items()


def test_fact_row_has_string_dimensions_and_a_number_without_quotes(start: Callable[..., Any], samples: Path) -> None:
    [sample] = _sample(samples, "des_factdata_row_sacapi_readme.json")
    row = start().data("SCALE", pagesize="1", dollar_filter="Amount gt 0").json()["value"][0]
    types = [type(value) for value in sample.values()]
    assert set(types[:-1]) == {str}
    assert {type(row[name]) for name in ["Version", "Date", "Region", "Channel", "Product", "Customer"]} == {str}
    assert isinstance(row["Amount"], int | float)
    assert list(row)[:2] == list(sample)[:2]


@pytest.mark.parametrize(("provider", "written"), [("US_EMPLOYMENT", "656.0000000"), ("SCALE", r"-?\d+(\.\d*[1-9])?")])
def test_decimals_come_in_both_forms_that_sap_prints(start: Callable[..., Any], provider: str, written: str) -> None:
    text = start().data(provider, pagesize="1").text
    assert re.search(rf'"(Employees|Amount)":{written}[,}}]', text)


def test_the_envelope_has_the_order_of_the_guide(start: Callable[..., Any]) -> None:
    page = start().data("US_EMPLOYMENT", pagesize="2", dollar_count="true")
    assert list(page.json()) == [
        "@odata.context",
        "value",
        "@odata.count",
        "@des.entitiesInPage",
        "@des.processingTimeInMilliseconds",
        "@odata.nextLink",
    ]
    assert page.json()["@odata.context"] == "$metadata#FactData"
    assert page.json()["@des.entitiesInPage"] == "2"
    assert page.json()["@des.processingTimeInMilliseconds"].isdigit()


def _types(root: ET.Element) -> dict[str, ET.Element]:
    return {e.attrib["Name"]: e for e in root.iter(f"{EDM}EntityType")}


def _shape(element: ET.Element) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Yield every path of tags below an element, with the names of the attributes."""
    for child in element:
        yield child.tag, tuple(child.attrib)
        for path, attributes in _shape(child):
            yield f"{child.tag}/{path}", attributes


@pytest.mark.parametrize("name", ["acquired_model_des_metadata.xml", "des_metadata_unit_fixture.xml"])
def test_metadata_is_built_as_in_the_published_fixtures(start: Callable[..., Any], samples: Path, name: str) -> None:
    sample = ET.fromstring((samples / name).read_bytes())
    answer = start().get("providers/sac/PLANNING/$metadata", headers={"Accept": "application/json"})
    assert answer.headers["Content-Type"].startswith("application/xml")
    ours = ET.fromstring(answer.content)
    assert (ours.tag, ours.attrib) == (sample.tag, sample.attrib)
    schema, sample_schema = next(ours.iter(f"{EDM}Schema")), next(sample.iter(f"{EDM}Schema"))
    assert schema.attrib == sample_schema.attrib
    assert list(_types(ours))[:2] == list(_types(sample)) == ["MasterData", "FactData"]
    wanted, have = set(_shape(_types(sample)["FactData"])), set(_shape(_types(ours)["FactData"]))
    invented = {(f"{EDM}Property", ("Name", "Type"))}  # the column of the invented type Edm.Fancy has no facets
    assert wanted - invented <= have


def test_metadata_declares_dimensions_as_keys_and_measures_as_sac_does(start: Callable[..., Any]) -> None:
    root = ET.fromstring(start().get("providers/sac/PLANNING/$metadata").content)
    facts = _types(root)["FactData"]
    keys = [e.attrib["Name"] for e in facts.iter(f"{EDM}PropertyRef")]
    assert keys == ["Version", "Date", "Account", "CostCenter", "Region"]
    measure = next(e for e in facts.iter(f"{EDM}Property") if e.attrib["Name"] == "SignedData")
    assert measure.attrib == {
        "Name": "SignedData", "Type": "Edm.Decimal", "Precision": "31", "Scale": "7", "Nullable": "true",
    }  # fmt: skip
    original = facts.findtext(f"{EDM}Property/{EDM}Annotation[@Term='Integration.OriginalDataType']/{EDM}String")
    assert original == "NVARCHAR"


def test_metadata_as_json_equals_metadata_as_xml(start: Callable[..., Any]) -> None:
    api = start()
    for provider in ["US_EMPLOYMENT", "PLANNING", "SCALE", "EDM_TYPES"]:
        xml = _types(ET.fromstring(api.get(f"providers/sac/{provider}/$metadata").content))
        document = api.get(f"providers/sac/{provider}/$metadata?$format=JSON").json()
        assert document["$Version"] == "4.0"
        types = {n: e for n, e in document["sac"].items() if e["$Kind"] == "EntityType"}
        assert list(types) == list(xml)
        for name, entity in types.items():
            assert entity["$Key"] == [e.attrib["Name"] for e in xml[name].iter(f"{EDM}PropertyRef")]
            properties = {n: p.get("$Type", "Edm.String") for n, p in entity.items() if not n.startswith("$")}
            assert properties == {e.attrib["Name"]: e.attrib["Type"] for e in xml[name].iter(f"{EDM}Property")}


def test_every_entity_set_is_in_the_metadata_and_in_the_service_document(start: Callable[..., Any]) -> None:
    api = start()
    for provider in ["US_EMPLOYMENT", "PLANNING", "SCALE", "EDM_TYPES"]:
        sets = {entry["name"] for entry in api.get(f"providers/sac/{provider}/").json()["value"]}
        root = ET.fromstring(api.get(f"providers/sac/{provider}/$metadata").content)
        assert sets == set(_types(root)) == {e.attrib["Name"] for e in root.iter(f"{EDM}EntitySet")}
        for name in sets:
            columns = [e.attrib["Name"] for e in _types(root)[name].iter(f"{EDM}Property")]
            assert list(api.data(provider, name, pagesize="1").json()["value"][0]) == columns


def test_the_administration_has_metadata_too(start: Callable[..., Any]) -> None:
    api = start()
    types = _types(ET.fromstring(api.get("administration/$metadata").content))
    assert list(types) == ["Namespaces", "Providers"]
    assert "Providers" in api.get("administration/$metadata?$format=JSON").json()["sac.administration"]


def test_an_error_has_a_correlation_id_as_code_and_the_number_in_the_message(start: Callable[..., Any]) -> None:
    error = start().data("US_EMPLOYMENT", "NoSuchSet").json()["error"]
    assert re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", error["code"])
    assert error["message"].endswith("[3707]")
