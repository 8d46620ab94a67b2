"""Paths, headers and parameter names of SAC, in one place.

The facts are SAP's REST guide and, where marked, what others saw on live tenants; ``docs/sac_facts.md`` gathers them.
"""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import quote

DEFAULT_NAMESPACE: Final = "sac"

API_ROOT: Final = "/api/v1"
CSRF_PATH: Final = "/api/v1/csrf"
EXPORT_ROOT: Final = "/api/v1/dataexport"
IMPORT_ROOT: Final = "/api/v1/dataimport"
# Both serve users and teams: the first is reported from live tenants, the second is read in public code.
SCIM_ROOT: Final = "/api/v1/scim"
SCIM2_ROOT: Final = "/api/v1/scim2"
ACTIVITIES_PATH: Final = "/api/v1/audit/activities/exportActivities"
STATISTICS_ROOT: Final = "/api/v1/monitoring"
FILES_PATH: Final = "/api/v1/filerepository/Resources"
NAMESPACES_PATH: Final = f"{EXPORT_ROOT}/administration/Namespaces"
SUBSCRIPTIONS_PATH: Final = f"{EXPORT_ROOT}/administration/Subscriptions"
MULTI_ACTIONS_ROOT: Final = "/api/v1/multiActions"
# Namespace and entity set of what is exported beside models, as in SAP's guide; one client got a 404 for the first.
TABLES: Final = {
    "dimension": ("sac_public_dimensions", "PublicDimensionData"),
    "currency": ("sac_currency_tables", "CurrencyTable"),
    "unit": ("sac_unit_conversion", "ConversionRates"),
}
# What the import service calls these tables: its service, and how the names in its lists begin (SAP's guide).
IMPORT_TABLES: Final = {
    "dimension": ("publicDimensions", "publicDimension"),
    "currency": ("currencyConversions", "currencyConversion"),
    "unit": ("unitConversions", "unitConversion"),
}
IMPORT_MODELS_PATH: Final = f"{IMPORT_ROOT}/models"

FACT_DATA: Final = "FactData"
FACT_DATA_AGGREGATION: Final = "FactDataAggregation"
MASTER_DATA: Final = "MasterData"

# Sent with every request: without it SAC keeps a session cookie (SAP KBA 3387282, 3566761; seen on live tenants).
CUSTOM_AUTH_HEADER: Final = "x-sap-sac-custom-auth"
CSRF_HEADER: Final = "x-csrf-token"
# Starts a subscription in SAC, so it is sent only where a user asked for change tracking.
TRACK_CHANGES: Final = {"Prefer": "odata.track-changes"}
# SAC does not document a request id header; these were seen on SAP's gateways and are read tolerantly (unconfirmed).
REQUEST_ID_HEADERS: Final = ("x-request-id", "x-correlationid", "x-correlation-id", "x-vcap-request-id")

# ``pagesize`` is SAC's own parameter, not an OData option, and has no dollar sign.
PAGE_SIZE_PARAMETER: Final = "pagesize"
# Documented as "the nth page"; that pages can be asked for in any order, and from 1, is unconfirmed.
PACKAGE_PARAMETER: Final = "package"
SELECT: Final = "$select"
FILTER: Final = "$filter"
ORDER_BY: Final = "$orderby"
TOP: Final = "$top"
SKIP: Final = "$skip"
COUNT: Final = "$count"
FORMAT: Final = "$format"

# The member that stands for "unassigned", and the parent of a root in a hierarchy.
UNASSIGNED: Final = "#"
HIERARCHY_ROOT: Final = "<root>"
HIERARCHY_SUFFIX: Final = "MasterWithHierarchy"
# What a parent column is called, after the name of its hierarchy (seen on live tenants).
PARENT_SUFFIX: Final = "_PARENTID"
# SAC's number, in the message of a 404, for an entity set that the model does not have.
NO_SUCH_ENTITY_SET: Final = 3707

# What stands for the tenant in a cassette. Names below .invalid never resolve (RFC 6761, section 6.4).
REPLAY_TENANT_URL: Final = "https://tenant.replay.invalid"
REPLAY_TOKEN_URL: Final = "https://token.replay.invalid/oauth/token"  # noqa: S105 - an address


