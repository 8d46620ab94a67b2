"""Seeded ``$metadata`` documents with what each declares: one model, written in the ways that servers write it.

What a document means is known before it is written, so no second parser is needed to judge how it is read.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final
from xml.sax.saxutils import escape, quoteattr

_EDMX: Final = "http://docs.oasis-open.org/odata/ns/edmx"
_EDM: Final = "http://docs.oasis-open.org/odata/ns/edm"
_SAP: Final = "http://www.sap.com/Protocols/SAPData"
_NAMES: Final = (
    "Version", "Date", "Sector", "Store_3z2g5g06m4", "_x", "A", "Größe", "Überschrift", "Id", "FactData",
    "Date___CALMONTH", "Amount", "Quantity", "Price", "Share", "Note", "Customer", "Channel", "Product", "Region",
    "value", "Type", "Name",
)  # fmt: skip
_SETS: Final = ("FactData", "MasterData", "FactDataAggregation", "SectorMaster", "Sector", "FactDatas", "Facts")
_LABELS: Final = ("Sector", "Industry & sector", "<b>", "Größe in m²", 'say "x"', "O'Hare", "日本 🚀", "a  b")
_PLAIN: Final = ("Boolean", "Byte", "SByte", "Int16", "Int32", "Int64", "Double", "Single", "Date", "Guid", "Stream")
_ENCODINGS: Final = ("utf-8", "utf-8-sig", "utf-16", "iso-8859-1")


@dataclass(frozen=True)
class Declared:
    """A property as it is declared, with inherited and named facets resolved; ``None`` fixes no number."""

    name: str
    edm_type: str
    is_key: bool
    nullable: bool = True
    max_length: int | None = None
    precision: int | None = None
    scale: int | None = None
    label: str | None = None


@dataclass(frozen=True)
class Document:
    """The bytes of a document, and the properties of each of its entity sets."""

    body: bytes
    sets: Mapping[str, tuple[Declared, ...]]


def make_document(random_: random.Random) -> Document:
    """Return a document."""
    return _Writer(random_).document()


class _Writer:
    def __init__(self, random_: random.Random) -> None:
        self._random = random_
        self._namespace = random_.choice(["sac", "com.sap.cloud.export", "A"])
        self._types_namespace = random_.choice([self._namespace, "types.v1"])
        self._alias = random_.choice([None, "Self", "t"])
        self._edmx = random_.choice(["edmx:", "", "e:"])
        self._edm = random_.choice(["", "edm:"])
        self._definitions: list[str] = []
        self._outside: list[str] = []

    def document(self) -> Document:
        names = self._random.sample(_SETS, self._random.randint(1, 4))
        types, sets, entries = [], {}, []
        for name in names:
            type_name = name if self._random.random() < 0.6 else f"{name}Type"
            written, properties = self._entity_type(type_name)
            types.append(written)
            sets[name] = properties
            entries.append(self._element("EntitySet", Name=name, EntityType=self._qualified(type_name)))
        self._random.shuffle(types)
        container = self._element("EntityContainer", "".join(entries), Name="Container")
        enumeration = self._element("EnumType", self._element("Member", Name="Red", Value="0"), Name="Color")
        parts = [*types, *self._definitions, enumeration, self._complex()]
        if self._types_namespace == self._namespace:
            schemas = self._schema(self._namespace, "".join([*parts, container, *self._outside]))
        else:
            apart = [self._schema(self._types_namespace, "".join(parts)),
                     self._schema(self._namespace, "".join([container, *self._outside]), alias=False)]  # fmt: skip
            self._random.shuffle(apart)
            schemas = "".join(apart)
        return Document(self._encoded(self._around(schemas)), sets)

    def _entity_type(self, name: str) -> tuple[str, tuple[Declared, ...]]:
        names = self._random.sample(_NAMES, self._random.randint(1, 9))
        keys = names[: self._random.randint(1, min(4, len(names)))]
        inherited = names[: self._random.randint(len(keys), len(names))] if self._random.random() < 0.3 else []
        base = f"{name}Base"
        written: dict[str, str] = {}
        declared: list[Declared] = []
        for one in names:
            written[one], found = self._property(base if one in inherited else name, one, is_key=one in keys)
            declared.append(found)
        key = self._element("Key", "".join(self._element("PropertyRef", Name=one) for one in keys))
        abroad = self._element("NavigationProperty", Name="Members", Type=f"Collection({self._qualified(name)})")
        if not inherited:
            inside = key + "".join(written[one] for one in names) + abroad
            return self._element("EntityType", inside, Name=name), tuple(declared)
        above = key + "".join(written[one] for one in inherited)
        first = self._element("EntityType", above, Name=base, Abstract="true")
        rest = "".join(written[one] for one in names if one not in inherited)
        second = self._element("EntityType", rest + abroad, Name=name, BaseType=self._qualified(base))
        return (first + second if self._random.random() < 0.5 else second + first), tuple(declared)

    def _property(self, owner: str, name: str, *, is_key: bool) -> tuple[str, Declared]:
        facets: dict[str, str] = {}
        found = Declared(name, "Edm.String", is_key)
        kind = "text" if is_key else self._random.choice(["text", "decimal", "decimal", "plain", "other", "named"])
        if kind in {"text", "named"}:
            lengths = ["6", "256", "max", None, "2147483647"]
            length = self._random.choice(lengths)
            if length is not None:
                facets["MaxLength"] = length
                found = replace(found, max_length=None if length == "max" else int(length))
        elif kind == "decimal":
            found = replace(found, edm_type="Edm.Decimal")
            precision, scale = self._random.choice(
                [("31", "7"), ("38", "variable"), (None, "floating"), ("5", None), ("15", "0")]
            )
            if precision is not None:
                facets["Precision"] = precision
                found = replace(found, precision=int(precision))
            if scale is not None:
                facets["Scale"] = scale
                found = replace(found, scale=int(scale) if scale.isdigit() else None)
        elif kind == "plain":
            found = replace(found, edm_type=f"Edm.{self._random.choice(_PLAIN)}")
        else:
            other = self._random.choice(["Color", "Address", "Collection(Edm.String)"])
            found = replace(found, edm_type=other if "(" in other else f"{self._types_namespace}.{other}")
        if (nullable := self._random.choice([None, "true", "false"])) is not None:
            facets["Nullable"] = nullable
            found = replace(found, nullable=nullable == "true")
        facets["Type"] = found.edm_type
        if kind == "named":
            definition = f"Text{len(self._definitions)}"
            own = {"MaxLength": facets.pop("MaxLength")} if "MaxLength" in facets else {}
            self._definitions.append(
                self._element("TypeDefinition", Name=definition, UnderlyingType="Edm.String", **own)
            )
            facets["Type"] = self._qualified(definition)
        inside, found = self._labelled(owner, found, facets)
        pairs = list(facets.items())
        self._random.shuffle(pairs)
        return self._element("Property", inside, Name=name, **dict(pairs)), found

    def _labelled(self, owner: str, found: Declared, facets: dict[str, str]) -> tuple[str, Declared]:
        way = self._random.choice(["no", "no", "sap", "inline", "element", "outside"])
        if way == "no":
            return "", found
        label = self._random.choice(_LABELS)
        term = self._random.choice(["Common.Label", "com.sap.vocabularies.Common.v1.Label"])
        if way == "sap":
            facets["sap:label"] = label
            return "", replace(found, label=label)
        if way == "element":
            text = self._element("Annotation", self._element("String", escape(label)), Term=term)
        else:
            text = self._element("Annotation", Term=term, String=label)
        if way == "outside":
            target = f"{self._qualified(owner)}/{found.name}"
            self._outside.append(self._element("Annotations", text, Target=target))
            return "", replace(found, label=label)
        return text, replace(found, label=label)

    def _complex(self) -> str:
        return self._element("ComplexType", self._element("Property", Name="Street", Type="Edm.String"), Name="Address")

    def _qualified(self, name: str) -> str:
        qualifier = self._random.choice([self._types_namespace, self._alias or self._types_namespace])
        return f"{qualifier}.{name}"

    def _schema(self, namespace: str, inside: str, *, alias: bool = True) -> str:
        attributes = {"Namespace": namespace}
        if alias and self._alias is not None:
            attributes["Alias"] = self._alias
        attributes["xmlns:edm" if self._edm else "xmlns"] = _EDM
        return self._element("Schema", inside, **attributes)

    def _element(self, tag: str, inside: str = "", **attributes: str) -> str:
        quote = self._random.choice(['"', "'"])
        entities = {quote: "&quot;" if quote == '"' else "&#39;", "\n": "&#10;"}
        blanks = self._random.choice([" ", "\n  "])
        shown = "".join(f"{blanks}{name}={quote}{escape(text, entities)}{quote}" for name, text in attributes.items())
        filler = self._random.choice(["", "", "\n", "<!-- <Property Name='no'/> -->", " "])
        if tag == "String":
            filler = ""
        name = f"{self._edm}{tag}"
        return f"<{name}{shown}/>{filler}" if not inside else f"<{name}{shown}>{filler}{inside}</{name}>{filler}"

    def _around(self, schemas: str) -> str:
        prefix = self._edmx
        declared = f"xmlns:{prefix[:-1]}" if prefix else "xmlns"
        root = f"{declared}={quoteattr(_EDMX)} xmlns:sap={quoteattr(_SAP)} Version={quoteattr('4.0')}"
        included = f"<{prefix}Include Namespace='Common.v1' Alias='Common'/>"
        reference = f"<{prefix}Reference Uri='v.xml'>{included}</{prefix}Reference>"
        inside = f"{reference}<{prefix}DataServices>{schemas}</{prefix}DataServices>"
        return f"<{prefix}Edmx {root}>{inside}</{prefix}Edmx>"

    def _encoded(self, text: str) -> bytes:
        encoding = self._random.choice(_ENCODINGS)
        if encoding == "iso-8859-1":
            head = "<?xml version='1.0' encoding='ISO-8859-1'?>"
            return (head + text).encode("iso-8859-1", "xmlcharrefreplace")
        head = self._random.choice(
            ["", "<?xml version='1.0'?>", f"<?xml version=\"1.0\" encoding='{encoding[:6].rstrip('-')}'?>"]
        )
        said = self._random.choice(["", "<!-- made from <html> pages -->"])
        return (head + said + text).encode(encoding)
