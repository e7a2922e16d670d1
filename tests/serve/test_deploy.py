"""Ray Serve, on a real local cluster: what comes up answers, what can't come up says why, nothing is left behind."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
import uuid
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiohttp
import psutil
import pytest

from stretto import Client, Pipeline, deploy, parallel, step
from stretto.errors import (
    ConnectionFailed,
    DeadlineExceeded,
    DeployError,
    InputError,
    NotFound,
    PipelineError,
    StepError,
)
from stretto.serve.reaper import VARIABLE

pytestmark = [pytest.mark.usefixtures("ray_cluster"), pytest.mark.asyncio(loop_scope="session")]


def hosted(fn: Any, **options: Any) -> Pipeline[Any, Any]:
    """A function in a deployment of its own."""
    return step(fn, name=options.pop("name", fn.__name__), **{"num_replicas": 1, **options})


def double(x: int) -> int:
    return 2 * x


def pid(x: Any) -> int:
    return os.getpid()


def slow(x: Any) -> Any:
    time.sleep(0.4)
    return x


class Picky:
    """A step that can't be made in another process."""

    __name__ = "picky"

    def __call__(self, x: Any) -> Any:
        return x

    def __reduce__(self) -> Any:
        return _refuse, ("there is no such model: iris.skops",)


def _refuse(why: str) -> Any:
    raise FileNotFoundError(why)


class TestAnswering:
    async def test_two_hosted_models_are_asked_side_by_side_by_handle_and_over_http(self):
        both = parallel(a=hosted(slow, name="first"), b=hosted(slow, name="second"))
        async with deploy(both, name="side by side") as client:
            trace = await client.trace("x")
            async with Client(client.url) as over_http:
                assert await over_http.predict("x") == await client.predict("x") == {"a": "x", "b": "x"}
        first, second = (span for span in trace.spans if span.kind == "handle")
        assert trace.handle_calls == 2
        assert min(first.end, second.end) - max(first.start, second.start) > 0.3

    async def test_requests_that_meet_share_handle_calls(self):
        async with deploy(hosted(pid), name="pid") as client:
            assert len(set(await asyncio.gather(*(client.predict(i) for i in range(200))))) == 1

    async def test_the_tutorials_names_and_routes_work(self):
        async with (
            deploy(double, name="double:v1", route="/double") as first,
            deploy(hosted(slow), name="slow:v1", route="/slow") as second,
        ):
            assert first.url.endswith("/double")
            assert repr(first) == f"Client(serve://double:v1 at {first.url})"
            async with aiohttp.ClientSession() as session, session.get(first.url, json=21) as response:
                assert await response.json(content_type=None) == 42
            later = second.submit("x")
            assert await first.predict(1) == 2
            assert await later == "x"

    async def test_deploying_again_replaces_what_has_the_name(self):
        async with deploy(double, name="again") as first:
            assert await first.predict(3) == 6
            async with deploy(lambda x: x + 1, name="again") as second:
                assert await second.predict(3) == 4

    async def test_several_come_up_at_once(self):
        async def one(i: int) -> int:
            async with deploy(lambda x: i * x, name=f"several {i}") as client:
                return await client.predict(7)

        assert await asyncio.gather(*(one(i) for i in range(3))) == [0, 7, 14]

    async def test_an_await_leaves_it_up_for_any_process_of_the_cluster(self):
        client = await deploy(double, name="stays")
        await client.aclose()
        async with Client("serve://stays") as other:
            assert await other.predict(4) == 8
            assert await other.ready()
            assert (await other.metadata()).pipeline == "double"

    async def test_a_step_answers_alone(self):
        async with deploy(Pipeline(hosted(double)) >> hosted(pid), name="chain") as client:
            assert await client.predict_many([1, 2], step="double") == [2, 4]
            with pytest.raises(NotFound, match=r"triple.*double"):
                await client.predict_many([1], step="triple")

    async def test_arrays_can_be_written_to_as_in_process(self):
        import numpy as np

        def zero_first(row: Any) -> Any:
            row[0] = 0
            return row

        rows = np.ones((300, 50))
        async with deploy(hosted(zero_first) >> zero_first, name="arrays") as client:
            answers = await client.predict_many(rows.copy())
            answers[0][1] = 7
            alone = await client.predict(rows[0].copy())
        assert [each.sum() for each in answers[1:]] == [49.0] * 299
        assert alone.sum() == 49.0

    async def test_the_log_says_what_could_be_faster(self, caplog):
        caplog.set_level("INFO", logger="stretto")
        async with deploy(double, name="faster", direct=False):
            said = [record.getMessage() for record in caplog.records if record.name == "stretto"]
        assert any("direct=True" in each for each in said)
        assert any("RAY_SERVE_THROUGHPUT_OPTIMIZED=1" in each for each in said)


