"""Read a provider's ``$metadata`` (EDMX) into the schemas of its entity sets."""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Final, NoReturn
from xml.etree import ElementTree as ET

from sacnb._endpoints import DEFAULT_NAMESPACE, FACT_DATA, MASTER_DATA, master_set
from sacnb._http import is_web_page
from sacnb._odata.envelope import first_byte, refuse_foreign, refuse_problem
from sacnb._odata.schema import MASTER_SEPARATOR, NUMERIC_TYPES, Column, DateColumn, Grain, Role, Schema, date_columns
from sacnb.errors import BadAnswer, UnknownNameError

__all__ = [
    "Column",
    "DateColumn",
    "Document",
    "EntityType",
    "Grain",
    "Metadata",
    "Property",
    "Role",
    "Schema",
    "TypeDefinition",
    "is_label",
    "parse_metadata",
    "read_edmx",
    "size",
]


@dataclass(frozen=True, slots=True)
class Property:
    """One property of an entity type, as declared."""

    name: str
    type_name: str
    nullable: bool = True
    max_length: int | None = None
    precision: int | None = None
    scale: int | None = None
    label: str | None = None


@dataclass(frozen=True, slots=True)
class EntityType:
    """One entity type, without what it inherits. ``keys`` is empty where the base type has them."""

    namespace: str
    name: str
    base: str | None
    keys: tuple[str, ...]
    properties: tuple[Property, ...]


@dataclass(frozen=True, slots=True)
class TypeDefinition:
    """A name for a primitive type, with facets of its own."""

    underlying: str
    max_length: int | None = None
    precision: int | None = None
    scale: int | None = None


@dataclass(frozen=True, slots=True)
class Document:
    """A whole ``$metadata``: entity types, entity sets (name to type name), type definitions, aliases and labels.

    ``labels`` are those written outside of their property: ``"sac.FactData/Sector"`` to text. ``references`` are the
    addresses of further documents, which are not read. ``hierarchies`` are the names of annotations that speak of
    hierarchies: SAP announced them for SAC, and their form is not public (unconfirmed), so they are only named.
    """

    types: tuple[EntityType, ...]
    sets: Mapping[str, str] = field(default_factory=dict)
    definitions: Mapping[str, TypeDefinition] = field(default_factory=dict)
    aliases: Mapping[str, str] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    references: tuple[str, ...] = ()
    hierarchies: tuple[str, ...] = ()

    def qualified(self, name: str) -> str:
        """Return ``name`` with the alias of its namespace replaced by the namespace."""
        namespace, dot, simple = name.rpartition(".")
        return f"{self.aliases.get(namespace, namespace)}{dot}{simple}"

    def type_of(self, entity_set: str) -> EntityType | None:
        """Return the entity type of a set: the one its container names, else the one called exactly like the set.

        SAC gives the type the name of the set; ``FactData`` must match neither ``FactDataAggregation`` nor
        ``MasterData``, which may stand before it.
        """
        declared = self.sets.get(entity_set)
        found = self._named(declared) if declared is not None else None
        return found or self._named(entity_set)

    def missing_type(self, entity_set: str) -> BadAnswer:
        """Return the error for a set whose type the document names and does not hold."""
        declared = self.sets[entity_set]
        elsewhere = f" It refers to {', '.join(self.references)}, where the type may be." if self.references else ""
        return BadAnswer(
            f"$metadata gives {entity_set!r} the type {declared!r}, which it does not declare.{elsewhere}",
            hint="sacnb reads one document only. Report this to your SAC administrator.",
        )

    def properties_of(self, entity_type: EntityType) -> tuple[tuple[Property, ...], tuple[str, ...]]:
        """Return the properties and key names of a type, inherited ones first, with types and labels resolved.

        Raises:
            BadAnswer: the type inherits from itself or from a type that is not there, has a property twice, or a key
                that is no property.
        """
        keys: tuple[str, ...] = ()
        found: dict[str, Property] = {}
        for ancestor in reversed(self._lineage(entity_type)):
            keys = ancestor.keys or keys
            for one in ancestor.properties:
                if one.name in found:
                    raise BadAnswer(f"$metadata declares the property {one.name!r} of {entity_type.name!r} twice.")
                found[one.name] = self._resolved(one, ancestor)
        own = []
        for key in keys:
            name, behind, _ = key.partition("/")
            if name in found:
                own.append(name)
            elif not behind:  # a path through a navigation property, as SAP CAP writes it, is a key of the other set
                raise BadAnswer(f"$metadata names {key!r} as a key of {entity_type.name!r}, but not as its property.")
        return tuple(found.values()), tuple(own)

    def _named(self, name: str) -> EntityType | None:
        wanted = self.qualified(name)
        for one in self.types:
            if f"{one.namespace}.{one.name}" == wanted:
                return one
        return next((one for one in self.types if one.name == name), None)

    def _lineage(self, entity_type: EntityType) -> list[EntityType]:
        lineage = [entity_type]
        while (base := lineage[-1].base) is not None:
            parent = self._named(base)
            if parent is None:
                raise BadAnswer(
                    f"$metadata lets {lineage[-1].name!r} inherit from {base!r}, which it does not declare."
                )
            if parent in lineage:
                raise BadAnswer(f"$metadata lets {entity_type.name!r} inherit from itself.")
            lineage.append(parent)
        return lineage

    def _resolved(self, one: Property, owner: EntityType) -> Property:
        label = one.label or self.labels.get(f"{owner.namespace}.{owner.name}/{one.name}")
        definition = self.definitions.get(self.qualified(one.type_name))
        if definition is None:
            return replace(one, label=label)
        return replace(
            one,
            type_name=definition.underlying,
            max_length=one.max_length if one.max_length is not None else definition.max_length,
            precision=one.precision if one.precision is not None else definition.precision,
            scale=one.scale if one.scale is not None else definition.scale,
            label=label,
        )


