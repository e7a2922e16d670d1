"""By handle, too, what reaches `predict` has the types of the user's own frame, and answers are the estimator's own."""

from __future__ import annotations

import asyncio
from typing import Any

import cloudpickle
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stretto import Client, deploy, model
from tests.models import test_estimators_answer_as_alone as answers
from tests.models import test_types_reach_the_estimator as types
from tests.models.estimators import CASES

EXAMPLES = 40
NAME = "strict one-hot"

pytestmark = [pytest.mark.filterwarnings("ignore"), pytest.mark.asyncio(loop_scope="session")]


@pytest.mark.usefixtures("ray_cluster")
async def test_types_and_answers_by_handle_are_those_of_the_users_own_frame() -> None:
    cloudpickle.register_pickle_by_value(types)  # no replica has the tests
    small: dict[str, Any] = {"ray_actor_options": {"num_cpus": 0.01}}
    part = model(CASES[NAME].estimator, name="m", output="proba", features=CASES[NAME].rows)
    try:
        async with (
            deploy(types.PART, name="spy", route="/spy", **small) as spy,
            deploy(part, name="mixed", route="/mixed", **small) as mixed,
        ):
            await asyncio.to_thread(_all_examples, asyncio.get_running_loop(), spy, mixed)
    finally:
        cloudpickle.unregister_pickle_by_value(types)


def _all_examples(loop: asyncio.AbstractEventLoop, spy: Client[Any, Any], mixed: Client[Any, Any]) -> None:
    def run(coroutine: Any) -> None:
        asyncio.run_coroutine_threadsafe(coroutine, loop).result(60)

    few = settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))

    @few
    @given(types.ROWS)
    def spied(rows: list[dict[str, Any]]) -> None:
        run(_spied(spy, rows))

    forms = answers.forms_of(CASES[NAME], True, "by handle")

    @few
    @given(st.sampled_from(forms), st.lists(answers.row_of(CASES[NAME]), max_size=4), st.booleans())
    def answered(form: str, rows: list[dict[str, Any]], singly: bool) -> None:
        run(answers.check(mixed, "by handle", (NAME, "proba", True, form, rows, singly)))

    spied()
    answered()


async def _spied(client: Client[Any, Any], rows: list[dict[str, Any]]) -> None:
    frame = types.frame_of(rows)
    want = types.SPY.predict(frame)
    for form, asked in {"frame": frame, "dicts": rows}.items():
        types.agree(form, await client.predict_many(asked, on_error="return"), want)
    one_by_one: list[pd.DataFrame] = [frame[at : at + 1] for at in range(len(rows))]
    types.agree("rows", list(await asyncio.gather(*map(client.predict, one_by_one))), want)
