"""What a ``$metadata`` document declares, in whichever form it was written, with its names resolved."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from sacnb.errors import BadAnswer

__all__ = ["Document", "EntityType", "Property", "TypeDefinition"]


@dataclass(frozen=True, slots=True)
class Property:
    """One property of an entity type, as it is written."""

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

    ``labels`` are those written outside of their property: ``"sac.FactData/Sector"`` to text.
    """

    types: tuple[EntityType, ...]
    sets: Mapping[str, str] = field(default_factory=dict)
    definitions: Mapping[str, TypeDefinition] = field(default_factory=dict)
    aliases: Mapping[str, str] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)

    def qualified(self, name: str) -> str:
        """``name`` with the alias of its namespace replaced by the namespace."""
        namespace, dot, simple = name.rpartition(".")
        return f"{self.aliases.get(namespace, namespace)}{dot}{simple}"

    def type_of(self, entity_set: str) -> EntityType | None:
        """The entity type of a set: the one its container names, else the one called exactly like the set.

        SAC gives the type the name of the set; ``FactData`` must match neither ``FactDataAggregation`` nor
        ``MasterData``, which may stand before it.
        """
        declared = self.sets.get(entity_set)
        found = self._named(declared) if declared is not None else None
        return found or self._named(entity_set)

    def properties_of(self, entity_type: EntityType) -> tuple[tuple[Property, ...], tuple[str, ...]]:
        """The properties and key names of a type, the inherited ones first, with types and labels resolved.

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
        for key in keys:
            if key not in found:
                raise BadAnswer(f"$metadata names {key!r} as a key of {entity_type.name!r}, but not as its property.")
        return tuple(found.values()), keys

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
