"""A small model in the sandbox whose facts change, and a tenant that reads it."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import changing as its
import pytest

import sacnb.sandbox
from sacnb._tenant import Model, Tenant
from sacnb._track.track import Track
from sacnb.sandbox import Sandbox


@pytest.fixture(scope="session")
def served() -> Iterator[Sandbox]:
    """One sandbox for all these tests: starting one takes longer than most of them."""
    with sacnb.sandbox.start(scale_rows=1) as sandbox:
        yield sandbox


@pytest.fixture
def changing(served: Sandbox) -> Iterator[Sandbox]:
    """The sandbox with the model CHANGING, of 24 rows, without subscriptions and misbehaviours."""
    served.add_model(its.first_model())
    served.expire_subscriptions()
    yield served
    served.behave()


@pytest.fixture
def tenant(changing: Sandbox, connect_to: Callable[..., Tenant]) -> Tenant:
    return connect_to(changing, max_attempts=2)


@pytest.fixture
def model(tenant: Tenant) -> Model:
    return tenant.model("CHANGING")


@pytest.fixture
def track(model: Model) -> Track:
    """Pages of five rows, so that changes have several pages."""
    return model.track(page_size=5)
