"""Whatever is sent to the paths that our OpenAPI names, the answer is one that it names too, and no error of ours."""

from collections import Counter

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from dispatch.store import Store
from server.dispatcher import Dispatcher
from server.service import Operation, create_service
from server.settings import Settings
from server.tokens import Right, new_token
from tests.small_bundle import write_small_bundle

SECRET, TOKEN = new_token("tests", (Right.ADMIN,))
PROMISES = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]
EXAMPLES = 30  # of each mode and operation


@pytest.fixture(scope="module")
def schema(tmp_path_factory):
    store = Store(f"sqlite:///{tmp_path_factory.mktemp('service') / 'state.db'}")
    dispatcher = Dispatcher.from_bundle(write_small_bundle(tmp_path_factory.mktemp("bundle")))
    app = create_service(dispatcher, store, Settings(tokens=(TOKEN,)), Operation(requests_per_second=1e6))
    yield schemathesis.openapi.from_asgi("/openapi.json", app)
    store.close()


@pytest.mark.parametrize("mode", list(GenerationMode))
def test_every_answer_is_one_that_is_promised(schema, mode):
    """Orders as described, and orders that break the description."""
    answered = Counter()
    for found in schema.get_all_operations():
        operation = found.ok()

        @settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
        @given(case=operation.as_strategy(generation_mode=mode))
        def ask(case):
            answer = case.call(headers={"Authorization": f"Bearer {SECRET}"})
            case.validate_response(answer, checks=PROMISES)
            answered[answer.status_code] += 1

        ask()
    inside = sum(count for status, count in answered.items() if status not in (401, 403, 429))
    assert inside > 2 * EXAMPLES, "what is answered at the door proves nothing"
    assert answered[200] > 0
