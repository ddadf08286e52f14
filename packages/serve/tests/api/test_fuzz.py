"""Requests made from our own OpenAPI description, in bounds and out of them: never a failure of ours.

`CAMELID_FUZZ=10000` asks for that many instead of the few of every day.
"""

from __future__ import annotations

import os
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600)]

KEY = "open-sesame"
EXAMPLES = int(os.environ.get("CAMELID_FUZZ", "400"))


@pytest.mark.parametrize("mode", ["positive", "negative"])
def test_only_answers_and_refusals(api: Any, mode: str) -> None:
    generation = schemathesis.GenerationMode(mode)
    schema = schemathesis.openapi.from_dict(api.get("/openapi.json").json())
    operations = [result.ok() for result in schema.get_all_operations()]
    assert len(operations) >= 8
    strategies = []
    for operation in operations:
        weight = 3 if operation.body else 1
        strategies += [operation.as_strategy(generation_mode=generation)] * weight
    seen: dict[int, int] = {}

    @settings(
        max_examples=EXAMPLES // 2,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(st.one_of(strategies))
    def check(case: Any) -> None:
        response = case.call(base_url=api.url, headers={"authorization": f"Bearer {KEY}"})
        status = response.status_code
        seen[status] = seen.get(status, 0) + 1
        assert 200 <= status < 300 or 400 <= status < 500 or status == 503, (status, response.text)
        if status >= 400:
            assert set(response.json()["error"]) == {"message", "type", "param", "code"}

    check()
    assert sum(seen.values()) >= EXAMPLES // 2
    print(f"{mode}: {dict(sorted(seen.items()))}")
