"""The enrolment protocol under all kinds of schedules: races, deaths, sleepers, faults, lagging searches, erasures.

The runs take `selfiegate.enrolment.sequence.process_photo` and `selfiegate.privacy.sequence.forget_user`, the orders of
steps that the flows run too. `tests.protocol.scheduler` advances the runs one store call at a time,
`tests.protocol.lagging` says what is assumed of searches, `tests.protocol.promises` what must hold.

Hypothesis looks for a schedule that breaks a promise and prints the shortest it finds, call by call. With
CHAOS=1 (`make chaos`) it looks for longer, elsewhere each time.
"""

from __future__ import annotations

import os

import hypothesis
from hypothesis import note
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from tests.protocol.erasing import Erasing, carry_on, come_back, forget, upload_again
from tests.protocol.promises import assert_kept_for_now, assert_kept_in_the_end
from tests.protocol.scheduled import Run
from tests.protocol.scheduler import World

USERS, PHOTOS = ("user_a", "user_b", "user_c"), ("ann-0", "ann-1", "bob-0")
TURNS = (
    "ledger.accept",
    "ledger.contest",
    "ledger.release",
    "ledger.decide",
    "profiles.put",
    "faces.rivals",
    "faces.remove",
    "erasures.put",
    "ledger.remove",
    "ledger.look_later",
    "ledger.lose",
    "profiles.remove",
    "sleep",
)
EMBEDDED = {"faces.rivals": "gallery.search", "faces.remove": "gallery.remove"}
LONG = os.environ.get("CHAOS") == "1"

a_live_run = st.runner().flatmap(lambda machine: st.sampled_from(machine.world.live))
somebody_known = st.runner().flatmap(
    lambda machine: st.sampled_from([run.user_id for run in (*machine.world.live, *machine.world.runs)])
)
some_run_is_live = precondition(lambda machine: machine.world.live)


