"""``$metadata`` as sacnb reads it, against what is declared: by the writer of the document, or as lxml reads it."""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

from sacnb._odata.metadata import parse_metadata
from sacnb.errors import BadAnswer, SacError

from .documents import Declared, make_document
from .verdict import Verdict

_LARGEST: Final = 2**31 - 1

Sets = Mapping[str, tuple[Declared, ...]]


def judge_generated(*, seed: int, count: int) -> Verdict:
    """Judge documents whose meaning is known before they are written."""
    verdict = Verdict("$metadata against what was declared, generated documents")
    random_ = random.Random(seed)
    for number in range(count):
        document = make_document(random_)
        verdict.tried += 1
        _compare(verdict, f"document {number} of seed {seed}", document.body, document.sets)
    return verdict


def judge_the_lxml_judge(*, seed: int, count: int) -> Verdict:
    """Judge the judge: lxml's reading of generated documents is what was declared."""
    verdict = Verdict("the lxml judge against what was declared, generated documents")
    random_ = random.Random(seed)
    for number in range(count):
        document = make_document(random_)
        verdict.tried += 1
        if read_with_lxml(document.body) != document.sets:
            verdict.wrong.append(f"document {number} of seed {seed} is read otherwise by lxml")
    return verdict


def judge_with_lxml(whose: str, documents: Iterable[tuple[str, bytes]]) -> Verdict:
    """Judge documents of others: name and bytes of each."""
    verdict = Verdict(f"$metadata against a reading with lxml, {whose}")
    for name, body in documents:
        verdict.tried += 1
        try:
            sets = read_with_lxml(body)
        except NotMetadata as error:
            verdict.not_judged[str(error)] += 1
            continue
        _compare(verdict, name, body, sets)
    return verdict


def metadata_below(folder: Path) -> Iterable[tuple[str, bytes]]:
    """Yield what looks like ``$metadata`` in a folder of files."""
    for path in sorted(folder.rglob("*")):
        if path.suffix.lower() in {".xml", ".edmx", ".csdl"} and path.is_file():
            body = path.read_bytes()
            if b"Edmx" in body or b"E\0d\0m\0x" in body:
                yield str(path.relative_to(folder)), body


class NotMetadata(Exception):
    """The document is none, or not whole: what it needs stands in another one."""


def read_with_lxml(body: bytes) -> Sets:
    """Return the properties of each entity set whose type the document holds."""
    from lxml import etree  # type: ignore[import-untyped,unused-ignore]

    try:
        root = etree.fromstring(body, etree.XMLParser(resolve_entities=False))
    except etree.XMLSyntaxError:
        raise NotMetadata("it is not well-formed") from None
    if etree.QName(root).localname != "Edmx" or root.getroottree().docinfo.doctype:
        raise NotMetadata("it is no Edmx document")
    found = {}
    reading = _Reading(root)
    for one in root.iterfind(".//{*}EntityContainer/{*}EntitySet"):
        entity_type = reading.named(one.get("EntityType"), "EntityType")
        if entity_type is not None and (declared := reading.properties(entity_type)):
            found[one.get("Name")] = declared
    if not found:
        raise NotMetadata("it has no entity set whose type it declares")
    return found


class _Reading:
    def __init__(self, root: Any) -> None:
        self._root = root
        self._aliases = {
            one.get("Alias"): one.get("Namespace") for one in root.iterfind(".//{*}Schema") if one.get("Alias")
        }

    def named(self, name: str, tag: str) -> Any:
        namespace, _, simple = name.rpartition(".")
        namespace = self._aliases.get(namespace, namespace)
        return next(
            (
                one
                for schema in self._root.iterfind(".//{*}Schema")
                if schema.get("Namespace") == namespace
                for one in schema.iterfind(f"{{*}}{tag}")
                if one.get("Name") == simple
            ),
            None,
        )

    def properties(self, entity_type: Any) -> tuple[Declared, ...]:
        lineage = [entity_type]
        while (base := lineage[0].get("BaseType")) is not None:
            parent = self.named(base, "EntityType")
            if parent is None or parent in lineage:
                raise NotMetadata("a type inherits from one that stands elsewhere")
            lineage.insert(0, parent)
        keys: list[str] = []
        for one in lineage:
            keys = [ref.get("Name").split("/")[0] for ref in one.iterfind("{*}Key/{*}PropertyRef")] or keys
        return tuple(self._property(one, owner, keys) for owner in lineage for one in owner.iterfind("{*}Property"))

    def _property(self, one: Any, owner: Any, keys: list[str]) -> Declared:
        definition = self.named(one.get("Type", "Edm.String"), "TypeDefinition")
        facets = {} if definition is None else dict(definition.attrib)
        facets.update(one.attrib)
        return Declared(
            name=one.get("Name"),
            edm_type=one.get("Type", "Edm.String") if definition is None else definition.get("UnderlyingType"),
            is_key=one.get("Name") in keys,
            nullable=facets.get("Nullable", "true") not in {"false", "0"},
            max_length=_number(facets.get("MaxLength")),
            precision=_number(facets.get("Precision")),
            scale=_number(facets.get("Scale")),
            label=self._label(one, owner),
        )

    def _label(self, one: Any, owner: Any) -> str | None:
        for name, text in one.attrib.items():
            if name.rpartition("}")[2].lower() == "label" and text:
                return str(text)
        namespace = owner.getparent().get("Namespace")
        blocks = [one]
        for block in self._root.iterfind(".//{*}Schema/{*}Annotations"):
            target, _, path = block.get("Target", "").partition("/")
            space, _, simple = target.rpartition(".")
            if (self._aliases.get(space, space), simple, path) == (namespace, owner.get("Name"), one.get("Name")):
                blocks.append(block)
        for block in blocks:
            for annotation in block.iterfind("{*}Annotation"):
                if annotation.get("Term", "").rpartition(".")[2].lower() == "label":
                    text = annotation.get("String") or annotation.findtext("{*}String")
                    if text:
                        return str(text)
        return None


def _number(text: str | None) -> int | None:
    return int(text) if text is not None and text.isascii() and text.isdigit() and int(text) <= _LARGEST else None


def _compare(verdict: Verdict, name: str, body: bytes, sets: Sets) -> None:
    try:
        metadata = parse_metadata(body)
        unlisted = set(sets) - set(metadata.entity_sets)
        if unlisted:
            verdict.wrong.append(f"{name}: {sorted(unlisted)} is not listed")
        for entity_set, declared in sets.items():
            schema = metadata.schema("P", entity_set)
            keys = {column.name for column in schema.dimensions}
            found = tuple(
                Declared(
                    one.name, one.edm_type, one.name in keys, one.nullable, one.max_length, one.precision, one.scale,
                    one.label,
                )
                for one in schema.columns
            )  # fmt: skip
            for ours, theirs in zip(found, declared, strict=False):
                if ours != theirs:
                    verdict.wrong.append(f"{name}: {entity_set} read as {ours}, declared as {theirs}")
            if len(found) != len(declared):
                verdict.wrong.append(f"{name}: {entity_set} has {len(found)} columns and not {len(declared)}")
    except BadAnswer as error:
        verdict.wrong.append(f"{name} is refused: {error}")
    except SacError as error:
        verdict.wrong.append(f"{name}: {type(error).__name__}: {error}")
