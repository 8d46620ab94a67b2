"""What a schema shows of itself."""

from __future__ import annotations

from IPython.lib.pretty import pretty

from sacnb._odata.schema import Column, DateColumn, Schema


def test_a_schema_shows_itself_as_a_table_and_escapes_what_the_tenant_named() -> None:
    columns = (
        Column("Date", "Edm.String", "dimension", max_length=256),
        Column("<b>Region</b>", "Edm.String", "dimension", label="Where & how"),
        Column("Amount", "Edm.Decimal", "measure", precision=31, scale=7),
        Column("Rate", "Edm.Decimal", "measure", precision=31),
        Column("Booked", "Edm.Date", "attribute"),
    )
    dates = (DateColumn("Date", "month"), DateColumn("Booked", None))
    schema = Schema("M", "FactData", columns, date_columns=dates)
    assert str(schema).splitlines() == [
        "M/FactData: 2 dimensions, 2 measures, 1 attribute",
        "column         role       type                  about",
        "Date           dimension  Edm.String(256)       date by month",
        "<b>Region</b>  dimension  Edm.String            Where & how",
        "Amount         measure    Edm.Decimal(31, 7)",
        "Rate           measure    Edm.Decimal(31, any)",
        "Booked         attribute  Edm.Date              date of unknown grain",
    ]
    assert "<b>" not in schema._repr_html_()
    assert "&lt;b&gt;Region&lt;/b&gt;" in schema._repr_html_()
    assert "Where &amp; how" in schema._repr_markdown_()


def test_ipython_prints_the_table_too() -> None:
    schema = Schema("M", "FactData", (Column("Date", "Edm.String", "dimension"),))
    assert pretty(schema) == str(schema)
    assert eval(repr(schema)) == schema
