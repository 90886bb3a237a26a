"""An Amazon Rekognition for tests: real boto3 talks to it over the wire, and it really compares faces.

moto knows no collections. Every request and every answer is held against botocore's model of the service.
"""

from tests.rekognition.protocol import OPERATIONS
from tests.rekognition.server import RekognitionServer

__all__ = ["OPERATIONS", "RekognitionServer"]
