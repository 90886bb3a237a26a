"""A Prefect worker that runs this project's flow runs in its own process, models loaded once.

Prefect's process worker starts a process per run and loads the models in each: seconds, for milliseconds of
work. This one polls a work pool like any other worker and awaits the runs side by side. What that costs: a run
that takes the process down takes the others along. Their claims then lapse, and `reconcile` runs them again.

It polls at once where Prefect's event stream tells of a run. Where the stream is silent, the polls find the run.
"""

from __future__ import annotations

import asyncio
import logging
import math
import os
import time
from collections.abc import Awaitable
from contextlib import suppress
from typing import Any, cast
from uuid import UUID

import httpx
from anyio.abc import TaskStatus
from prefect import Flow, State
from prefect._flow_run_suspension import is_suspended_flow_run_state, mark_flow_run_suspension_requested
from prefect.client.schemas.objects import FlowRun
from prefect.exceptions import Abort, Pause
from prefect.flow_engine import run_flow
from prefect.flows import load_flow_from_entrypoint
from prefect.settings import PREFECT_RESULTS_LOCAL_STORAGE_PATH, PREFECT_WORKER_QUERY_SECONDS
from prefect.states import Cancelled
from prefect.workers.base import BaseWorker, BaseWorkerResult
from prefect.workers.process import ProcessJobConfiguration, ProcessVariables

from deployments.wakeups import ScheduledRuns
from selfiegate.errors import BackendMisconfigured
from selfiegate.stuck import stuck

_LOOK_S = 3.0
"""How often a run is asked whether somebody cancelled or suspended it; most end before the first time."""

_TELL_S = 10.0
"""For stopped runs to tell the server; it may be away."""

_APART_S = 0.25
"""Between two polls at least, so that many events at once cost a few polls."""

_log = logging.getLogger(__name__)


class WarmResult(BaseWorkerResult):
    """How a run ended: 0 where its flow reached a state, whatever that is."""


