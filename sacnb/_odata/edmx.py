"""Read ``$metadata`` in its XML form (EDMX)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final, NoReturn
from xml.etree import ElementTree as ET

from sacnb._odata.answers import refuse_problem
from sacnb._odata.csdl import Document, EntityType, Property, TypeDefinition
from sacnb.errors import BadAnswer

__all__ = ["first_segment", "is_label", "read_edmx", "size"]

# What expat says of a document that ends too early: no element, unclosed token, partial character, unclosed CDATA.
_CUT_SHORT: Final = frozenset({3, 5, 6, 20})
_DECIMAL: Final = re.compile(r"[0-9]{1,9}")


class _WithoutDoctype(ET.TreeBuilder):
    """Refuses a DOCTYPE at once: OData has none, and entities declared there can grow without bound."""

    def doctype(self, name: str, public_id: str | None, system_id: str | None) -> NoReturn:  # noqa: ARG002
        raise BadAnswer(
            f"$metadata came with a DOCTYPE ({name!r}), which OData does not have.",
            hint="A login page or a proxy may have answered instead of SAC: look at the tenant URL.",
        )


def read_edmx(body: bytes) -> Document:
    """What an EDMX document declares. XML namespaces are not looked at: only the local names of elements are.

    Raises:
        BadAnswer: it is not XML, cut short, has a DOCTYPE, or is an error or something else instead of metadata.
    """
    try:
        root = ET.fromstring(body.lstrip(), parser=ET.XMLParser(target=_WithoutDoctype()))  # noqa: S314 (no DOCTYPE)
    except (ET.ParseError, ValueError, LookupError) as error:
        cut = isinstance(error, ET.ParseError) and error.code in _CUT_SHORT
        raise BadAnswer(f"$metadata is not readable XML: {error}.", truncated=cut) from error
    if _local(root.tag) == "error":
        refuse_problem(body, "application/xml", "$metadata")
    if _local(root.tag) != "Edmx":
        raise BadAnswer(f"$metadata holds <{_local(root.tag)}> where <Edmx> was expected.")
    document = _Reader()
    for schema in (one for one in root.iter() if _local(one.tag) == "Schema"):
        document.read(schema)
    return document.document()


class _Reader:
    """Gathers what the schemas of one document declare."""

    def __init__(self) -> None:
        self._types: list[EntityType] = []
        self._sets: dict[str, str] = {}
        self._definitions: dict[str, TypeDefinition] = {}
        self._aliases: dict[str, str] = {}
        self._labels: dict[str, str] = {}

    def read(self, schema: ET.Element) -> None:
        namespace = schema.get("Namespace", "")
        if alias := schema.get("Alias"):
            self._aliases[alias] = namespace
        for child in _children(schema, "EntityType"):
            self._types.append(_entity_type(child, namespace))
        for child in _children(schema, "TypeDefinition"):
            self._definitions[f"{namespace}.{child.get('Name', '')}"] = TypeDefinition(
                underlying=child.get("UnderlyingType", ""),
                max_length=size(child.get("MaxLength")),
                precision=size(child.get("Precision")),
                scale=size(child.get("Scale")),
            )
        for container in _children(schema, "EntityContainer"):
            for child in _children(container, "EntitySet"):
                self._sets[child.get("Name", "")] = child.get("EntityType", "")
        for block in _children(schema, "Annotations"):
            if label := _label(block):
                self._labels[block.get("Target", "")] = label

    def document(self) -> Document:
        unresolved = Document(types=(), aliases=self._aliases)
        return Document(
            types=tuple(self._types),
            sets=self._sets,
            definitions=self._definitions,
            aliases=self._aliases,
            labels={unresolved.qualified(target): text for target, text in self._labels.items()},
        )


def _entity_type(element: ET.Element, namespace: str) -> EntityType:
    name = element.get("Name", "")
    properties = tuple(_property(child, name) for child in _children(element, "Property"))
    keys = (ref.get("Name", "") for key in _children(element, "Key") for ref in _children(key, "PropertyRef"))
    return EntityType(namespace, name, element.get("BaseType"), tuple(map(first_segment, keys)), properties)


def _property(element: ET.Element, owner: str) -> Property:
    name = element.get("Name")
    if not name:
        raise BadAnswer(f"$metadata declares a property of {owner!r} without a name.")
    return Property(
        name=name,
        type_name=element.get("Type", "Edm.String"),
        nullable=element.get("Nullable", "true").strip().lower() not in ("false", "0"),
        max_length=size(element.get("MaxLength")),
        precision=size(element.get("Precision")),
        scale=size(element.get("Scale")),
        label=_label(element),
    )


def _label(element: ET.Element) -> str | None:
    for attribute, text in element.attrib.items():
        if is_label(_local(attribute)) and text:
            return text
    for annotation in _children(element, "Annotation"):
        if is_label(annotation.get("Term", "")):
            text = annotation.get("String") or next((c.text for c in _children(annotation, "String") if c.text), "")
            if text:
                return text
    return None


def is_label(term: str) -> bool:
    """Whether a term is that of a label: ``sap:label``, ``Common.Label``, ``com.sap.vocabularies.Common.v1.Label``."""
    return re.split(r"[.:]", term)[-1].casefold() == "label"


def first_segment(path: str) -> str:
    """The property a path begins with: a key may be a part of a complex property."""
    return path.split("/", 1)[0]


def size(text: object) -> int | None:
    """A facet as a number; ``None`` for one that does not fix a number: ``max``, ``variable``, ``floating``, absent."""
    written = str(text) if isinstance(text, int | str) and not isinstance(text, bool) else ""
    return int(written) if _DECIMAL.fullmatch(written) else None


def _local(tag: str) -> str:
    return tag.rpartition("}")[2]


def _children(element: ET.Element, name: str) -> Iterator[ET.Element]:
    return (child for child in element if _local(child.tag) == name)
