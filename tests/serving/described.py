"""Answers against the description of the service, by schemathesis, which takes seconds to load: no
module of tests loads it as a whole.
"""


def description(client):
    """The description of a running service."""
    import schemathesis

    return schemathesis.openapi.from_url(f"{client.base_url}/openapi.json")


def checks(*, errors=False):
    """What an answer is held to. errors: it may be an error of the service, such as 503."""
    from schemathesis.checks import not_a_server_error
    from schemathesis.specs.openapi.checks import (
        content_type_conformance,
        response_schema_conformance,
        status_code_conformance,
    )

    return [
        *([] if errors else [not_a_server_error]),
        status_code_conformance,
        content_type_conformance,
        response_schema_conformance,
    ]
