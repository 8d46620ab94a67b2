"""Read a provider's ``$metadata``: XML or JSON in, the schema of an entity set out.

SAC sends XML whatever ``Accept`` says, and JSON for ``$format=JSON``.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from sacnb._endpoints import DEFAULT_NAMESPACE, FACT_DATA, MASTER_DATA, master_set
from sacnb._odata.answers import BOM, first_byte, is_html, refuse_foreign
from sacnb._odata.csdl import Document, Property
from sacnb._odata.csdl_json import read_csdl_json
from sacnb._odata.dates import MASTER_SEPARATOR, date_columns
from sacnb._odata.edmx import read_edmx
from sacnb._odata.schema import NUMERIC_TYPES, Column, DateColumn, Grain, Role, Schema
from sacnb.errors import BadAnswer, UnknownNameError

__all__ = ["Column", "DateColumn", "Grain", "Metadata", "Role", "Schema", "parse_metadata"]


@dataclass(frozen=True, slots=True)
class Metadata:
    """What a provider declares. ``entity_sets`` are those of its container, or its entity types where it has none."""

    entity_sets: tuple[str, ...]
    document: Document = field(repr=False)

    def schema(self, provider_id: str, entity_set: str = FACT_DATA, namespace: str = DEFAULT_NAMESPACE) -> Schema:
        """The columns, roles and dates of one entity set.

        Raises:
            UnknownNameError: the provider has no such entity set; the error holds the nearest names.
            BadAnswer: the entity type contradicts itself, or has no columns.
        """
        entity_type = self.document.type_of(entity_set)
        if entity_type is None:
            raise UnknownNameError("entity set", entity_set, self.entity_sets, where=f"the model {provider_id}")
        properties, keys = self.document.properties_of(entity_type)
        if not properties:
            raise BadAnswer(f"$metadata of {provider_id!r} declares {entity_set!r} without columns.")
        columns = tuple(_column(one, is_key=one.name in keys) for one in properties)
        attributes = {column.name: self._master_attributes(column.name) for column in columns}
        return Schema(provider_id, entity_set, columns, namespace, date_columns(columns, attributes))

    def _master_attributes(self, name: str) -> tuple[str, ...]:
        """The attributes of a dimension, from the columns of ``MasterData`` and from the dimension's own master set."""
        prefix = f"{name}{MASTER_SEPARATOR}"
        joined = (one.removeprefix(prefix) for one in self._property_names(MASTER_DATA) if one.startswith(prefix))
        return (*joined, *self._property_names(master_set(name)))

    def _property_names(self, entity_set: str) -> tuple[str, ...]:
        entity_type = self.document.type_of(entity_set)
        return tuple(one.name for one in entity_type.properties) if entity_type is not None else ()


def parse_metadata(body: bytes, *, content_type: str | None = None) -> Metadata:
    """Read ``$metadata``; whether it is XML or JSON is told by its first byte, ``content_type`` only helps the message.

    Raises:
        BadAnswer: it is neither, cut short, a web page, an error, or contradicts itself; ``truncated`` where asking
            again may help.
    """
    first = first_byte(body)
    if first == b"{":
        document = read_csdl_json(body)
    elif first == b"<" and not is_html(body):
        document = read_edmx(body.removeprefix(BOM))
    else:
        refuse_foreign(body, "$metadata", "XML or JSON", content_type)
    if not document.types:
        raise BadAnswer("$metadata declares no entity types.", hint="Is the model empty, or still being created?")
    return Metadata(tuple(document.sets) or tuple(one.name for one in document.types), document)


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
