"""What `tests.protocol.scheduler` advances: a run, which waits for its turn before each call to a store.

A run of a photo takes `selfiegate.enrolment.sequence.process_photo`, the order of steps that the flow runs too.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from selfiegate.enrolment.sequence import process_photo
from selfiegate.errors import BackendMisconfigured, BackendUnavailable, SelfiegateError
from selfiegate.late_looks import look_again
from selfiegate.model import Claim, PhotoRef
from selfiegate.runtime import Runtime
from selfiegate.steps import Take, inline
from tests.protocol.brief import brief

if TYPE_CHECKING:
    from tests.protocol.scheduler import World


class Killed(BaseException):
    """The process is gone: nothing that handles exceptions may see it."""


class Run:
    """Something done for one user, in a thread that works only while `step` waits for it."""

    photo: PhotoRef
    claim: Claim | None = None
    erases = looks = carries_on = late = flow = over = False
    name = order = next = ""
    skew = 0
    crashed: BaseException | None = None

    def __init__(self, world: World, user_id: str, rt: Runtime, owner: str) -> None:
        self._world, self._number, self._rt, self.user_id = world, len(world.runs), rt, user_id
        self.owner, self.began = owner or f"run {self._number}", world.micros()
        self._turn, self._dead = "go", False
        self._go, self._parked = threading.Semaphore(0), threading.Semaphore(0)

    def start(self) -> None:
        """Run up to the first call."""
        threading.Thread(target=self._live, daemon=True).start()
        self._parked.acquire()

    def step(self, order: str = "go") -> None:
        """Let the next call happen ('go'), fail before ('fail') or after its work ('lose'), or never return ('die')."""
        if not self.over:
            self._turn = order
            if order == "die":
                self._world.log(f"{self} dies before {self.next}")
            self._go.release()
            self._parked.acquire()
        if self.crashed:
            raise self.crashed

    def to(self, call: str) -> None:
        """Go on until this call is next, or the run has ended."""
        while not self.over and self.next != call:
            self.step()

    def end(self) -> None:
        """Go on to the end."""
        self.to("")

    def kill(self) -> None:
        """Die before the next call."""
        self.step("die")

    def point(self, call: str, args: Sequence[Any], work: Callable[[], Any]) -> Any:
        """Wait for the turn, then do the call or fail it."""
        if self._dead:
            raise Killed
        self.next = call
        self._parked.release()
        self._go.acquire()
        order, self._dead = self._turn, self._turn == "die"
        if self._dead:
            raise Killed
        if order == "fail":
            self._world.log(f"{self} {call}{brief(args)}: fails")
            self._world.watch.fault(self)
            raise BackendUnavailable(f"{call} does not answer")
        if self._world.refuses and call.startswith(("gallery.", "faces.")):
            self._world.log(f"{self} {call}{brief(args)}: refused")
            self._world.watch.fault(self)
            raise BackendMisconfigured("the gallery is older than the records")
        if self._world.watch.outlasts(self, call):
            self._world.log(f"{self} sleeps on for ever")
            self._dead = True
            raise Killed
        result = self._world.watch.let(self, call, args, work)
        if call == "ledger.claim":
            self.claim = result
        self._world.log(f"{self} {call}{brief(args)} -> {'reply lost' if order == 'lose' else brief(result)}")
        if order == "lose":
            self._world.watch.fault(self)
            raise BackendUnavailable(f"the reply to {call} was lost")
        return result

    @property
    def _take(self) -> Take:
        """Take steps as the flow does, each tried again once, or only once, as a chunk's redo does."""
        return inline(self._rt, attempts=2 if self.flow else 1, first_delay_s=0)

    def _live(self) -> None:
        self._world.enter(self)
        try:
            self._work()
        except Killed:
            self._world.watch.fault(self)
        except SelfiegateError as error:
            self._world.log(f"{self} ends: {type(error).__name__}: {error}")
            self._ends(error)
        except BaseException as error:
            self.crashed = error
        self.over = True
        self._parked.release()

    def holds(self, row: Claim) -> bool:
        """Say whether a row is this run's."""
        return self.claim is not None and (row.owner, row.attempt) == (self.claim.owner, self.claim.attempt)

    def _ends(self, error: SelfiegateError) -> None:
        try:
            self._world.watch.ended(self, error)
        except AssertionError as broken:
            self.crashed = broken

    def _work(self) -> None:
        raise NotImplementedError


class LateLook(Run):
    """One pass over the accepted faces that are looked up once more, as `reconcile` takes it."""

    looks = True

    def __repr__(self) -> str:
        return f"#{self._number} (late look)"

    def _work(self) -> None:
        for found in look_again(self._rt):
            self._world.log(f"{self} {found.row.user_id}: {found.done}")


class PhotoRun(Run):
    """One attempt at one photo."""

    def __init__(self, world: World, user_id: str, name: str, rt: Runtime, owner: str, flow: bool, skew: int) -> None:
        super().__init__(world, user_id, rt, owner)
        self.name, self.photo, self.order = name, world.uploads[user_id, name], world.orders[user_id, name]
        self.flow, self.skew = flow, skew

    def __repr__(self) -> str:
        return f"#{self._number} ({self.user_id} {self.name})"

    def _work(self) -> None:
        work = process_photo(self._rt, self._take, self.photo, self.user_id, self.owner, self.order)
        self._world.log(f"{self} ends: {asyncio.run(work).status}")