class TestFailing:
    async def test_errors_are_the_same_as_in_process(self):
        def pick(x: Any) -> Any:
            return {"one": 1}[x]

        for pipeline in (Pipeline(pick), hosted(pick)):
            async with deploy(pipeline, name="errors") as client, Client(pick) as here:
                with pytest.raises(StepError) as there:
                    await client.predict("two")
                with pytest.raises(StepError) as expected:
                    await here.predict("two")
                assert there.value.args == expected.value.args

    @pytest.mark.parametrize("way", ["local", "hosted"])
    async def test_an_answer_that_can_not_travel_fails_alone(self, way):
        def lock(x: int) -> Any:
            import threading

            return threading.Lock() if x == 13 else x

        async with deploy(hosted(lock) if way == "hosted" else Pipeline(lock), name="lock") as client:
            asked = [asyncio.create_task(client.predict(x)) for x in (1, 13, 2)]
            one, thirteen, two = await asyncio.gather(*asked, return_exceptions=True)
            many = await client.predict_many([1, 13, 2], on_error="return")
        assert (one, two) == (1, 2)
        assert isinstance(thirteen, StepError)
        assert "pickle" in thirteen.detail
        assert (many[0], many[2]) == (1, 2)
        assert isinstance(many[1], StepError)

    @pytest.mark.parametrize("way", ["local", "hosted"])
    async def test_a_row_that_can_not_travel_fails_alone(self, way):
        async with deploy(hosted(str) if way == "hosted" else Pipeline(str), name="rows") as client:
            asked = [asyncio.create_task(client.predict(x)) for x in (1, threading.Lock(), 2)]
            one, lock, two = await asyncio.gather(*asked, return_exceptions=True)
            many = await client.predict_many([1, threading.Lock(), 2], on_error="return")
        assert (one, two) == ("1", "2")
        assert isinstance(lock, InputError)
        assert "pickle" in str(lock)
        assert many[::2] == ["1", "2"]
        assert isinstance(many[1], InputError)

    async def test_what_a_step_makes_that_can_not_travel_on_fails_alone(self):
        def lock(x: int) -> Any:
            import threading

            return threading.Lock() if x == 13 else x

        async with deploy(Pipeline(lock) >> hosted(str), name="steps") as client:
            many = await client.predict_many([1, 13, 2], on_error="return")
        assert many[::2] == ["1", "2"]
        assert isinstance(many[1], StepError)

    async def test_a_deployment_that_no_node_can_hold_is_refused_in_seconds_with_what_is_missing(self):
        start = time.monotonic()
        with pytest.raises(DeployError, match=r"'double' needs .*1 GPU.* 0 GPU free of 0"):
            await deploy(hosted(double, ray_actor_options={"num_gpus": 1}), name="large")
        assert time.monotonic() - start < 15

    async def test_a_replica_that_can_not_be_made_is_reported_with_its_own_message(self):
        with pytest.raises(DeployError, match=r"'picky': FileNotFoundError: there is no such model: iris.skops"):
            await deploy(hosted(Picky()), name="broken")

    async def test_what_can_not_be_pickled_is_refused_by_name(self):
        import threading

        lock = threading.Lock()

        def locked(x: Any) -> Any:
            with lock:
                return x

        with pytest.raises(PipelineError, match="step 'locked' can't be sent to Ray Serve"):
            await deploy(locked, name="locked")

    async def test_an_option_that_serve_does_not_have_is_refused(self):
        with pytest.raises(PipelineError, match=r"rejects the options of 'double'.*replicas"):
            await deploy(hosted(double, replicas=3), name="options")

    @pytest.mark.parametrize("name", ["", "a/b", "a#b"])
    async def test_names_that_serve_can_not_hold_are_refused_at_once(self, name):
        with pytest.raises(PipelineError, match="can't be an application's name"):
            deploy(double, name=name or "/")

    @pytest.mark.parametrize("route", ["x", "/x/", "/-/x", "/{x}", "/a b"])
    async def test_routes_that_serve_can_not_hold_are_refused_at_once(self, route):
        with pytest.raises(PipelineError, match="can't be a route"):
            deploy(double, route=route)

    async def test_a_route_that_is_taken_names_who_has_it(self):
        async with deploy(double, name="owner", route="/mine"):
            with pytest.raises(DeployError, match='/mine is being used by application "owner"'):
                await deploy(double, name="thief", route="/mine")

    async def test_an_unknown_application_names_those_there_are(self):
        async with deploy(double, name="known"), Client("serve://unknown") as client:
            with pytest.raises(NotFound, match=r"'unknown'.*'known'"):
                await client.predict(1)
            assert not await client.ready()

    async def test_an_application_that_was_taken_down_is_not_found(self):
        async with deploy(double, name="gone") as client:
            assert await client.predict(1) == 2
            left = Client("serve://gone")
            assert await left.predict(1) == 2
        assert not await left.ready()
        with pytest.raises((NotFound, ConnectionFailed)):
            await left.predict(1)


