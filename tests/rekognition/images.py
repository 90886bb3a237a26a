"""From the Image of a request to faces: fetched from S3, held against Rekognition's limits, looked at once."""

from __future__ import annotations

import hashlib
import threading
import uuid
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import boto3
import numpy as np
from botocore.exceptions import BotoCoreError, ClientError
from numpy.typing import NDArray

from selfiegate.backends.embedding import Analyser
from selfiegate.decoding.decode import Limits, decode
from selfiegate.errors import PhotoRejected
from selfiegate.face import Box, Face
from selfiegate.model import ReasonCode
from tests.rekognition.protocol import HOME, AwsError

_MAX_S3 = 15 * 1024 * 1024
_MAX_FACES = 100
_REMEMBERED = 256
_MAGIC = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n")


@dataclass(frozen=True)
class Look:
    """What an analyser saw in an image: up to 100 faces, largest first, and the image's size in pixels."""

    image_id: str
    size: tuple[int, int]
    faces: Sequence[Face]
    aligned: Sequence[NDArray[np.uint8]]
    analyser: Analyser

    @cached_property
    def embeddings(self) -> NDArray[np.float32]:
        """Unit embeddings, shape (n, d); computed when first asked for, since DetectFaces never does."""
        return self.analyser.embed(self.aligned) if self.aligned else np.zeros((0, 1), np.float32)


class Images:
    """Fetches and analyses; equal bytes are analysed once. No lock is held meanwhile."""

    def __init__(self, analyser: Analyser, s3_url: str | None) -> None:
        self._analyser, self._limits = analyser, Limits()
        self._lock = threading.Lock()
        self._seen: OrderedDict[str, Look] = OrderedDict()
        secrets = {"aws_access_key_id": "testing", "aws_secret_access_key": "testing"}
        self._s3 = boto3.client("s3", endpoint_url=s3_url, region_name=HOME, **secrets) if s3_url else None

    def look(self, image: dict[str, Any], region: str = HOME) -> Look:
        """Return what can be seen in the Image of a request; raises what AWS answers to unusable ones."""
        data = self._fetch(image, region)
        digest = hashlib.sha256(data).hexdigest()
        with self._lock:
            if digest in self._seen:
                self._seen.move_to_end(digest)
                return self._seen[digest]
        look = self._analyse(data, digest)
        with self._lock:
            self._seen[digest] = look
            if len(self._seen) > _REMEMBERED:
                self._seen.popitem(last=False)
        return look

    def _fetch(self, image: dict[str, Any], region: str) -> bytes:
        if len(image) != 1:
            raise AwsError("InvalidParameterException")
        if "S3Object" in image:
            return self._download(image["S3Object"], region)
        data: bytes = image["Bytes"]  # more than 5 MiB break the service model
        return data

    def _download(self, place: dict[str, str], region: str) -> bytes:
        """Read an object as AWS does: of buckets in the region that is asked alone."""
        if self._s3 is None or not {"Bucket", "Name"} <= place.keys():
            raise AwsError("InvalidS3ObjectException")
        version = {"VersionId": place["Version"]} if "Version" in place else {}
        try:
            location = self._s3.get_bucket_location(Bucket=place["Bucket"])["LocationConstraint"] or HOME
            if location != region:
                raise AwsError("InvalidS3ObjectException")
            found = self._s3.get_object(Bucket=place["Bucket"], Key=place["Name"], **version)
            with found["Body"] as body:
                if found["ContentLength"] > _MAX_S3:
                    raise AwsError("ImageTooLargeException")
                return bytes(body.read())
        except (ClientError, BotoCoreError):
            raise AwsError("InvalidS3ObjectException") from None

    def _analyse(self, data: bytes, digest: str) -> Look:
        if not data.startswith(_MAGIC):
            raise AwsError("InvalidImageFormatException")
        try:
            picture, size = decode(data, self._limits, self._limits.working_side)
        except PhotoRejected as rejected:
            raise AwsError(_REFUSALS.get(ReasonCode(rejected.code), "InvalidImageFormatException")) from None
        found = sorted(self._analyser.analyse(picture, size), key=lambda seen: -seen[0].box.area)[:_MAX_FACES]
        faces, aligned = [_as_stored(face) for face, _ in found], [pixels for _, pixels in found]
        # AWS's ImageIds are UUIDs of version 5, too, and equal for equal images.
        return Look(str(uuid.uuid5(uuid.NAMESPACE_OID, digest)), size, faces, aligned, self._analyser)


def _as_stored(face: Face) -> Face:
    """Return a face where it lies in the image as it is stored: Rekognition turns no image, it tells the roll."""
    for _ in range(face.turned // 90):  # a quarter turn counter-clockwise each
        box, roll = face.box, (face.roll or 0.0) - 90
        face = face.model_copy(
            update={
                "box": Box(left=box.top, top=1 - box.left - box.width, width=box.height, height=box.width),
                "landmarks": tuple((y, 1 - x) for x, y in face.landmarks),
                "roll": roll if roll > -180 else roll + 360,
                "turned": face.turned - 90,
            }
        )
    return face


_REFUSALS = {
    ReasonCode.PHOTO_TOO_SMALL: "InvalidParameterException",
    ReasonCode.PHOTO_TOO_LARGE: "ImageTooLargeException",
}