class WarmWorker(BaseWorker[ProcessJobConfiguration, ProcessVariables, WarmResult]):
    """Runs flow runs in this process, `limit` at once. Job variables do not apply: there is no new process."""

    type = "selfiegate"
    job_configuration = ProcessJobConfiguration
    job_configuration_variables = ProcessVariables

    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments)
        self._flows: dict[UUID, Flow[..., Any]] = {}
        self._works = set[asyncio.Task[int]]()
        self._draining = False
        self._poll_s: float = PREFECT_WORKER_QUERY_SECONDS.value()
        self._polling, self._polled_at, self._woken = asyncio.Lock(), -math.inf, asyncio.Event()
        self._more_wait = False
        self._scheduled = ScheduledRuns(lambda: self.work_pool.id, self._woken.set)

    async def run(
        self, flow_run: FlowRun, configuration: ProcessJobConfiguration, task_status: TaskStatus[int] | None = None
    ) -> WarmResult:
        """Await one flow run; end it where somebody cancels it in the UI."""
        flow = await self._flow_of(flow_run)
        if task_status:
            task_status.started(os.getpid())
        work = asyncio.create_task(_outlived(flow, flow_run), name=flow_run.name)
        self._works.add(work)
        work.add_done_callback(self._works.discard)
        watch = asyncio.create_task(self._cancelled(flow_run.id))
        try:
            await asyncio.wait({work, watch}, return_when=asyncio.FIRST_COMPLETED)
            if not work.done():
                await _stop(work)  # Prefect's engine calls every stopped coroutine crashed: so it shows for a moment
                await self.client.set_flow_run_state(flow_run.id, Cancelled(), force=True)
                return WarmResult(identifier=str(flow_run.id), status_code=0)
            return WarmResult(identifier=str(flow_run.id), status_code=0 if work.cancelled() else work.result())
        finally:
            await _stop(watch)
            await _stop(work)

    async def get_and_submit_flow_runs(self) -> list[FlowRun]:
        """Take new runs, unless the worker is about to stop. Prefect calls this each second.

        While events come, and the last poll left nothing behind for lack of room, it polls each
        PREFECT_WORKER_QUERY_SECONDS only.
        """
        rests = self._scheduled.is_open and not self._more_wait
        if rests and time.monotonic() < self._polled_at + self._poll_s:
            return []
        return await self._poll()

    async def poll_when_scheduled(self) -> None:
        """Poll at once for each run that is scheduled, until cancelled."""
        while not self.is_setup:
            await asyncio.sleep(0.1)
        async with asyncio.TaskGroup() as group:
            group.create_task(self._scheduled.listen())
            group.create_task(self._poll_when_woken())

    async def _poll_when_woken(self) -> None:
        while True:
            await self._woken.wait()
            await asyncio.sleep(self._polled_at + _APART_S - time.monotonic())
            self._woken.clear()
            if not self.limiter.available_tokens:
                self._more_wait = True  # the polls of the next seconds will find room
            else:
                try:
                    await self._poll()
                except Exception as error:  # Prefect's own loop counts these, and ends the worker after minutes
                    self._polled_at = -math.inf
                    _log.info("a poll is tried again in a second: %s: %s", type(error).__name__, error)

    async def _poll(self) -> list[FlowRun]:
        async with self._polling:  # never two at once: they would take the same runs
            self._polled_at = time.monotonic()
            taken = [] if self._draining else await super().get_and_submit_flow_runs()
            self._more_wait = not self.limiter.available_tokens  # perhaps: Prefect returns what it took
            return taken

    def is_worker_still_polling(self, query_interval_seconds: float) -> bool:
        """Answer Prefect's `/health`: no, too, where a step is stuck; Prefect waits for 30 intervals without a poll."""
        return not stuck() and super().is_worker_still_polling(max(query_interval_seconds, self._poll_s / 10))

    async def drain(self, patience_s: float) -> None:
        """Take no more runs and wait for those under way; what is left then is stopped and run again by others."""
        self._draining = True
        with suppress(TimeoutError):
            async with asyncio.timeout(patience_s):
                async with self._polling:  # what a poll under way finds is taken still
                    pass
                while self.limiter.borrowed_tokens:
                    await asyncio.sleep(0.1)
        if works := list(self._works):  # before the worker closes the client by which they tell that they crashed
            for work in works:
                work.cancel()
            await asyncio.wait(works, timeout=_TELL_S)

    async def _submit_run(self, flow_run: FlowRun) -> None:
        """Claim a run by its state Pending, and await it.

        Prefect's own makes eight requests more, about the infrastructure that other workers start for a run: its
        process id, its configuration, its labels. `tests/system/test_worker.py` lists the requests that are left.
        """
        try:
            if not await self._propose_pending_state(flow_run):
                return
            result = await self.run(flow_run, self.job_configuration())
            if result.status_code:
                await self._propose_crashed_state(flow_run, "The run blew up; the worker's log has its error.")
        except Exception as error:
            self.get_flow_run_logger(flow_run).exception("The run could not be started.")
            await self._propose_crashed_state(flow_run, f"{type(error).__name__}: {error}")
        finally:
            self._release_limit_slot(flow_run.id)
            self._submitting_flow_run_ids.discard(flow_run.id)

    async def _flow_of(self, flow_run: FlowRun) -> Flow[..., Any]:
        deployment_id = flow_run.deployment_id
        if deployment_id is None:
            raise BackendMisconfigured(f"the run {flow_run.name} belongs to no deployment; see prefect.yaml")
        if deployment_id not in self._flows:
            await self.client.raise_for_api_version_mismatch_once()
            entrypoint = (await self.client.read_deployment(deployment_id)).entrypoint or ""
            flow: Flow[..., Any] = await asyncio.to_thread(load_flow_from_entrypoint, entrypoint)
            if not flow.isasync:
                raise BackendMisconfigured(f"{entrypoint} is not async and would hold all other runs up")
            # Without a storage of its own, Prefect asks the server for the default one, twice a run, blocking the loop.
            # With one, Prefect keeps results, and takes tasks from its cache, unless the flow says that it keeps none.
            if flow.persist_result is False and flow.result_storage is None:
                flow = flow.with_options(result_storage=PREFECT_RESULTS_LOCAL_STORAGE_PATH.value())
            self._flows[deployment_id] = flow
        return self._flows[deployment_id]

    async def _cancelled(self, run_id: UUID) -> None:
        """Return when somebody has asked for this run to be cancelled; a run that is suspended stops by itself."""
        while True:
            await asyncio.sleep(_LOOK_S)
            with suppress(httpx.HTTPError):  # a server that is away cancels nothing
                state = (await self.client.read_flow_run(run_id)).state
                if state and (state.is_cancelling() or state.is_cancelled()):
                    return
                if state and is_suspended_flow_run_state(state):
                    mark_flow_run_suspension_requested(run_id, state)  # raised between two of its tasks


# Registered beside Prefect's process worker, not over it; pools of type `process` then serve both.
WarmWorker.type = "process"


async def _outlived(flow: Flow[..., Any], flow_run: FlowRun) -> int:
    """Run a flow, and let nothing that it raises reach the worker; return an exit status."""
    # Of a deployment's run Prefect's engine watches by itself whether the run is suspended. It blocks the loop until
    # the server has answered, and so all other runs; `_cancelled` watches beside it.
    unwatched = flow_run.model_copy(update={"deployment_id": None})
    try:
        await cast("Awaitable[State]", run_flow(flow, flow_run=unwatched, return_type="state"))
    except (Abort, Pause) as signal_of_prefect:  # the run's state says the rest, and a resumed run is taken anew
        _log.info("the run %s ends here: %s", flow_run.name, type(signal_of_prefect).__name__)
    except BaseException as error:  # SystemExit, too: it would end the worker
        if isinstance(error, asyncio.CancelledError) and _is_asked_to_stop():
            raise
        _log.exception("the run %s blew up", flow_run.name)
        return 1
    return 0


def _is_asked_to_stop() -> bool:
    """Tell our own cancelling from a flow that raises CancelledError."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


async def _stop(task: asyncio.Task[Any]) -> None:
    task.cancel()
    await asyncio.wait([task])
