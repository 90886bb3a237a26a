"""Imported by the fork server of `tests.chaos.rounds`, and so by each worker: what would cost all of them much, once.

AWS's service models are read here. Photos are decoded in the worker itself: `tests/unit/test_process_pool.py` is about
decoding apart, which takes 0.8 s to start in each of hundreds of workers.
"""

from selfiegate import thumbnails
from selfiegate.backends import embedding, rekognition
from selfiegate.decoding import decode
from selfiegate.moving import move, places  # noqa: F401  read for workers
from tests.chaos.worker import shared_session

for module in (embedding, rekognition, thumbnails):
    module.decode = decode.decode  # type: ignore[attr-defined]  # three modules that have it

shared_session()
