"""Write ``$metadata``: XML, which is SAC's default, and CSDL JSON for ``$format=JSON``."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final
from xml.sax.saxutils import quoteattr

from sacnb.sandbox.relation import Relation
from sacnb.sandbox.schema import Column

__all__ = ["csdl_json", "csdl_xml"]

_HIERARCHY: Final = "com.sap.vocabularies.Hierarchy.v1.RecursiveHierarchy"


def csdl_xml(namespace: str, sets: Mapping[str, Relation], *, hierarchies: bool = False) -> bytes:
    """Return EDMX 4.0 as in the published fixtures of DataHub.

    One entity type per set, ``MasterData`` before ``FactData``, the dimensions as the key of ``FactData``, and the
    annotation ``Integration.OriginalDataType`` on strings. With ``hierarchies`` a term of SAP's vocabulary annotates
    each parent column. SAP announced that ``$metadata`` describes hierarchies, but the form is unconfirmed.
    """
    lines = [
        '<?xml version="1.0" encoding="utf-8"?>',
        '<edmx:Edmx xmlns:edmx="http://docs.oasis-open.org/odata/ns/edmx" Version="4.0">',
        "  <edmx:DataServices>",
        f'    <Schema xmlns="http://docs.oasis-open.org/odata/ns/edm" Namespace={quoteattr(namespace)}>',
    ]
    for name, relation in sets.items():
        lines += _entity_type(name, relation)
        if hierarchies:
            lines[-1:-1] = _hierarchy_annotations(relation)
    lines.append('      <EntityContainer Name="Container">')
    lines += [
        f"        <EntitySet Name={quoteattr(name)} EntityType={quoteattr(f'{namespace}.{name}')}/>" for name in sets
    ]
    lines += ["      </EntityContainer>", "    </Schema>", "  </edmx:DataServices>", "</edmx:Edmx>"]
    return "\n".join(lines).encode()


def _entity_type(name: str, relation: Relation) -> list[str]:
    lines = [f"      <EntityType Name={quoteattr(name)}>"]
    keys = "".join(f"<PropertyRef Name={quoteattr(c.name)}/>" for c in relation.columns if c.key)
    if keys:
        lines.append(f"        <Key>{keys}</Key>")
    for column in relation.columns:
        facets = f"        <Property Name={quoteattr(column.name)} Type={quoteattr(column.edm_type)}"
        if column.max_length is not None:
            facets += f' MaxLength="{column.max_length}"'
        if column.precision is not None:
            facets += f' Precision="{column.precision}"'
        if column.scale is not None:
            facets += f' Scale="{column.scale}"'
        if column.nullable and not column.key and column.edm_type != "Edm.String":
            facets += ' Nullable="true"'
        if column.edm_type == "Edm.String":
            annotation = '<Annotation Term="Integration.OriginalDataType"><String>NVARCHAR</String></Annotation>'
            lines += [facets + ">", f"          {annotation}", "        </Property>"]
        else:
            lines.append(facets + "/>")
    lines.append("      </EntityType>")
    return lines


def _hierarchy_annotations(relation: Relation) -> list[str]:
    lines: list[str] = []
    for column in relation.columns:
        if column.name == "Parent" or column.name.endswith("_PARENTID"):
            qualifier = quoteattr(column.name.removesuffix("_PARENTID"))
            lines += [
                f'        <Annotation Term="{_HIERARCHY}" Qualifier={qualifier}><Record>',
                '          <PropertyValue Property="NodeProperty" PropertyPath="ID"/>',
                f'          <PropertyValue Property="ParentNodeProperty" PropertyPath={quoteattr(column.name)}/>',
                "        </Record></Annotation>",
            ]
    return lines


def csdl_json(namespace: str, sets: Mapping[str, Relation]) -> bytes:
    """Return CSDL JSON 4.0, without ``$Type`` for strings, as the OData standard allows."""
    types: dict[str, Any] = {}
    container: dict[str, Any] = {"$Kind": "EntityContainer"}
    for name, relation in sets.items():
        entity: dict[str, Any] = {"$Kind": "EntityType", "$Key": [c.name for c in relation.columns if c.key]}
        entity.update((c.name, _property(c)) for c in relation.columns)
        types[name] = entity
        container[name] = {"$Collection": True, "$Type": f"{namespace}.{name}"}
    types["Container"] = container
    document = {"$Version": "4.0", "$EntityContainer": f"{namespace}.Container", namespace: types}
    return json.dumps(document, ensure_ascii=False).encode()


def _property(column: Column) -> dict[str, Any]:
    facets: dict[str, Any] = {}
    if column.edm_type == "Edm.String":
        facets["@Integration.OriginalDataType"] = "NVARCHAR"
    else:
        facets["$Type"] = column.edm_type
    if column.nullable and not column.key:
        facets["$Nullable"] = True  # the default is false in CSDL JSON, and true in XML
    optional = {"$MaxLength": column.max_length, "$Precision": column.precision, "$Scale": column.scale}
    facets.update((key, value) for key, value in optional.items() if value is not None)
    return facets