class TestDying:
    @pytest.mark.parametrize("replicas", [1, 2])
    async def test_requests_survive_a_replica_that_is_killed_under_them(self, replicas):
        def slow_pid(x: Any) -> int:
            time.sleep(0.2)
            return os.getpid()

        async with deploy(hosted(slow_pid, num_replicas=replicas), name="killed") as client:
            victim = await client.predict(0)
            asked = [asyncio.create_task(client.predict(i)) for i in range(20)]
            await asyncio.sleep(0.1)
            os.kill(victim, signal.SIGKILL)
            answers = await asyncio.gather(*asked)
            assert all(isinstance(each, int) for each in answers)
            assert await client.predict(0) != victim

    async def test_the_deployment_that_takes_the_requests_may_die_too(self):
        async with deploy(pid, name="ingress dies") as client:
            victim = await client.predict(0)
            os.kill(victim, signal.SIGKILL)
            assert await client.predict(0) != victim

    @pytest.mark.parametrize("way", ["local", "hosted"])
    async def test_a_row_that_kills_its_replica_fails_alone(self, way):
        def fragile(x: int) -> int:
            if x == 13:
                os.kill(os.getpid(), signal.SIGKILL)
            return x

        pipeline = hosted(fragile, num_replicas=2) if way == "hosted" else Pipeline(fragile)
        async with deploy(pipeline, name="fragile") as client:
            asked = [asyncio.create_task(client.predict(x)) for x in (1, 13, 2)]
            one, thirteen, two = await asyncio.gather(*asked, return_exceptions=True)
        assert (one, two) == (1, 2)
        assert isinstance(thirteen, StepError)
        assert thirteen.kind == "ReplicaDied"


