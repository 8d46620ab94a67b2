"""``.env.example`` says what the settings say, and every line of it works."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import certifi
import pytest

from sacnb._settings import VARIABLES, Settings, Variable
from sacnb.replay.scan import scan_paths

EXAMPLES = {variable.name: variable.example for variable in VARIABLES}
_LINE = re.compile(r"^(?:# )?(SAC_\w+)=(.*)$", re.MULTILINE)


@pytest.fixture
def example(root: Path) -> Path:
    return root / ".env.example"


@pytest.fixture
def blocks(example: Path) -> dict[str, str]:
    """The block of lines about each variable, by the variable's name."""
    found = {}
    for block in example.read_text(encoding="utf-8").split("\n\n"):
        lines = _LINE.findall(block)
        if lines:
            assert len(lines) == 1, block
            found[lines[0][0]] = block
    return found


def test_it_holds_every_variable_once_and_in_order(example: Path) -> None:
    names = [name for name, _ in _LINE.findall(example.read_text(encoding="utf-8"))]
    assert names == [variable.name for variable in VARIABLES]


@pytest.mark.parametrize("variable", VARIABLES, ids=lambda variable: variable.name)
def test_meaning_default_and_example_are_those_of_the_settings(variable: Variable, blocks: dict[str, str]) -> None:
    comment = blocks[variable.name].removeprefix("# ").replace("\n# ", " ")
    meaning = f"{variable.meaning}. Default: {variable.default or 'none'}."
    assert comment.casefold().startswith(meaning.casefold())
    assert variable.example in blocks[variable.name]


def test_as_it_stands_it_asks_for_the_sandbox_and_nothing_else(example: Path) -> None:
    assert Settings.resolve(environ={}, dotenv_path=example) == Settings.resolve(environ={}, tenant_url="sandbox")


def test_every_line_switched_on_is_accepted(example: Path, tmp_path: Path) -> None:
    bundle = tmp_path / "company-ca.pem"
    shutil.copy(certifi.where(), bundle)
    text = re.sub(r"^# (?=SAC_)", "", example.read_text(encoding="utf-8"), flags=re.MULTILINE)
    text = text.replace("SAC_TENANT_URL=sandbox", f"SAC_TENANT_URL={EXAMPLES['SAC_TENANT_URL']}")
    text = text.replace("C:/certificates/company-ca.pem", bundle.as_posix())
    text = text.replace("SAC_PROFILE=prod\n", "")  # it takes the place of tenant and client
    dotenv = tmp_path / ".env"
    dotenv.write_text(text, encoding="utf-8")

    settings = Settings.resolve(environ={}, dotenv_path=dotenv)

    assert settings.client_id == "sb-00000000-0000-0000-0000-000000000000!b0|client!b0"
    assert settings.client_secret.reveal() == "00000000-0000-0000-0000-000000000000$your-secret="
    assert settings.ca_bundle == bundle
    assert settings.notes == ()
    for variable in VARIABLES:
        if variable.default.replace(".", "").isdigit():
            assert getattr(settings, variable.argument) == float(variable.default)


def test_it_would_pass_the_secret_scan(example: Path) -> None:
    assert scan_paths([example]) == ()
