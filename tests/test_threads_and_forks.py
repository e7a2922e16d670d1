"""One client in many threads, each with an event loop of its own, and in processes forked after it was asked."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from stretto import Client, Pipeline, parallel, step
from stretto.testing.http_server import serving
from stretto_composers import cache, circuit_breaker, hedge, limit, shadow, vote


def double(x: int) -> int:
    return 2 * x


def slow(x: int) -> int:
    time.sleep(0.002)
    return 2 * x


async def later(x: int) -> int:
    await asyncio.sleep(0.001)
    return 2 * x


def rows(xs: list[int]) -> list[int]:
    return [2 * x for x in xs]


PARTS: dict[str, Callable[[], Any]] = {
    "a function": lambda: double,
    "a slow function": lambda: slow,
    "a blocking step": lambda: step(slow, blocking=True),
    "an async function": lambda: later,
    "many rows": lambda: step(rows, vectorized=True),
    "a vote": lambda: parallel(a=double, b=later, c=slow) >> vote(),
    "a cache": lambda: cache(later, size=3),
    "a cache of short answers": lambda: cache(later, ttl=0.003, size=3),
    "a circuit breaker": lambda: circuit_breaker(later),
    "a hedge": lambda: hedge(later, after="p50"),
    "a limit": lambda: limit(later, 2),
    "a shadow": lambda: shadow(later, double),
}


def answers_in_threads(client: Client[Any, Any]) -> list[Any]:
    """Return what threads get that ask at the same time, each in one event loop after another."""

    async def ask(x: int) -> Any:
        many = client.predict_many(list(range(x, x + 5)))
        return await asyncio.wait_for(asyncio.gather(client.predict(x), client.submit(x), many), 30)

    with ThreadPoolExecutor(8) as pool:
        return list(pool.map(asyncio.run, map(ask, range(80))))


RIGHT = [[2 * x, 2 * x, [2 * each for each in range(x, x + 5)]] for x in range(80)]


@pytest.mark.parametrize("part", PARTS)
def test_one_client_answers_in_many_threads(part: str) -> None:
    client = Client(PARTS[part]())
    assert answers_in_threads(client) == RIGHT
    asyncio.run(client.aclose())


def test_requests_of_many_rows_take_turns_in_every_thread() -> None:
    """More rows than a batch holds have a thread of the pool to themselves, when it is their turn."""
    client = Client(step(rows, vectorized=True), max_batch=2)
    assert answers_in_threads(client) == RIGHT


async def test_one_client_answers_over_http_in_many_threads() -> None:
    async with serving(Pipeline(double)) as url:
        answers = await asyncio.to_thread(answers_in_threads, Client(url))
    assert answers == RIGHT


FORKED = """
import asyncio, multiprocessing, sys, time
from stretto import Client, Pipeline, step
from stretto.testing.http_server import serving
from stretto_composers import hedge

def work(x):
    time.sleep(0.01)
    return 2 * x

def answer(client, loop=None):
    asked = asyncio.wait_for(client.predict(21), 20)
    return asyncio.run(asked) if loop is None else loop.run_until_complete(asked)

def child(name, answers):
    try:
        answers.put(answer(clients[name]))
    except BaseException as error:
        answers.put(repr(error))

async def serve(ready, pipeline):
    async with serving(pipeline) as url:
        ready.put(url)
        await asyncio.sleep(600)

if __name__ == "__main__":
    fork = multiprocessing.get_context("fork")
    ready = fork.Queue()
    server = fork.Process(target=lambda: asyncio.run(serve(ready, Pipeline(work))), daemon=True)
    server.start()
    clients = {
        "blocking": Client(step(work, blocking=True)),
        "plain": Client(work),
        "hedge": Client(hedge(work, after="p50")),
        "http": Client(ready.get(timeout=30)),
    }
    loop = asyncio.new_event_loop()
    for name, client in clients.items():
        for _ in range(3):
            answer(client, loop)  # a thread of the pool, or a connection of this loop, is there from now on
        children = []
        for _ in range(2):
            answers = fork.Queue()
            process = fork.Process(target=child, args=(name, answers))
            process.start()
            children.append((process, answers))
        print(name, *(answers.get(timeout=30) for _, answers in children), answer(client, loop))
        for process, _ in children:
            process.join(30)
    loop.run_until_complete(clients["http"].aclose())
    server.kill()
"""


@pytest.mark.skipif(sys.platform == "win32", reason="nothing forks")
def test_a_client_that_was_asked_before_a_fork_answers_in_the_child() -> None:
    program = [sys.executable, "-W", "ignore", "-c", textwrap.dedent(FORKED)]
    done = subprocess.run(program, capture_output=True, text=True, timeout=120, check=False)
    assert done.stdout.split("\n")[:4] == [f"{name} 42 42 42" for name in ("blocking", "plain", "hedge", "http")], done
