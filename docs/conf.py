"""Settings of the documentation site: ``make docs`` builds it from the repository's own tree.

The source folder is the root of the repository, so that a link in Markdown means the same on a code host and here.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

from docutils import nodes
from pygments.lexers.shell import BashLexer
from sphinx import addnodes

import sacnb

# Notebooks answer from their cassettes, whatever the environment of the build says.
for variable in [name for name in os.environ if name.startswith("SAC_")]:
    del os.environ[variable]
os.environ["SAC_REPLAY"] = "replay"

project = "sacnb"
author = "The sacnb developers"
project_copyright = author
version = release = sacnb.__version__

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.intersphinx",
    "sphinx.ext.napoleon",
    "sphinx_copybutton",
    "sphinx_external_toc",
]
external_toc_path = "docs/toc.yml"
include_patterns = ["*.md", "docs/**", "notebooks/*.ipynb"]
exclude_patterns = [".*", "out", "dist", "build", "sacnb", "tests", "cassettes", "docs/conf.py", "docs/static"]
nitpicky = False

# Markdown: anchors as a code host makes them.
myst_heading_anchors = 4
myst_enable_extensions = ["attrs_inline"]
myst_links_external_new_tab = False

# Notebooks: run anew for each build; an error fails it. Widgets need a kernel, so their static form is shown.
nb_execution_mode = "force"
nb_execution_raise_on_error = True
nb_execution_timeout = 120
nb_ipywidgets_js = {}
suppress_warnings = ["mystnb.unknown_mime_type"]  # of a chart's forms the picture is shown, not Vega-Lite's JSON
nb_mime_priority_overrides = [("html", "application/vnd.jupyter.widget-view+json", None)]

# The reference: every class and function by its public name.
add_module_names = False
autodoc_member_order = "alphabetical"
autodoc_default_options = {"members": True}
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
autoclass_content = "class"
maximum_signature_line_length = 100
toc_object_entries_show_parents = "hide"
python_use_unqualified_type_names = True

# Inventories of the few names that are linked lie in docs/inventories: the build needs no network.
_INVENTORIES = Path(__file__).parent / "inventories"
intersphinx_mapping = {
    "python": ("https://docs.python.org/3", str(_INVENTORIES / "python.inv")),
    "pandas": ("https://pandas.pydata.org/docs", str(_INVENTORIES / "pandas.inv")),
    "polars": ("https://docs.pola.rs/api/python/stable", str(_INVENTORIES / "polars.inv")),
    "pyarrow": ("https://arrow.apache.org/docs", str(_INVENTORIES / "pyarrow.inv")),
}

html_theme = "furo"
html_title = f"sacnb {version}"
html_show_copyright = False
html_copy_source = False
html_static_path = ["static"]
html_css_files = ["site.css"]
copybutton_exclude = ".linenos, .gp, .go"
copybutton_prompt_text = r"\$ "
copybutton_prompt_is_regexp = True

# Names as code writes them and as objects report them, and the public ones that the inventories list.
_PREFIXES = {
    "pa.": "pyarrow.",
    "pd.": "pandas.",
    "pl.": "polars.",
    "pyarrow.lib.": "pyarrow.",
    "polars.dataframe.frame.": "polars.",
    "polars.lazyframe.frame.": "polars.",
    "polars.expr.expr.": "polars.",
    "pandas.core.frame.": "pandas.",
}


def show_no_constructor(
    app: Any, what: str, name: str, obj: object, options: Any, signature: str | None, returned: str | None
) -> tuple[str, None] | None:
    """Leave out how classes are made: users get their objects from functions and methods."""
    return ("", None) if signature and what in {"class", "exception"} else None


def mark_code_blocks(app: Any, what: str, name: str, obj: object, options: Any, lines: list[str]) -> None:
    """Tell reStructuredText that the indented lines of a module's docstring are code."""
    if what == "module":
        for number in range(len(lines) - 1, 0, -1):
            if lines[number].startswith("    ") and not lines[number - 1].strip():
                before = next((line for line in reversed(lines[:number]) if line.strip()), "")
                if not before.startswith("    "):
                    lines[number:number] = ["::", ""]


def keep_sentences(app: Any, what: str, name: str, obj: object, options: Any, lines: list[str]) -> None:
    """Undo what napoleon makes of a property's first sentence: it takes the words before a colon for a type."""
    kept = [line for line in lines if not line.startswith(":type: ")]
    if what in {"property", "attribute", "data"} and len(kept) < len(lines):
        (words,) = (line.removeprefix(":type: ") for line in lines if line.startswith(":type: "))
        lines[:] = [f"{words}: {kept[0]}", *kept[1:]]


def complete_short_names(app: Any, env: Any, node: Any, contnode: Any) -> Any:
    """Resolve ``pl.DataFrame`` to polars, and a bare ``ContractError`` to the one public class of that name."""
    if node.get("refdomain") != "py":
        return None
    for written, public in _PREFIXES.items():
        if node["reftarget"].startswith(written):
            node["reftarget"] = public + node["reftarget"].removeprefix(written)
            return None
    domain = env.domains.python_domain
    found = sorted((name for name in domain.objects if name.endswith(f".{node['reftarget']}")), key=len)
    if not found:
        return None
    return domain.resolve_xref(env, node["refdoc"], app.builder, "obj", found[0], node, contnode)


def prefer_the_face(app: Any, doctree: nodes.document) -> None:
    """Let ``Model`` mean ``sacnb.Model`` on every page but the sandbox's, which has a class of that name, too."""
    if app.env.docname == "docs/api/sandbox":
        return
    for reference in doctree.findall(addnodes.pending_xref):
        if reference.get("refdomain") == "py" and reference["reftarget"] in sacnb.__all__:
            reference["reftarget"] = f"sacnb.{reference['reftarget']}"


def describe_charts(app: Any, doctree: nodes.document) -> None:
    """Give the picture of a chart the text that the notebook holds beside it, for those who hear the page."""
    for bundle in doctree.findall(nodes.container):
        if bundle.get("nb_element") == "mime_bundle":
            texts = [form.astext() for form in bundle.children if form.get("mime_type") == "text/plain"]
            for image in bundle.findall(nodes.image):
                image["alt"] = " ".join(texts)


_PICTURE = re.compile(
    r'<picture>\s*<source media="\(prefers-color-scheme: dark\)" srcset="(?P<dark>[^"]+)">\s*'
    r'<img alt="(?P<alt>[^"]+)" src="(?P<light>[^"]+)" width="(?P<width>\d+)">\s*</picture>'
)


def follow_the_theme(app: Any, docname: str, source: list[str]) -> None:
    """Turn ``<picture>``, which follows the system, into two images that follow the theme chosen on the site."""
    source[0] = _PICTURE.sub(
        r"![\g<alt>](\g<light>){.only-light width=\g<width>}\n![\g<alt>](\g<dark>){.only-dark width=\g<width>}",
        source[0],
    )


def setup(app: Any) -> None:
    """Register the functions above; Sphinx calls this."""
    app.add_lexer("dotenv", BashLexer)
    app.connect("autodoc-process-signature", show_no_constructor)
    app.connect("autodoc-process-docstring", mark_code_blocks, priority=100)
    app.connect("autodoc-process-docstring", keep_sentences, priority=900)
    app.connect("doctree-read", describe_charts)
    app.connect("doctree-read", prefer_the_face)
    app.connect("source-read", follow_the_theme)
    app.connect("missing-reference", complete_short_names, priority=100)