class TestTime:
    @pytest.mark.parametrize("way", ["local", "hosted"])
    async def test_a_deadline_is_kept_while_the_model_is_slow(self, way):
        def sleepy(x: Any) -> Any:
            time.sleep(1.5)
            return x

        pipeline = hosted(sleepy) if way == "hosted" else Pipeline(sleepy)
        async with deploy(pipeline, name="sleepy") as client:
            for asked in (client.predict(1, timeout=0.3), client.predict_many([1], timeout=0.3)):
                start = time.monotonic()
                with pytest.raises(DeadlineExceeded):
                    await asked
                assert time.monotonic() - start < 0.7
            assert isinstance((await client.trace(1, timeout=0.3)).error, DeadlineExceeded)

    async def test_work_whose_time_is_up_is_not_started(self, tmp_path):
        def note(x: Any) -> Any:
            time.sleep(0.3)
            (tmp_path / str(x)).touch()
            return x

        async with deploy(hosted(note, ray_actor_options={"num_cpus": 0.1}), name="note") as client:
            asked = [asyncio.create_task(client.predict(i, timeout=0.2)) for i in range(5)]
            await asyncio.gather(*asked, return_exceptions=True)
            assert await client.predict("last") == "last"
        assert len(list(tmp_path.iterdir())) < 6

    @pytest.mark.parametrize("way", ["local", "hosted"])
    async def test_cancelling_a_request_cancels_the_work(self, way, tmp_path):
        async def patient(x: Any) -> Any:
            try:
                await asyncio.sleep(30)
            except asyncio.CancelledError:
                (tmp_path / "cancelled").touch()
                raise

        pipeline = hosted(patient) if way == "hosted" else Pipeline(patient)
        async with deploy(pipeline, name="patient") as client:
            asked = asyncio.create_task(client.predict(1))
            await asyncio.sleep(0.5)
            asked.cancel()
            with pytest.raises(asyncio.CancelledError):
                await asked
            assert await _within(20, (tmp_path / "cancelled").exists)

    async def test_a_slow_row_does_not_hold_up_one_that_came_with_it(self):
        async def wait_for(x: float) -> float:
            await asyncio.sleep(x)
            return x

        async with deploy(hosted(wait_for), name="uneven") as client:
            late = asyncio.create_task(client.predict(2.0))
            start = time.monotonic()
            assert await client.predict(0.0) == 0.0
            assert time.monotonic() - start < 1
            assert await late == 2.0


SCRIPT = """
import asyncio, sys
from stretto import Client, deploy
async def main():
    print("STARTING", flush=True)
    async with deploy(lambda x: 2 * x, name="here", {options}) as client:
        other = Client("serve://here")
        print("UP", client.url, await other.predict(21), flush=True)
        await asyncio.sleep({seconds})
    try:
        await other.predict(22)
    except LookupError:
        import ray
        print("DOWN", ray.is_initialized(), flush=True)
asyncio.run(main())
"""


