"""`python -m tests.rekognition`: the endpoint as a process of its own; prints its URL when it listens."""

from __future__ import annotations

import argparse

from selfiegate.backends.embedding import Analyser
from selfiegate.backends.scripted import ScriptedAnalyser
from tests.rekognition.server import RekognitionServer


def main() -> None:
    """Serve until interrupted."""
    parser = argparse.ArgumentParser(prog="python -m tests.rekognition", description=__doc__)
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one")
    parser.add_argument("--s3", metavar="URL", help="S3 endpoint that S3Objects are read from")
    eyes = parser.add_mutually_exclusive_group(required=True)
    eyes.add_argument("--scripted", action="store_true", help="see what the pictures' scripts say")
    eyes.add_argument("--pack", action="store_true", help="see with the model pack of SELFIEGATE_INSIGHTFACE__*")
    arguments = parser.parse_args()

    server = RekognitionServer(_analyser(arguments.scripted), arguments.s3, arguments.port)
    print(server.url, flush=True)
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        server.server_close()


def _analyser(scripted: bool) -> Analyser:
    if scripted:
        return ScriptedAnalyser()
    from selfiegate.backends.insightface.analyser import InsightFaceAnalyser
    from selfiegate.settings import load_settings

    return InsightFaceAnalyser(load_settings().insightface)


if __name__ == "__main__":
    main()
