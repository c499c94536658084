"""An S3 server on loopback, what was asked of it, and faults on request."""

import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import boto3
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import WSGIRequestHandler, make_server
from werkzeug.wrappers import Request, Response

from voxray.storage.paths import AnyPath, to_path

BUCKET = "bucket"
KEYS = {
    "AWS_ACCESS_KEY_ID": "testing",
    "AWS_SECRET_ACCESS_KEY": "testing-secret",
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_EC2_METADATA_DISABLED": "true",
}
CUT = 0  # a fault: the answer ends in its middle


@dataclass
class S3:
    """What a test may do to the server.

    `requests` are (method, path with query, bytes sent back) in the order in which they were answered. `fault` is asked
    of each (method, path) and gives the status of a failure, CUT, or None.
    """

    url: str
    requests: list[tuple[str, str, int]] = field(default_factory=list)
    fault: Callable[[str, str], int | None] = lambda method, path: None
    folders: int = 0

    def reset(self) -> None:
        self.requests.clear()
        self.fault = lambda method, path: None

    def new_folder(self) -> Any:
        """A place where nothing lies yet, beside nothing else."""
        self.folders += 1
        return to_path(f"s3://{BUCKET}/{self.folders}/folder")

    def put_folder(self, folder: Path) -> Any:
        """Copy a folder; returns its place."""
        copy, client = self.new_folder(), self.client()
        for file in sorted(path for path in folder.rglob("*") if path.is_file()):
            key = f"{_key(copy)}/{file.relative_to(folder).as_posix()}"
            client.put_object(Bucket=BUCKET, Key=key, Body=file.read_bytes())
        self.requests.clear()
        return copy

    def contents(self, folder: AnyPath) -> dict[str, bytes]:
        """All files below a place."""
        prefix = f"{_key(folder)}/"
        pages = self.client().get_paginator("list_objects_v2").paginate(Bucket=BUCKET, Prefix=prefix)
        keys = [each["Key"] for page in pages for each in page.get("Contents", [])]
        get = self.client().get_object
        return {key.removeprefix(prefix): get(Bucket=BUCKET, Key=key)["Body"].read() for key in keys}

    def asked(self, method: str, ending: str = "") -> list[tuple[str, int]]:
        """Path and bytes of the answers to a method, of files whose names end so."""
        return [(path, size) for way, path, size in self.requests if way == method and path.endswith(ending)]

    def client(self) -> Any:
        return boto3.client(
            "s3", endpoint_url=self.url, region_name="us-east-1", aws_access_key_id="x", aws_secret_access_key="y"
        )


def _key(path: AnyPath) -> str:
    return str(path).removeprefix(f"s3://{BUCKET}/")


class Watched:
    """Moto's application, with a record of what is asked of it, and faults."""

    def __init__(self, s3: S3) -> None:
        self.s3, self.application = s3, DomainDispatcherApplication(create_backend_app)

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        request = Request(environ)
        path = request.full_path.rstrip("?")
        fault = self.s3.fault(request.method, path)
        if fault:
            request.get_data()
            answer = Response("<Error><Code>InternalError</Code><Message>made to fail</Message></Error>", fault)
        else:
            answer = Response.from_app(self.application, environ)
        length = 0 if request.method == "HEAD" else len(answer.get_data())
        if fault == CUT:
            answer.set_data(answer.get_data()[: length // 2])
            answer.headers["Content-Length"] = str(length)
        self.s3.requests.append((request.method, path, length))
        return answer(environ, start_response)


class Quiet(WSGIRequestHandler):
    """Writes no line for each request."""

    def log_request(self, code: Any = "-", size: Any = "-") -> None:
        pass


@contextmanager
def serve() -> Iterator[S3]:
    """The server for the time of the block."""
    s3 = S3("")
    server = make_server("127.0.0.1", 0, Watched(s3), threaded=True, request_handler=Quiet)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    s3.url = f"http://127.0.0.1:{server.server_port}"
    s3.client().create_bucket(Bucket=BUCKET)
    try:
        yield s3
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
