"""What a test can switch on, and what it can read back afterwards. All of it from any thread."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

from tests.rekognition.policy import Statement, checked
from tests.rekognition.protocol import OPERATIONS, SERVICE

MODEL = "7.0"
"""Version of the face model that collections are created with."""

MOST_LISTED = 4096
"""Faces of a page of ListFaces: AWS's upper bound."""

Kind = Literal["fail", "slow", "lose_reply"]


@dataclass
class Rule:
    """Something that befalls the next `times` calls of an operation, or all of them (None)."""

    kind: Kind
    operation: str
    value: Any
    times: int | None


@dataclass(frozen=True)
class Delays:
    """Seconds by which Rekognition's collections lag behind what was answered.

    `visible`: until searches find an indexed face. `gone`: until they no longer find a deleted one.
    `known`: until SearchFaces knows the FaceId of an indexed face; until then it answers
    InvalidParameterException, as AWS is reported to do for some hundred milliseconds.
    """

    visible: float = 0
    gone: float = 0
    known: float = 0


class Switches:
    """Faults by operation ("*" is each), used up in the order they were set."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._rules: list[Rule] = []
        self.delays, self.most_listed, self.model = Delays(), MOST_LISTED, MODEL
        self.statements: Sequence[Statement] | None = None

    def fail(self, operation: str = "*", code: str = "ThrottlingException", times: int | None = None) -> None:
        """Answer with an error that the service model knows, and do no work."""
        if code not in SERVICE.shape_names or not SERVICE.shape_for(code).metadata.get("exception"):
            raise ValueError(f"{code!r} is not an error of Rekognition")
        self._add(Rule("fail", operation, code, times))

    def slow(self, seconds: float, operation: str = "*", times: int | None = None) -> None:
        """Wait before the work."""
        self._add(Rule("slow", operation, float(seconds), times))

    def lose_reply(self, operation: str = "*", times: int | None = None) -> None:
        """Do the work, then close the connection without an answer; calls answered by an error do not count."""
        self._add(Rule("lose_reply", operation, True, times))

    def delay(self, **seconds: float) -> None:
        """Set some of `Delays`; a lower value holds for faces indexed or deleted before, too."""
        with self._lock:
            self.delays = replace(self.delays, **seconds)

    def make_with(self, model: str) -> None:
        """Give collections that are created from now on a face model of this version."""
        self.model = model

    def list_most(self, faces: int) -> None:
        """Return no more faces on a page of ListFaces, whatever is asked for."""
        self.most_listed = faces

    def policy(self, statements: Sequence[Statement]) -> None:
        """Allow what the statements of an IAM policy allow, and nothing else."""
        self.statements = checked(statements)

    def clear(self) -> None:
        """Switch everything off."""
        with self._lock:
            self._rules, self.delays, self.most_listed, self.model = [], Delays(), MOST_LISTED, MODEL
            self.statements = None

    def apply(self, settings: dict[str, dict[str, Any]]) -> None:
        """Call methods by name with keyword arguments: `{"fail": {"operation": "IndexFaces", "times": 2}}`."""
        faults = (self.fail, self.slow, self.lose_reply, self.delay)
        known = (*faults, self.make_with, self.list_most, self.policy, self.clear)
        methods = {method.__name__: method for method in known}
        for name, arguments in settings.items():
            if name not in methods:
                raise ValueError(f"{name!r} is not a switch; there are {', '.join(methods)}")
            methods[name](**arguments)

    def take(self, kind: Kind, operation: str) -> Any:
        """Return the value of the first rule that applies to this call, and count it as used; None if none does."""
        with self._lock:
            for rule in self._rules:
                if rule.kind == kind and rule.operation in ("*", operation) and rule.times != 0:
                    rule.times = None if rule.times is None else rule.times - 1
                    return rule.value
        return None

    def state(self) -> dict[str, Any]:
        """Return what is switched on, as JSON."""
        with self._lock:
            return {"rules": [asdict(rule) for rule in self._rules if rule.times != 0], "delays": asdict(self.delays)}

    def _add(self, rule: Rule) -> None:
        if rule.operation not in ("*", *OPERATIONS):
            raise ValueError(f"{rule.operation!r} is not an operation of this endpoint")
        with self._lock:
            self._rules.append(rule)


@dataclass
class Journal:
    """What was asked, and what this endpoint itself did wrong."""

    calls: Counter[str] = field(default_factory=Counter)
    detections: list[dict[str, Any]] = field(default_factory=list)
    violations: list[str] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def count(self, operation: str) -> None:
        """Count a call, whatever becomes of it."""
        with self._lock:
            self.calls[operation] += 1

    def clear(self) -> None:
        """Forget all of it."""
        with self._lock:
            self.calls.clear()
            self.detections.clear()
            self.violations.clear()

    def state(self) -> dict[str, Any]:
        """Return all of it, as JSON."""
        with self._lock:
            return {"calls": dict(self.calls), "detections": [*self.detections], "violations": [*self.violations]}