# expat's codes for a document that ends too early: no element, unclosed token, partial character, unclosed CDATA.
_CUT_SHORT: Final = frozenset({3, 5, 6, 20})
_DECIMAL: Final = re.compile(r"[0-9]{1,18}")


_HEAD_BYTES: Final = 4096
_UTF16: Final = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


class _WithoutDoctype(ET.TreeBuilder):
    """Tree builder that refuses a DOCTYPE: OData has none, and entities declared there can grow without bound."""

    def doctype(self, name: str, public_id: str | None, system_id: str | None) -> NoReturn:  # noqa: ARG002
        raise BadAnswer(
            f"$metadata came with a DOCTYPE ({name!r}), which OData does not have.",
            hint="A login page or a proxy may have answered instead of SAC: look at the tenant URL.",
        )


def read_edmx(body: bytes) -> Document:
    """Read what an EDMX document declares, by the local names of its elements whatever their XML namespace.

    Raises:
        BadAnswer: it is not XML, cut short, has a DOCTYPE, or is an error or something else instead of metadata.
    """
    try:
        text = body if body.startswith(_UTF16) else body.lstrip()
        root = ET.fromstring(text, parser=ET.XMLParser(target=_WithoutDoctype()))  # noqa: S314 (no DOCTYPE)
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
    references = tuple(one.get("Uri", "") for one in root if _local(one.tag) == "Reference")
    return replace(document.document(), references=references, hierarchies=_hierarchy_terms(root))


class _Reader:
    """Collector of what the schemas of one document declare."""

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
    return EntityType(namespace, name, element.get("BaseType"), tuple(keys), properties)


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


def _hierarchy_terms(root: ET.Element) -> tuple[str, ...]:
    """Return the terms and attributes that annotate hierarchies: ``Hierarchy.RecursiveHierarchy``, for example."""
    terms = (
        (one.get("Term", ""), *map(_local, one.attrib)) if _local(one.tag) == "Annotation" else map(_local, one.attrib)
        for one in root.iter()
    )
    return tuple(dict.fromkeys(term for found in terms for term in found if "hierarchy" in term.casefold()))


def is_label(term: str) -> bool:
    """Return whether a term is a label: ``sap:label``, ``Common.Label``, ``com.sap.vocabularies.Common.v1.Label``."""
    return re.split(r"[.:]", term)[-1].casefold() == "label"


