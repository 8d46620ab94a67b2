"""``$metadata`` gives the schema; what is not metadata is refused with the reason."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from sacnb._odata.metadata import Column, Metadata, Schema, parse_metadata
from sacnb.errors import BadAnswer, UnknownNameError

XML_HEAD = (
    '<?xml version="1.0" encoding="utf-8"?>'
    '<edmx:Edmx xmlns:edmx="http://docs.oasis-open.org/odata/ns/edmx" Version="4.0"><edmx:DataServices>'
    '<Schema xmlns="http://docs.oasis-open.org/odata/ns/edm" Namespace="sac"'
)
XML_FOOT = "</Schema></edmx:DataServices></edmx:Edmx>"


def xml(content: str, attributes: str = "") -> bytes:
    return f"{XML_HEAD} {attributes}>{content}{XML_FOOT}".encode()


def fact_columns(body: bytes, entity_set: str = "FactData") -> dict[str, Column]:
    return {column.name: column for column in parse_metadata(body).schema("P", entity_set).columns}


XML = xml(
    '<EntityType Name="MasterData"><Key><PropertyRef Name="id"/></Key><Property Name="id" Type="Edm.String"/>'
    '<Property Name="Date___CALMONTH" Type="Edm.String"/><Property Name="Date___CALYEAR" Type="Edm.String"/>'
    "</EntityType>"
    '<EntityType Name="FactDataAggregation"><Property Name="wrong" Type="Edm.String"/></EntityType>'
    '<EntityType Name="FactData"><Key><PropertyRef Name="Date"/><PropertyRef Name="Sector"/></Key>'
    '<Property Name="Date" Type="Edm.String" Nullable="false" MaxLength="6"/>'
    '<Property Name="Sector" Type="Edm.String" Nullable="false" MaxLength="max">'
    '<Annotation Term="Common.Label" String="Industry &amp; sector"/></Property>'
    '<Property Name="Value" Type="Edm.Decimal" Precision="31" Scale="7"/>'
    '<Property Name="Free" Type="Edm.Decimal" Precision="38" Scale="variable"/>'
    '<Property Name="Float" Type="Edm.Decimal" Scale="floating"/>'
    '<Property Name="Comment" Type="Edm.String"/>'
    '<Property Name="Odd" Type="Edm.Fancy"/>'
    '<Property Name="Tags" Type="Collection(Edm.String)"/>'
    '<NavigationProperty Name="Members" Type="sac.MasterData"/>'
    "</EntityType>"
    '<EntityContainer Name="C"><EntitySet Name="MasterData" EntityType="sac.MasterData"/>'
    '<EntitySet Name="FactData" EntityType="sac.FactData"/></EntityContainer>'
)


def test_columns_have_the_types_and_roles_that_xml_declares() -> None:
    schema = parse_metadata(XML).schema("P")
    assert [(c.name, c.edm_type, c.role, c.nullable) for c in schema.columns] == [
        ("Date", "Edm.String", "dimension", False),
        ("Sector", "Edm.String", "dimension", False),
        ("Value", "Edm.Decimal", "measure", True),
        ("Free", "Edm.Decimal", "measure", True),
        ("Float", "Edm.Decimal", "measure", True),
        ("Comment", "Edm.String", "attribute", True),
        ("Odd", "Edm.Fancy", "attribute", True),
        ("Tags", "Collection(Edm.String)", "attribute", True),
    ]
    facets = {c.name: (c.max_length, c.precision, c.scale, c.label) for c in schema.columns}
    assert facets["Date"] == (6, None, None, None)
    assert facets["Sector"] == (None, None, None, "Industry & sector")
    assert facets["Value"] == (None, 31, 7, None)
    assert facets["Free"] == (None, 38, None, None)
    assert facets["Float"] == (None, None, None, None)
    assert [(d.name, d.grain) for d in schema.date_columns] == [("Date", "month")]


@pytest.mark.parametrize("wrap", [lambda b: b, lambda b: b"\xef\xbb\xbf" + b, lambda b: b"\n " + b + b"\r\n"])
def test_byte_order_mark_and_blanks_around_the_document_do_not_matter(wrap: Callable[[bytes], bytes]) -> None:
    metadata = parse_metadata(wrap(XML))
    assert metadata.entity_sets == ("MasterData", "FactData")
    assert metadata.schema("P").names[0] == "Date"


def test_the_declared_encoding_of_xml_counts() -> None:
    body = XML.decode().replace("Industry", "Größe").replace("utf-8", "iso-8859-1").encode("iso-8859-1")
    assert fact_columns(body)["Sector"].label == "Größe & sector"


def test_the_entity_type_is_found_by_its_exact_name() -> None:
    assert "wrong" not in fact_columns(XML)
    assert list(fact_columns(XML, "FactDataAggregation")) == ["wrong"]
    assert "Date___CALMONTH" in fact_columns(XML, "MasterData")


def test_an_unknown_entity_set_names_the_nearest() -> None:
    with pytest.raises(UnknownNameError) as caught:
        parse_metadata(XML).schema("P", "FactDate")
    assert caught.value.nearest[0] == "FactData"


def test_the_container_decides_which_type_a_set_has() -> None:
    body = xml(
        '<EntityType Name="FactData"><Property Name="byName" Type="Edm.String"/></EntityType>'
        '<EntityType Name="Leaf"><Property Name="byContainer" Type="Edm.String"/></EntityType>'
        '<EntityContainer Name="C"><EntitySet Name="FactData" EntityType="self.Leaf"/>'
        '<EntitySet Name="Lost" EntityType="sac.Nowhere"/></EntityContainer>',
        'Alias="self"',
    )
    assert list(fact_columns(body)) == ["byContainer"]
    with pytest.raises(BadAnswer, match=r"gives 'Lost' the type 'sac.Nowhere', which it does not declare") as caught:
        parse_metadata(body).schema("P", "Lost")
    assert "refers to" not in str(caught.value)


def test_a_type_that_stands_in_another_document_is_said_to() -> None:
    body = XML.replace(
        b"<edmx:DataServices>", b'<edmx:Reference Uri="other.xml"><edmx:Include/></edmx:Reference><edmx:DataServices>'
    ).replace(b'EntityType="sac.MasterData"', b'EntityType="other.MasterData2"')
    metadata = parse_metadata(body.replace(b'EntityType Name="MasterData"', b'EntityType Name="Other"'))
    assert metadata.schema("P").names[0] == "Date"
    with pytest.raises(BadAnswer, match=r"'other.MasterData2', which it does not declare. It refers to other.xml"):
        metadata.schema("P", "MasterData")


@pytest.mark.parametrize("codec", ["utf-16", "utf-16-le", "utf-16-be"])
def test_metadata_in_utf_16_is_read(codec: str) -> None:
    mark = {"utf-16": "", "utf-16-le": "\ufeff", "utf-16-be": "\ufeff"}[codec]
    body = (mark + XML.decode().replace("utf-8", "utf-16")).encode(codec)
    assert parse_metadata(body).schema("P") == parse_metadata(XML).schema("P")


def test_metadata_may_speak_of_web_pages() -> None:
    body = XML.replace(b"<edmx:Edmx", b"<!-- made from <html> docs --><edmx:Edmx")
    assert parse_metadata(body).entity_sets == ("MasterData", "FactData")


def test_a_length_as_large_as_hana_writes_it_is_kept() -> None:
    body = xml('<EntityType Name="FactData"><Property Name="a" Type="Edm.String" MaxLength="2147483647"/></EntityType>')
    assert fact_columns(body)["a"].max_length == 2147483647


def test_types_may_lie_in_another_schema_than_the_container() -> None:
    body = (
        XML_HEAD
        + '><EntityType Name="FactData"><Property Name="a" Type="t.Money"/></EntityType></Schema>'
        + '<Schema Namespace="types.v1" Alias="t"><TypeDefinition Name="Money" UnderlyingType="Edm.Decimal" '
        + 'Precision="31" Scale="7"/></Schema></edmx:DataServices></edmx:Edmx>'
    ).encode()
    column = fact_columns(body)["a"]
    assert (column.edm_type, column.precision, column.scale, column.role) == ("Edm.Decimal", 31, 7, "measure")


DEFINITIONS = xml(
    '<TypeDefinition Name="Money" UnderlyingType="Edm.Decimal" Precision="31" Scale="7"/>'
    '<TypeDefinition Name="Code" UnderlyingType="Edm.String" MaxLength="8"/>'
    '<EnumType Name="Color" UnderlyingType="Edm.Int32"><Member Name="Red" Value="0"/></EnumType>'
    '<EntityType Name="Base" Abstract="true"><Key><PropertyRef Name="Code"/></Key>'
    '<Property Name="Code" Type="self.Code"/></EntityType>'
    '<EntityType Name="Middle" BaseType="self.Base"><Property Name="Color" Type="self.Color"/></EntityType>'
    '<EntityType Name="FactData" BaseType="self.Middle"><Property Name="Value" Type="sac.Money" Scale="2"/>'
    "</EntityType>",
    'Alias="self"',
)


def test_definitions_and_base_types_are_resolved() -> None:
    code, color, value = fact_columns(DEFINITIONS).values()
    assert (code.name, code.edm_type, code.role, code.max_length) == ("Code", "Edm.String", "dimension", 8)
    # An enumeration is text on the wire, whatever number is behind it.
    assert (color.name, color.edm_type, color.role) == ("Color", "self.Color", "attribute")
    assert (value.edm_type, value.role, value.precision, value.scale) == ("Edm.Decimal", "measure", 31, 2)


@pytest.mark.parametrize(
    ("edm_type", "role"),
    [
        *((name, "measure") for name in ("Decimal", "Double", "Single", "Byte", "SByte", "Int16", "Int32", "Int64")),
        *((name, "attribute") for name in ("String", "Date", "DateTimeOffset", "TimeOfDay", "Duration", "Boolean")),
        *((name, "attribute") for name in ("Guid", "Binary", "Stream", "GeographyPoint", "Fancy", "Untyped")),
    ],
)
def test_numbers_are_measures_and_everything_else_an_attribute_unless_it_is_a_key(edm_type: str, role: str) -> None:
    body = xml(
        f'<EntityType Name="FactData"><Key><PropertyRef Name="k"/></Key>'
        f'<Property Name="k" Type="Edm.{edm_type}"/><Property Name="x" Type="Edm.{edm_type}"/></EntityType>'
    )
    columns = fact_columns(body)
    assert (columns["k"].role, columns["x"].role) == ("dimension", role)
    assert columns["x"].edm_type == f"Edm.{edm_type}"


LABELS = {
    "sap:label": '<Property Name="a" Type="Edm.String" xmlns:sap="http://www.sap.com/Protocols/SAPData" '
    'sap:label="A label"/>',
    "long name": '<Property Name="a" Type="Edm.String"><Annotation Term="com.sap.vocabularies.Common.v1.Label" '
    'String="A label"/></Property>',
    "text element": '<Property Name="a" Type="Edm.String"><Annotation Term="Common.Label"><String>A label</String>'
    "</Annotation></Property>",
    "after another": '<Property Name="a" Type="Edm.String"><Annotation Term="Common.Label"/>'
    '<Annotation Term="Integration.OriginalDataType" String="x"/><Annotation Term="Common.Label" String="A label"/>'
    "</Property>",
}


@pytest.mark.parametrize("form", LABELS)
def test_labels_are_found_in_their_common_forms(form: str) -> None:
    assert fact_columns(xml(f'<EntityType Name="FactData">{LABELS[form]}</EntityType>'))["a"].label == "A label"


def test_labels_written_outside_of_their_property_are_found() -> None:
    body = xml(
        '<EntityType Name="FactData"><Property Name="a" Type="Edm.String"/></EntityType>'
        '<Annotations Target="self.FactData/a"><Annotation Term="Common.Label" String="A label"/></Annotations>'
        '<Annotations Target="self.FactData"><Annotation Term="Core.Description" String="No"/></Annotations>',
        'Alias="self"',
    )
    assert fact_columns(body)["a"].label == "A label"


def test_a_key_may_be_a_path_into_a_complex_property() -> None:
    body = xml(
        '<EntityType Name="FactData"><Key><PropertyRef Name="where/city" Alias="city"/></Key>'
        '<Property Name="where" Type="sac.Address"/></EntityType>'
    )
    assert fact_columns(body)["where"].role == "dimension"


@pytest.mark.parametrize(
    ("written", "nullable"), [("", True), ('Nullable="false"', False), ('Nullable="0"', False), ('Nullable="1"', True)]
)
def test_a_property_is_nullable_unless_it_is_said(written: str, nullable: bool) -> None:
    body = xml(f'<EntityType Name="FactData"><Property Name="a" Type="Edm.String" {written}/></EntityType>')
    assert fact_columns(body)["a"].nullable is nullable


def test_schema_looks_up_its_columns(schema: Schema) -> None:
    assert schema.column("Sector").role == "dimension"
    assert [c.name for c in schema.dimensions] == ["Version", "Date", "Sector"]
    assert {c.role for c in schema.measures} == {"measure"}
    assert len(schema.dimensions) + len(schema.measures) + len(schema.attributes) == len(schema.names)
    assert (schema.grain_of("Date"), schema.grain_of("Day"), schema.grain_of("Sector")) == ("month", "day", None)
    with pytest.raises(UnknownNameError, match="'Sector'") as caught:
        schema.column("sektor")
    assert caught.value.nearest == ("Sector",)


BAD = {
    "empty": (b"", "empty", True),
    "blank": (b" \r\n", "empty", True),
    "html": (b"<!DOCTYPE html><html><body>Log on</body></html>", "web page", False),
    "xhtml": (b'<?xml version="1.0"?><html xmlns="http://www.w3.org/1999/xhtml"/>', "web page", False),
    "text": (b"Bad gateway", "not XML", False),
    "doctype": (
        b'<?xml version="1.0"?><!DOCTYPE x [<!ENTITY a "b"><!ENTITY c "&a;&a;">]><x>&c;</x>',
        "DOCTYPE",
        False,
    ),
    "external entity": (
        b'<?xml version="1.0"?><!DOCTYPE x SYSTEM "file:///etc/passwd"><x/>',
        "DOCTYPE",
        False,
    ),
    "xml error": (b"<error><code>1</code><message>Model is gone [3707]</message></error>", r"gone \[3707\]", False),
    "json error": (b'{"error":{"code":"c","message":"Model is gone [3707]"}}', r"gone \[3707\]", False),
    "other xml": (b"<service/>", "<Edmx>", False),
    "utf-16": ('{"a":1}'.encode("utf-16"), "not readable XML", False),
    "unknown encoding": (b'<?xml version="1.0" encoding="klingon"?><a/>', "not readable XML", False),
    "garbage after the end": (XML + b"<again/>", "not readable XML", False),
    "json metadata": (b'{"$Version":"4.0","sac":{}}', r"not XML: it begins with .*\(declared as text/plain\)", False),
    "json nested beyond reason": (b'{"a":' * 100_000 + b"1" + b"}" * 100_000, "not XML", False),
    "no types in xml": (xml(""), "no entity types", False),
}


@pytest.mark.parametrize("name", BAD)
def test_what_is_no_metadata_is_refused(name: str) -> None:
    body, message, truncated = BAD[name]
    with pytest.raises(BadAnswer, match=message) as caught:
        parse_metadata(body, content_type="text/plain")
    assert caught.value.truncated is truncated


def test_metadata_cut_short_anywhere_is_refused() -> None:
    for length in range(len(XML)):
        with pytest.raises(BadAnswer) as caught:
            parse_metadata(XML[:length])
        # Cut before the first "<" is whole, nothing can be said; after that it can be asked for again.
        assert caught.value.truncated or length < 2


def cyclic(first: str, second: str) -> bytes:
    return xml(
        f'<EntityType Name="FactData" BaseType="sac.{first}"/><EntityType Name="B" BaseType="sac.{second}">'
        '<Property Name="a"/></EntityType>'
    )


CONTRADICTIONS = {
    "a key that is no property": (
        xml('<EntityType Name="FactData"><Key><PropertyRef Name="b"/></Key><Property Name="a"/></EntityType>'),
        "'b' as a key",
    ),
    "a property twice": (
        xml('<EntityType Name="FactData"><Property Name="a"/><Property Name="a"/></EntityType>'),
        "twice",
    ),
    "no columns": (xml('<EntityType Name="FactData"/>'), "without columns"),
    "a circle of base types": (cyclic("B", "FactData"), "inherit from itself"),
    "a base type that is not there": (cyclic("Nowhere", "B"), "does not declare"),
}


@pytest.mark.parametrize("name", CONTRADICTIONS)
def test_metadata_that_contradicts_itself_is_refused(name: str) -> None:
    body, message = CONTRADICTIONS[name]
    with pytest.raises(BadAnswer, match=message):
        parse_metadata(body).schema("P")


def test_a_property_without_a_name_is_refused() -> None:
    with pytest.raises(BadAnswer, match="without a name"):
        parse_metadata(xml('<EntityType Name="FactData"><Property Type="Edm.String"/></EntityType>'))


def test_annotations_of_hierarchies_are_named() -> None:
    body = xml(
        '<EntityType Name="FactData"><Property Name="Hierarchy" Type="Edm.String" sap:hierarchy-node-for="Store"'
        ' xmlns:sap="http://www.sap.com/Protocols/SAPData"/></EntityType>'
        '<Annotations Target="sac.FactData"><Annotation Term="Hierarchy.RecursiveHierarchy" Qualifier="H1"/>'
        '<Annotation Term="Common.Label" String="a hierarchy"/></Annotations>'
    )
    assert parse_metadata(body).document.hierarchies == ("hierarchy-node-for", "Hierarchy.RecursiveHierarchy")
    assert parse_metadata(XML).document.hierarchies == ()


def test_the_repr_does_not_hold_the_whole_document() -> None:
    assert repr(parse_metadata(XML)) == "Metadata(entity_sets=('MasterData', 'FactData'))"
    assert isinstance(parse_metadata(XML), Metadata)