IMPORT_JOBS_PATH: Final = f"{IMPORT_ROOT}/jobs"


def segment(name: str) -> str:
    """Return *name* as one path segment: percent-encoded, so a provider id with ``:`` or ``/`` stays in its place."""
    return quote(name, safe="")


def import_path(service: str, name: str, below: str = "") -> str:
    """Return the path of a model or table in the import service: ``metadata``, or an import type to create a job."""
    return f"{IMPORT_ROOT}/{service}/{segment(name)}" + (f"/{below}" if below else "")


def import_job_path(job_id: str, step: str = "") -> str:
    """Return the path of an import job, or of one of its steps: validate, run, status, invalidRows."""
    return f"{IMPORT_JOBS_PATH}/{segment(job_id)}" + (f"/{step}" if step else "")


def multi_action_path(action_id: str, run_id: str = "") -> str:
    """Return the path of the runs of a multi-action, or of one run."""
    return f"{MULTI_ACTIONS_ROOT}/{segment(action_id)}/executions" + (f"/{segment(run_id)}" if run_id else "")


def providers_path(namespace: str = DEFAULT_NAMESPACE) -> str:
    """Return the path that lists the providers (exported models) of a namespace."""
    literal = segment(namespace.replace("'", "''"))
    return f"{NAMESPACES_PATH}(NamespaceID='{literal}')/Providers"


def provider_path(provider_id: str, namespace: str = DEFAULT_NAMESPACE) -> str:
    """Return the path of a provider's service document, with the trailing slash that SAP's own URL has."""
    return f"{EXPORT_ROOT}/providers/{segment(namespace)}/{segment(provider_id)}/"


def metadata_path(provider_id: str, namespace: str = DEFAULT_NAMESPACE) -> str:
    """Return the path of a provider's ``$metadata``."""
    return provider_path(provider_id, namespace) + "$metadata"


def entity_set_path(provider_id: str, entity_set: str, namespace: str = DEFAULT_NAMESPACE) -> str:
    """Return the path of one entity set of a provider."""
    return provider_path(provider_id, namespace) + segment(entity_set)


def subscription_path(provider_id: str, subscription_id: str, namespace: str = DEFAULT_NAMESPACE) -> str:
    """Return the path of one subscription of a provider."""
    names = {"NamespaceID": namespace, "ProviderID": provider_id, "SubscriptionID": subscription_id}
    keys = ",".join(f"{name}='{segment(value.replace(chr(39), chr(39) * 2))}'" for name, value in names.items())
    return f"{SUBSCRIPTIONS_PATH}({keys})"


def master_set(dimension: str) -> str:
    """Return the entity set with a dimension's members; a name that already ends in ``Master`` is kept."""
    return dimension if dimension.endswith("Master") else f"{dimension}Master"


def hierarchy_set(dimension: str) -> str:
    """Return the entity set with a dimension's members and their parents."""
    return f"{dimension.removesuffix('Master')}{HIERARCHY_SUFFIX}"


# The hosts SAC tenants are known to live under (section 2 of the facts). Two digits: Cloud Foundry, which has the
# Data Export Service. One digit: NEO, whose token path is another one and which has no Data Export Service.
_TENANT_HOST = re.compile(
    r"^(?P<tenant>[a-z0-9][a-z0-9-]*)\.(?:api\.)?(?P<region>[a-z]{2}\d{2})\."
    r"(?:sapanalytics\.cloud|hcs\.cloud\.sap|hanacloudservices\.cloud\.sap)$"
)


def derive_token_url(tenant_host: str) -> str | None:
    """Return the token URL that usually belongs to a tenant's host, or ``None`` where guessing is not safe.

    The host has one of two forms: ``<tenant>.<region>.<domain>`` in a browser, and with ``.api.`` before the region,
    which SAP recommends for programs. The token service has no ``.api.``.

    SAP does not guarantee that the tenant has the same name on both hosts (unconfirmed), so it is a convenience only.
    """
    match = _TENANT_HOST.match(tenant_host.lower())
    if match is None:
        return None
    return f"https://{match['tenant']}.authentication.{match['region']}.hana.ondemand.com/oauth/token"