def size(text: object) -> int | None:
    """Read a facet as a number; ``None`` where it fixes none: ``max``, ``variable``, ``floating``, absent."""
    written = str(text) if isinstance(text, int | str) and not isinstance(text, bool) else ""
    return int(written) if _DECIMAL.fullmatch(written) else None


def _local(tag: str) -> str:
    return tag.rpartition("}")[2]


def _children(element: ET.Element, name: str) -> Iterator[ET.Element]:
    return (child for child in element if _local(child.tag) == name)


@dataclass(frozen=True, slots=True)
class Metadata:
    """The declarations of a provider. ``entity_sets`` are those of its container, else its entity types."""

    entity_sets: tuple[str, ...]
    document: Document = field(repr=False)

    def schema(self, provider_id: str, entity_set: str = FACT_DATA, namespace: str = DEFAULT_NAMESPACE) -> Schema:
        """Return the columns, roles and dates of one entity set.

        Raises:
            UnknownNameError: the provider has no such entity set; the error holds the nearest names.
            BadAnswer: the entity type contradicts itself, or has no columns.
        """
        entity_type = self.document.type_of(entity_set)
        if entity_type is None and entity_set in self.document.sets:
            raise self.document.missing_type(entity_set)
        if entity_type is None:
            raise UnknownNameError("entity set", entity_set, self.entity_sets, where=f"the model {provider_id}")
        properties, keys = self.document.properties_of(entity_type)
        if not properties:
            raise BadAnswer(f"$metadata of {provider_id!r} declares {entity_set!r} without columns.")
        columns = tuple(_column(one, is_key=one.name in keys) for one in properties)
        attributes = {column.name: self._master_attributes(column.name) for column in columns}
        return Schema(provider_id, entity_set, columns, namespace, date_columns(columns, attributes))

    def _master_attributes(self, name: str) -> tuple[str, ...]:
        """Return a dimension's attributes, from the columns of ``MasterData`` and from its own master set."""
        prefix = f"{name}{MASTER_SEPARATOR}"
        joined = (one.removeprefix(prefix) for one in self._property_names(MASTER_DATA) if one.startswith(prefix))
        return (*joined, *self._property_names(master_set(name)))

    def _property_names(self, entity_set: str) -> tuple[str, ...]:
        entity_type = self.document.type_of(entity_set)
        return tuple(one.name for one in entity_type.properties) if entity_type is not None else ()


def parse_metadata(body: bytes, *, content_type: str | None = None) -> Metadata:
    """Read ``$metadata``, an XML document; ``content_type`` only helps the message.

    Raises:
        BadAnswer: it is not XML, cut short, a web page, an error, or contradicts itself; ``truncated`` where asking
            again may help.
    """
    if _is_json_error(body):
        refuse_problem(body, content_type, "$metadata")
    if first_byte(body) != b"<" and not body.startswith(_UTF16):
        refuse_foreign(body, "$metadata", "XML", content_type)
    try:
        document = read_edmx(body.removeprefix(codecs.BOM_UTF8))
    except BadAnswer:
        # Only now: a comment in real metadata may speak of <html> too.
        if is_web_page(body) and b"Edmx" not in body[:_HEAD_BYTES]:
            refuse_foreign(body, "$metadata", "XML", content_type)
        raise
    if not document.types:
        raise BadAnswer("$metadata declares no entity types.", hint="Is the model empty, or still being created?")
    return Metadata(tuple(document.sets) or tuple(one.name for one in document.types), document)


def _is_json_error(body: bytes) -> bool:
    """Return whether ``body`` is a JSON error object, which gateways and SAC send whatever was asked for."""
    try:
        return first_byte(body) == b"{" and "error" in json.loads(body)
    except (ValueError, RecursionError):
        return False


def _column(one: Property, *, is_key: bool) -> Column:
    role: Role = "dimension" if is_key else "measure" if one.type_name in NUMERIC_TYPES else "attribute"
    return Column(
        name=one.name,
        edm_type=one.type_name,
        role=role,
        nullable=one.nullable,
        max_length=one.max_length,
        precision=one.precision,
        scale=one.scale,
        label=one.label,
    )
