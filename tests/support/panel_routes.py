"""The routes of the side panel as a client sees them; each answer is held against docs/lab_api.yaml."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests
import yaml
from jsonschema import Draft202012Validator

from sacnb.lab.handlers import Lab

API = yaml.safe_load((Path(__file__).parents[2] / "docs" / "lab_api.yaml").read_text(encoding="utf-8"))
TOKEN = "canary-of-the-jupyter-server"  # planted
CLIENT_ID = "sb-canary!b1|client!b2"
CLIENT_SECRET = "canaryOfTheSecret<&$='"  # planted


@dataclass
class Api:
    """The routes as a client sees them; each answer is held against the document."""

    url: str
    lab: Lab
    texts: list[str]

    def call(self, method: str, path: str, *, headers: Any = None, **options: Any) -> requests.Response:
        known = {"Authorization": f"token {TOKEN}"} if headers is None else headers
        answer = requests.request(method, f"{self.url}sacnb{path}", headers=known, timeout=60, **options)
        self.texts.append(f"{dict(answer.headers)}\n{answer.text}")
        check_contract(method, path, answer)
        return answer

    def get(self, path: str, /, **params: str) -> Any:
        answer = self.call("GET", path, params=params)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def post(self, path: str, /, **body: Any) -> requests.Response:
        return self.call("POST", path, json=body)


def check_contract(method: str, path: str, answer: requests.Response) -> None:
    """Compare an answer with what docs/lab_api.yaml says of it."""
    place = next(known for known in API["paths"] if _matches(known, path))
    responses = API["paths"][place][method.lower()]["responses"]
    named = responses.get(str(answer.status_code)) or responses["default"]
    response = _resolved(named)
    assert answer.headers["Content-Type"].startswith("application/json")
    schema = {**response["content"]["application/json"]["schema"], "components": API["components"]}
    Draft202012Validator(schema).validate(answer.json())
    for name, header in response.get("headers", {}).items():
        if name in answer.headers:
            value: Any = answer.headers[name]
            Draft202012Validator(header["schema"]).validate(
                int(value) if header["schema"].get("type") == "integer" else value
            )
        else:
            assert not header.get("required"), name


def _resolved(node: dict[str, Any]) -> dict[str, Any]:
    if "$ref" not in node:
        return node
    found: Any = API
    for part in node["$ref"].removeprefix("#/").split("/"):
        found = found[part]
    return dict(found)


def _matches(known: str, path: str) -> bool:
    parts, asked = known.split("/"), path.split("/")
    return len(parts) == len(asked) and all(a == b or a.startswith("{") for a, b in zip(parts, asked, strict=True))
