"""Slots: FIFO, a bounded queue, and no slot is lost when a waiting request is cancelled."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

import pytest
from camelid_serve.api.errors import ApiError
from camelid_serve.api.slots import Slots
from hypothesis import given
from hypothesis import strategies as st


def run(work: Coroutine[Any, Any, Any]) -> Any:
    return asyncio.run(work)


@given(
    st.integers(1, 4),
    st.lists(st.tuples(st.integers(1, 6), st.booleans(), st.integers(0, 3)), max_size=12),
)
def test_all_slots_are_released_and_the_queue_is_fifo(size: int, visitors: list[tuple[int, bool, int]]) -> None:
    async def scenario() -> None:
        slots = Slots(size, 100)
        served: list[int] = []

        async def visit(number: int, weight: int, steps: int) -> None:
            slot = await slots.take(weight)
            served.append(number)
            assert 0 < slots.taken <= size
            for _ in range(steps):
                await asyncio.sleep(0)
            slot.release()
            slot.release()

        tasks = [asyncio.ensure_future(visit(n, weight, steps)) for n, (weight, _, steps) in enumerate(visitors)]
        await asyncio.sleep(0)
        for task, (_, leaves, steps) in zip(tasks, visitors, strict=True):
            if leaves and steps == 0:
                task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert served == sorted(served)
        assert (slots.taken, slots.waiting) == (0, 0)

    run(scenario())


def test_a_full_queue_is_429_with_retry_after() -> None:
    async def scenario() -> None:
        slots = Slots(1, 2)
        held = await slots.take(1)
        waiting = [asyncio.ensure_future(slots.take(1)) for _ in range(2)]
        await asyncio.sleep(0)
        with pytest.raises(ApiError) as refusal:
            await slots.take(1)
        assert refusal.value.status_code == 429
        assert int((refusal.value.headers or {})["retry-after"]) >= 1
        held.release()
        (await waiting[0]).release()
        (await waiting[1]).release()
        assert slots.taken == 0

    run(scenario())


def test_a_cancellation_at_its_turn_passes_the_slot_on() -> None:
    async def scenario() -> None:
        slots = Slots(1, 5)
        held = await slots.take(1)
        first, second = (asyncio.ensure_future(slots.take(1)) for _ in range(2))
        await asyncio.sleep(0)
        held.release()
        first.cancel()  # its turn has come, and it does not know yet
        (await second).release()
        assert slots.taken == 0

    run(scenario())


def test_closing_ends_waiting_requests() -> None:
    async def scenario() -> None:
        slots = Slots(1, 5)
        held = await slots.take(1)
        waiting = asyncio.ensure_future(slots.take(1))
        await asyncio.sleep(0)
        slots.close(ApiError(503, "closing"))
        for late in (waiting, slots.take(1)):
            with pytest.raises(ApiError, match="closing"):
                await late
        held.release()
        assert slots.taken == 0

    run(scenario())
