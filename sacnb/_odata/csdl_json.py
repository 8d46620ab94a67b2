"""Read ``$metadata`` in its JSON form (CSDL JSON), which SAC gives for ``$format=JSON``."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from sacnb._odata.answers import is_cut_short, refuse_problem, text_of
from sacnb._odata.csdl import Document, EntityType, Property, TypeDefinition
from sacnb._odata.edmx import first_segment, is_label, size
from sacnb.errors import BadAnswer

__all__ = ["read_csdl_json"]

_Json = Mapping[str, Any]


def read_csdl_json(body: bytes) -> Document:
    """What a CSDL JSON document declares. A property without ``$Type`` is an ``Edm.String``, as the standard says.

    Raises:
        BadAnswer: it is not JSON, cut short, or an error or something else instead of metadata.
    """
    text = text_of(body, "$metadata")
    try:
        root = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise BadAnswer(f"$metadata is not readable JSON: {error}.", truncated=is_cut_short(text, error)) from error
    if "error" in root and "$Version" not in root:
        refuse_problem(body, "application/json", "$metadata")
    types: list[EntityType] = []
    sets: dict[str, str] = {}
    definitions: dict[str, TypeDefinition] = {}
    aliases: dict[str, str] = {}
    labels: dict[str, str] = {}
    for namespace, schema in _members(root):
        if isinstance(alias := schema.get("$Alias"), str):
            aliases[alias] = namespace
        for written, member in _members(schema):
            name = written.rpartition(".")[2]
            match member.get("$Kind"):
                case "EntityType":
                    types.append(_entity_type(namespace, name, member))
                case "TypeDefinition":
                    definitions[f"{namespace}.{name}"] = TypeDefinition(
                        underlying=str(member.get("$UnderlyingType", "")),
                        max_length=size(member.get("$MaxLength")),
                        precision=size(member.get("$Precision")),
                        scale=size(member.get("$Scale")),
                    )
                case "EntityContainer":
                    sets.update((one, str(of.get("$Type"))) for one, of in _members(member) if of.get("$Collection"))
        annotations = schema.get("$Annotations")
        for target, block in _members(annotations) if isinstance(annotations, dict) else ():
            if label := _label(block):
                labels[target] = label
    resolving = Document(types=(), aliases=aliases)
    return Document(
        types=tuple(types),
        sets=sets,
        definitions=definitions,
        aliases=aliases,
        labels={resolving.qualified(target): text for target, text in labels.items()},
    )


def _entity_type(namespace: str, name: str, member: _Json) -> EntityType:
    base = member.get("$BaseType")
    return EntityType(
        namespace=namespace,
        name=name,
        base=base if isinstance(base, str) else None,
        keys=tuple(_keys(member.get("$Key"))),
        properties=tuple(
            _property(one, of) for one, of in _members(member) if of.get("$Kind", "Property") == "Property"
        ),
    )


def _keys(written: object) -> Iterator[str]:
    """Key names; one that is a path comes as ``{alias: path}``."""
    for key in written if isinstance(written, list) else ():
        for path in key.values() if isinstance(key, dict) else (key,):
            yield first_segment(str(path))


def _property(name: str, written: _Json) -> Property:
    type_name = str(written.get("$Type", "Edm.String"))
    return Property(
        name=name,
        type_name=f"Collection({type_name})" if written.get("$Collection") is True else type_name,
        nullable=written.get("$Nullable", False) is True,
        max_length=size(written.get("$MaxLength")),
        precision=size(written.get("$Precision")),
        scale=size(written.get("$Scale")),
        label=_label(written),
    )


def _label(written: _Json) -> str | None:
    found = (text for term, text in written.items() if term.startswith("@") and is_label(term))
    return next((text for text in found if isinstance(text, str) and text), None)


def _members(written: _Json) -> Iterator[tuple[str, dict[str, Any]]]:
    """The named things in an object: not the ``$`` keywords, not the ``@`` annotations, not plain values."""
    for name, value in written.items():
        if not name.startswith("$") and "@" not in name and isinstance(value, dict):
            yield name, value