class Schedules(RuleBasedStateMachine):
    """Show that no schedule of runs breaks a promise.

    The rules are what may happen: photos and erasures start, runs go on, die, sleep past their lease, or lose a call or
    its reply. After each rule the promises for that moment must hold, and after the last, with all runs ended and
    audited, the final promises.
    """

    world: World

    @initialize(
        lagging=st.booleans(),
        one_sided=st.booleans(),
        flow=st.booleans(),
        dated=st.booleans(),
        unclear=st.booleans(),
        doubled=st.booleans(),
    )
    def two_begin(self, lagging: bool, one_sided: bool, flow: bool, dated: bool, unclear: bool, doubled: bool) -> None:
        """Begin with two users who claim photos of the same person; or who were both accepted, and a late look."""
        self.world = World(lagging, one_sided, dated, unclear).__enter__()
        if lagging and doubled and not unclear:
            self.world.let_both_through("user_a", "user_b")
            self.world.look()
            return
        self.world.start("user_a", "ann-0", flow=flow).to("ledger.claim")
        self.world.start("user_b", "ann-0", process=1, flow=flow).to("ledger.claim")
        for run in self.world.runs:
            run.step()  # the claim, so that it is known which is the older

    @precondition(lambda self: len(self.world.live) < 5)
    @rule(
        user_id=st.sampled_from(USERS),
        photo=st.sampled_from(PHOTOS),
        process=st.integers(0, 1),
        flow=st.booleans(),
        skew=st.sampled_from([0, -3, 3]),
    )
    def start(self, user_id: str, photo: str, process: int, flow: bool, skew: int) -> None:
        """Start a run of a photo; its process's clock may be 3 s wrong."""
        self.world.start(user_id, photo, process, flow=flow, skew=skew)

    @precondition(lambda self: self.world.runs)
    @rule(run=st.runner().flatmap(lambda machine: st.sampled_from(machine.world.runs)), taken=st.booleans())
    def again(self, run: Run, taken: bool) -> None:
        """Start a photo once more: by the same run, or by another whose lease it outlived."""
        if run.looks:
            self.world.look()
            return
        if isinstance(run, Erasing):
            carry_on(self.world, run.user_id) if taken else forget(self.world, run.user_id, run.owner)
            return
        if taken:
            self.world.expire(run)
        self.world.start(run.user_id, run.name, owner="" if taken else run.owner)

    @precondition(lambda self: len(self.world.live) < 5)
    @rule(process=st.integers(0, 1), pause_s=st.sampled_from([0, 700, 86_401]))
    def look(self, process: int, pause_s: int) -> None:
        """Look accepted faces up once more, some of them before their time."""
        self.world.let_pass(pause_s)
        self.world.look(process)

    @precondition(lambda self: self.world.dated and len(self.world.live) < 5)
    @rule(upload=st.runner().flatmap(lambda machine: st.sampled_from(sorted(machine.world.uploads))))
    def upload_again(self, upload: tuple[str, str]) -> None:
        """Let a user upload a photo once more, another one or none in between."""
        upload_again(self.world, *upload, process=1)

    @precondition(lambda self: self.world.dated and len(self.world.live) < 5)
    @rule(user_id=somebody_known, process=st.integers(0, 1))
    def forget(self, user_id: str, process: int) -> None:
        """Let a user ask to be forgotten."""
        forget(self.world, user_id, process=process)

    @precondition(lambda self: self.world.watch.wishes and len(self.world.live) < 5)
    @rule(data=st.data())
    def come_back(self, data: st.DataObject) -> None:
        """Upload a photo, new or just the one that is to be forgotten."""
        user_id = data.draw(st.sampled_from(sorted(self.world.watch.wishes)))
        come_back(self.world, user_id, data.draw(st.sampled_from(PHOTOS)))

    @precondition(lambda self: self.world.watch.wishes)
    @rule()
    def refuse_removals(self) -> None:
        """Let erasures remove neither faces nor thumbnails for an hour."""
        self.world.refusing_until = self.world.micros() + 3_600_000_000

    @precondition(lambda self: self.world.refusing_until > self.world.micros())
    @rule()
    def let_an_hour_pass(self) -> None:
        """Let the hour pass; who lives renews its lease."""
        self.world.let_pass(3600)

    @some_run_is_live
    @rule(run=a_live_run, calls=st.integers(1, 12))
    def advance(self, run: Run, calls: int) -> None:
        """Let a run make some store calls."""
        for _ in range(calls):
            run.step()

    @some_run_is_live
    @rule(run=a_live_run, call=st.sampled_from(TURNS))
    def advance_to(self, run: Run, call: str) -> None:
        """Let a run go on until it is about to make one of the calls that decide."""
        run.step()
        run.to(call if self.world.lagging else EMBEDDED.get(call, call))

    @some_run_is_live
    @rule(run=a_live_run)
    def end(self, run: Run) -> None:
        """Let a run go on to its end."""
        run.end()

    @some_run_is_live
    @rule(run=a_live_run)
    def kill(self, run: Run) -> None:
        """Kill a run's process."""
        run.kill()

    @some_run_is_live
    @rule(run=a_live_run, how=st.sampled_from(["fail", "lose"]))
    def fault(self, run: Run, how: str) -> None:
        """Let a store call fail before its work, or lose the reply to it."""
        if run.next != "sleep":
            run.step(how)

    @some_run_is_live
    @rule(run=a_live_run)
    def sleep_through_the_lease(self, run: Run) -> None:
        """Let a run's lease end while the run stands still."""
        self.world.expire(run)

    @precondition(lambda self: self.world.lagging)
    @rule()
    def searches_catch_up(self) -> None:
        """Let searches show all that was indexed and removed."""
        self.world.gallery.catch_up()

    @rule()
    def gallery_is_lost_or_put_back(self) -> None:
        """Let the gallery refuse each call, as one that is lost, older or another's, until it is put back."""
        self.world.refuses = not self.world.refuses

    @invariant()
    def promises_are_kept(self) -> None:
        """Hold what must hold at every moment."""
        assert_kept_for_now(self.world)

    def teardown(self) -> None:
        """Hold what must hold when all is done, and print the calls where it does not."""
        if not hasattr(self, "world"):
            return
        self.world.refuses = False
        try:
            assert_kept_in_the_end(self.world)
        finally:
            self.world.__exit__()
            note("\n".join(self.world.journal))


TestSchedules = Schedules.TestCase
TestSchedules.settings = hypothesis.settings(
    max_examples=6000 if LONG else 250,
    stateful_step_count=50 if LONG else 25,
    deadline=None,
    derandomize=not LONG,
    database=None,
    print_blob=False,
    suppress_health_check=list(hypothesis.HealthCheck),
)