class TestLeavingNothing:
    """A process that starts a Ray of its own, told apart by a mark in its environment that Ray's processes inherit."""

    @pytest.fixture
    def mark(self) -> Iterator[str]:
        mark = f"stretto-test-{uuid.uuid4().hex}"
        yield mark
        for process in _marked(mark):
            os.kill(process, signal.SIGKILL)

    @pytest.fixture
    def run(self, mark, tmp_path):
        def start(*, seconds: float = 60, options: str = "") -> subprocess.Popen[str]:
            script = tmp_path / "script.py"
            script.write_text(SCRIPT.format(seconds=seconds, options=options))
            env = {key: value for key, value in os.environ.items() if key != "RAY_ADDRESS"} | {"STRETTO_MARK": mark}
            command = [sys.executable, "-W", "error", str(script)]
            return subprocess.Popen(command, env=env, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)

        return start

    async def test_an_orderly_end(self, mark, run):
        process = run(seconds=0)
        output, _ = await asyncio.to_thread(process.communicate, timeout=60)
        assert process.returncode == 0, output
        first, second, *rest = output.splitlines()
        assert (first, second[:2], second[-3:], rest) == ("STARTING", "UP", " 42", ["DOWN False"])
        assert _marked(mark) == []

    @pytest.mark.parametrize("moment", [1.5, 4.0, 8.0, "UP"])
    async def test_control_c_at_any_moment(self, mark, run, moment):
        process = run()
        await asyncio.to_thread(_reach, process, moment)
        process.send_signal(signal.SIGINT)
        output, _ = await asyncio.to_thread(process.communicate, timeout=90)
        assert "KeyboardInterrupt" in output
        assert await _within(20, lambda: not _marked(mark)), output

    @pytest.mark.parametrize("moment", [3.0, 5.0, "UP"])
    async def test_a_kill_at_any_moment(self, mark, run, moment):
        process = run()
        await asyncio.to_thread(_reach, process, moment)
        process.kill()
        await asyncio.to_thread(process.communicate, timeout=60)
        assert await _within(20, lambda: not _marked(mark))

    async def test_each_process_of_ray_can_be_told_apart_by_the_guard(self, run):
        process = run()
        await asyncio.to_thread(_reach, process, "UP")
        try:
            started = {each.pid: each.environ() for each in psutil.Process(process.pid).children(recursive=True)}
            [guard] = [pid for pid in started if "reaper.py" in " ".join(psutil.Process(pid).cmdline())]
            names = {pid: psutil.Process(pid).name() for pid in started}
        finally:
            process.kill()
            await asyncio.to_thread(process.communicate, timeout=60)
        assert {names[pid] for pid, has in started.items() if VARIABLE not in has and pid != guard} == set()
        assert {"gcs_server", "raylet", "ray::DashboardAgent", "ray::RuntimeEnvAgent"} < set(names.values())

    async def test_a_port_that_is_asked_for_and_taken_is_refused(self, mark, run):
        import socket

        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            port = taken.getsockname()[1]
            process = run(options=f"port={port}")
            output, _ = await asyncio.to_thread(process.communicate, timeout=60)
        assert f"DeployError: port {port} on 127.0.0.1 is taken" in output
        assert _marked(mark) == []


def _reach(process: subprocess.Popen[str], moment: float | str) -> None:
    if isinstance(moment, float):
        time.sleep(moment)
        return
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith(moment):
            return
    raise AssertionError(f"it ended before {moment}")


def _marked(mark: str) -> list[int]:
    """The processes that have the mark in their environment."""
    found: list[int] = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit() and int(folder.name) != os.getpid():
            try:
                if mark.encode() in (folder / "environ").read_bytes():
                    found.append(int(folder.name))
            except OSError:
                continue
    return found


async def _within(seconds: float, true: Any) -> bool:
    end = time.monotonic() + seconds
    while not true() and time.monotonic() < end:
        await asyncio.sleep(0.05)
    return bool(true())


@pytest.mark.skipif(sys.platform == "win32", reason="nothing forks")
async def test_a_forked_process_says_at_once_that_it_cannot_call_by_handle() -> None:
    async with deploy(double, name="forked") as client, Client(client.url) as http:
        assert (await client.predict(1), await http.predict(1)) == (2, 2)
        process_of = multiprocessing.get_context("fork")
        answers = process_of.SimpleQueue()

        def child() -> None:
            for each in (client, Client("serve://forked"), http):
                try:
                    answers.put(asyncio.run(asyncio.wait_for(each.predict(21), 20)))
                except Exception as error:
                    answers.put(f"{type(error).__name__}: {error}")

        process = process_of.Process(target=child)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # that other threads run: so they do
            process.start()
        await asyncio.to_thread(process.join, 90)
        by_handle, by_name, by_http = (answers.get() for _ in range(3))
        assert "ConnectionFailed: this process was forked" in by_handle
        assert by_name == by_handle
        assert by_http == 42
        assert await client.predict(2) == 4
