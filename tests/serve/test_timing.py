"""Composers about time, failure and load on a real Ray cluster: one application has them all, one request picks one."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections import Counter
from collections.abc import AsyncIterator, Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from stretto import Client, Pipeline, deploy, step
from stretto.errors import DeadlineExceeded, Overloaded, StepError
from stretto_composers import Report, cache, circuit_breaker, hedge, limit, race, retry, shadow, switch, timeout

pytestmark = [
    pytest.mark.usefixtures("ray_cluster"),
    pytest.mark.asyncio(loop_scope="module"),
]

CALLS: Counter[str] = Counter()


async def work(row: dict[str, Any]) -> Any:
    """Do what the row says: answer with the calls so far, fail at first, or hang and tell of its end."""
    CALLS[row["id"]] += 1
    match row["do"]:
        case "count":
            await asyncio.sleep(row.get("seconds", 0.0))
        case "crowd":
            CALLS["crowd"] += 1
            await asyncio.sleep(0.1)
            CALLS["crowd"] -= 1
            return CALLS["crowd"] + 1
        case "fail at first" if CALLS[row["id"]] < 3:
            raise ConnectionError("not yet")
        case "fail":
            raise ConnectionError("down")
        case "hang":
            await hang(Path(row["file"]))
        case _:
            pass
    return CALLS[row["id"]]


def note(file: Path, word: str) -> None:
    with file.open("a") as log:
        log.write(f"{word}\n")


async def hang(file: Path) -> None:
    note(file, "begun")
    try:
        await asyncio.sleep(60)
    except asyncio.CancelledError:
        note(file, "cancelled")
        raise


def first(file: Path) -> int:
    """Return the process that asked first."""
    with contextlib.suppress(FileExistsError), file.open("x") as log:
        log.write(f"{os.getpid()}\n")
    return int(file.read_text().split()[0])


async def sticky(row: dict[str, Any]) -> int:
    """Hang in the process that is asked first, and give the process elsewhere."""
    file = Path(row["file"])
    if first(file) == os.getpid():
        await hang(file)
    return os.getpid()


async def idle(row: Any) -> Any:
    await asyncio.sleep(60)


def tell(report: Report, row: Any) -> str:
    return repr(report)


def pipeline() -> Pipeline[Any, Any]:
    report = Report()
    replicas: dict[str, Any] = {"num_replicas": 2, "ray_actor_options": {"num_cpus": 0.01}}
    cases: dict[str, Any] = {
        "retry": retry(work, 3, backoff=0.01),
        "timeout": timeout(work, 30),
        "race": race(step(work, name="worker"), step(idle, name="idle")),
        "hedge": hedge(work, after=0.2, budget=1.0),
        "cache": cache(work, ttl=60, key=lambda row: row["id"]),
        "limit": limit(work, 2),
        "circuit_breaker": circuit_breaker(work, errors=2, cooldown=60),
        "shadow": shadow(work, lambda row: 1, report=report),
        "report": partial(tell, report),
        "elsewhere": hedge(step(sticky, **replicas), after=0.5, budget=1.0),
    }
    return switch(lambda row: row["by"], cases)


NAMES = ["retry", "timeout", "race", "hedge", "cache", "limit", "circuit_breaker", "shadow"]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def client(ray_cluster: None) -> AsyncIterator[Client[Any, Any]]:
    async with deploy(pipeline(), name="timing", ray_actor_options={"num_cpus": 0.01}) as client:
        yield client


async def until(condition: Callable[[], bool]) -> None:
    patience = 500
    while not condition():
        assert patience
        patience -= 1
        await asyncio.sleep(0.02)


def log(file: Path) -> Counter[str]:
    return Counter(file.read_text().split()) if file.exists() else Counter()


@pytest.mark.parametrize("name", NAMES)
async def test_it_answers_is_cancelled_and_keeps_deadlines(client: Client[Any, Any], name: str, tmp_path: Path) -> None:
    """A client that gives up, or whose time is up, stops the work in the replica."""
    assert await client.predict({"by": name, "do": "count", "id": f"{name} a"}) == 1
    cancelled, late = tmp_path / "cancelled", tmp_path / "late"
    call = client.submit({"by": name, "do": "hang", "id": f"{name} b", "file": str(cancelled)})
    await until(lambda: log(cancelled)["begun"] > 0)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    with pytest.raises(DeadlineExceeded):
        await client.predict({"by": name, "do": "hang", "id": f"{name} c", "file": str(late)}, timeout=0.5)
    for file in (cancelled, late):
        await until(lambda file=file: log(file)["begun"] == log(file)["cancelled"])


async def test_a_retry_asks_again(client: Client[Any, Any]) -> None:
    assert await client.predict({"by": "retry", "do": "fail at first", "id": "r"}) == 3


async def test_a_hedge_is_asked_of_another_replica(client: Client[Any, Any], tmp_path: Path) -> None:
    """The second attempt answers from another process, and the first is cancelled where it hangs."""
    file = tmp_path / "sticky"
    answer = await client.predict({"by": "elsewhere", "file": str(file)}, timeout=30)
    assert str(answer) != file.read_text().split()[0]
    await until(lambda: log(file)["cancelled"] == log(file)["begun"])


async def test_a_cache_asks_once(client: Client[Any, Any]) -> None:
    row = {"by": "cache", "do": "count", "id": "cached", "seconds": 0.2}
    assert await asyncio.gather(*[client.predict(row) for _ in range(5)]) == [1] * 5
    assert await client.predict(row) == 1


async def test_a_limit_holds_and_all_get_through(client: Client[Any, Any]) -> None:
    row = {"by": "limit", "do": "crowd", "id": "limited"}
    answers = await asyncio.gather(*[client.predict(row) for _ in range(6)])
    assert set(answers) <= {1, 2}, "each row tells how many were under way as it ended"


async def test_a_guard_opens(client: Client[Any, Any]) -> None:
    row = {"by": "circuit_breaker", "do": "fail", "id": "guarded"}
    kinds = [type(each) for each in await client.predict_many([row] * 2, on_error="return")]
    assert kinds == [StepError] * 2
    with pytest.raises(Overloaded, match="the circuit is open") as refused:
        await client.predict(row)
    assert 0 < refused.value.retry_after <= 60


async def test_a_shadow_reports_in_its_replica(client: Client[Any, Any]) -> None:
    async def told() -> str:
        return str(await client.predict({"by": "report"}))

    before = await told()
    row = {"by": "shadow", "do": "count", "id": "shadowed"}
    assert [await client.predict(row) for _ in range(3)] == [1, 2, 3]
    patience = 200
    while (await told()) == before:
        assert patience
        patience -= 1
        await asyncio.sleep(0.02)
    assert "failed=0, dropped=0" in await told()
