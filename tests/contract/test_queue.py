"""The queues of photo events: SQS over the wire by moto's server, PostgreSQL on a real server."""

# ruff: noqa: S608  the only text put into statements are the names below

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from typing import Any

import psycopg
import pytest

from selfiegate.aws.clients import AwsSettings, client
from selfiegate.aws.sqs_queue import SqsQueue
from selfiegate.errors import BackendMisconfigured, BackendUnavailable
from selfiegate.postgres_database import PostgresDatabase
from selfiegate.stores.postgres_queue import DEAD_DAYS, MOST_DELIVERIES, PostgresQueue
from tests.contract import queue
from tests.contract.queue import QueueContract, received
from tests.postgres import PostgresServer


class TestSqsQueue(QueueContract):
    @pytest.fixture(autouse=True)
    def _queues(self, aws: AwsSettings) -> None:
        self.sqs = client("sqs", aws)
        dead = self.sqs.create_queue(QueueName="dead")["QueueUrl"]
        arn = self.sqs.get_queue_attributes(QueueUrl=dead, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
        policy = json.dumps({"deadLetterTargetArn": arn, "maxReceiveCount": queue.MOST_DELIVERIES})
        alive = self.sqs.create_queue(QueueName="photos", Attributes={"RedrivePolicy": policy})["QueueUrl"]
        self.settings = aws.model_copy(update={"queue_url": alive, "dead_queue_url": dead})

    def open_queue(self) -> SqsQueue:
        return SqsQueue(self.settings)

    def dead(self) -> Sequence[tuple[str, str | None]]:
        names: dict[str, Any] = {"MaxNumberOfMessages": 10, "MessageAttributeNames": ["All"]}
        found = self.sqs.receive_message(QueueUrl=self.settings.dead_queue_url, **names).get("Messages", [])
        return [(one["Body"], one.get("MessageAttributes", {}).get("reason", {}).get("StringValue")) for one in found]


class TestPostgresQueue(QueueContract):
    delivers_once = True

    @pytest.fixture(autouse=True)
    def _database(self, postgres: PostgresServer) -> Iterator[None]:
        self.server, self.url = postgres, postgres.database("queue")
        self.databases = list[PostgresDatabase]()
        yield
        for database in self.databases:
            database.close()

    def open_queue(self, most_deliveries: int = queue.MOST_DELIVERIES, patience_s: float = 30) -> PostgresQueue:
        self.databases.append(PostgresDatabase(self.url, patience_s, size=4))
        return PostgresQueue(self.databases[-1], most_deliveries)

    def dead(self) -> Sequence[tuple[str, str | None]]:
        return [(message.body, message.reason) for message in self.open_queue().dead(10)]

    def test_whom_a_message_was_taken_from_changes_it_no_more(self) -> None:
        ours, others = self.open_queue(), self.open_queue()
        ours.put("one")
        (before,) = ours.receive(10, 0, 0)
        (message,) = others.receive(10, 0, 60)
        kept = ours.extend(before, 0)
        ours.delete(before)
        ours.bury(before, "wrong")

        assert not kept
        assert ours.receive(10, 0, 60) == []
        assert ours.dead(10) == []
        assert others.extend(message, 60)

    def test_what_is_put_outlives_a_crash_of_the_server(self) -> None:
        ours = self.open_queue()
        ours.put("one")
        self.server.kill()
        self.server.start()

        assert [message.body for message in received(self.open_queue(), 1)] == ["one"]

    def test_a_server_that_is_gone_is_said_within_the_patience(self) -> None:
        ours = self.open_queue(patience_s=1)
        self.server.kill()
        try:
            for ask in (lambda: ours.put("one"), lambda: ours.receive(10, 1, 60), ours.check):
                with pytest.raises(BackendUnavailable):
                    ask()
        finally:
            self.server.start()

        assert ours.receive(10, 0, 60) == []

    def test_a_taker_that_is_cut_off_before_its_commit_takes_nothing(self) -> None:
        """Its rows stay locked until the server ends its transaction; others go on with what is free."""
        ours = self.open_queue()
        for number in range(2):
            ours.put(str(number))
        with psycopg.connect(self.url) as other:
            locked = other.execute("SELECT body FROM photo_events LIMIT 1 FOR UPDATE").fetchall()
            free = [message.body for message in ours.receive(10, 0, 60)]
            other.rollback()

        assert sorted([*free, locked[0][0]]) == ["0", "1"]
        assert [message.deliveries for message in ours.receive(10, 0, 60)] == [1]

    def test_dead_messages_can_be_sent_again_by_one_or_all(self) -> None:
        ours = self.open_queue()
        for number in range(3):
            ours.put(str(number))
        for message in received(ours, 3):
            ours.bury(message, "wrong")
        first = next(one for one in ours.dead(10) if one.body == "0")
        one, none, again = ours.redrive(first.id), ours.redrive(first.id), received(ours, 1)
        rest = ours.redrive()

        assert (one, none, rest) == (1, 0, 2)
        assert [(message.body, message.deliveries) for message in again] == [("0", 1)]
        assert sorted(message.body for message in received(ours, 2)) == ["1", "2"]

    def test_dead_messages_are_kept_for_two_weeks(self) -> None:
        ours = self.open_queue()
        for number in range(2):
            ours.put(str(number))
        for message in received(ours, 2):
            ours.bury(message, "wrong")
        self._run(f"UPDATE photo_events SET died_at = now() - interval '{DEAD_DAYS + 1} days' WHERE body = '0'")
        self._run(f"UPDATE photo_events SET died_at = now() - interval '{DEAD_DAYS - 1} days' WHERE body = '1'")
        self.open_queue().receive(10, 0, 60)

        assert [message.body for message in ours.dead(10)] == ["1"]

    def test_messages_are_counted(self) -> None:
        ours = self.open_queue()
        for number in range(6):
            ours.put(str(number))
        taken = received(ours, 3)
        ours.bury(taken[0], "wrong")
        time.sleep(0.1)

        stats = ours.stats()
        assert stats[:3] == (3, 2, 1)
        assert 0.1 <= stats.oldest_s < queue.PATIENCE_S

    def test_a_table_that_somebody_removed_is_said(self) -> None:
        ours = self.open_queue(MOST_DELIVERIES)
        self._run("DROP TABLE photo_events")

        with pytest.raises(BackendMisconfigured, match=r"photo_events.*tables of this version"):
            ours.check()

    def _run(self, sql: str) -> None:
        with psycopg.connect(self.url) as connection:
            connection.execute(sql.encode())


def test_a_queue_of_sqs_that_is_not_there_is_said(aws: AwsSettings) -> None:
    nowhere = aws.model_copy(update={"queue_url": "http://x/1/no"})

    with pytest.raises(BackendMisconfigured, match="NonExistentQueue"):
        SqsQueue(nowhere).check()
