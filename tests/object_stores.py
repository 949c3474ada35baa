"""An S3 server on this machine, for the tests of object stores."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import fsspec
import pytest

BUCKET = "geoseg-tests"

# Of its own process: it shares neither the event loop nor the environment of what is tested.
_SERVER = """
import logging, sys
from moto.server import ThreadedMotoServer
logging.getLogger("werkzeug").setLevel(logging.ERROR)
server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
server.start()
print(*server.get_host_and_port(), flush=True)
sys.stdin.read()
"""


def _environment(address: str) -> dict[str, str]:
    """Where fsspec (by AWS_ENDPOINT_URL) and GDAL find the server at ``host:port``."""
    return {
        "AWS_ACCESS_KEY_ID": "tests",
        "AWS_SECRET_ACCESS_KEY": "tests",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ENDPOINT_URL": f"http://{address}",
        "AWS_S3_ENDPOINT": address,
        "AWS_HTTPS": "NO",
        "AWS_VIRTUAL_HOSTING": "FALSE",
    }


@contextmanager
def _serving() -> Iterator[str]:
    """A server while the block runs; gives its ``host:port``."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    process = subprocess.Popen(
        [sys.executable, "-c", _SERVER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        env=clean | {"AWS_ACCESS_KEY_ID": "tests", "AWS_SECRET_ACCESS_KEY": "tests"},
    )  # fmt: skip
    try:
        assert process.stdout is not None
        host, port = process.stdout.readline().split()
        yield f"{host}:{port}"
    finally:
        process.kill()
        process.communicate()


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """An S3 server with a bucket; what finds it is set."""
    for package in ("moto.server", "flask_cors", "s3fs"):
        pytest.importorskip(package, reason="an S3 server to test against comes with pip install 'moto[server]' s3fs")
    with _serving() as address, pytest.MonkeyPatch.context() as patch:
        for name, value in _environment(address).items():
            patch.setenv(name, value)
        fsspec.filesystem("s3", use_listings_cache=False).mkdir(BUCKET)
        yield address


def objects(url: str) -> dict[str, bytes]:
    """All that lies below a URL, by name."""
    files, root = fsspec.url_to_fs(url, use_listings_cache=False)
    files.invalidate_cache()
    return {path[len(root) :].lstrip("/"): files.cat_file(path) for path in files.find(root)}


def put(url: str, data: bytes) -> None:
    """Make an object."""
    files, path = fsspec.url_to_fs(url, use_listings_cache=False)
    files.pipe_file(path, data)


def remove(url: str) -> None:
    """Remove an object."""
    files, path = fsspec.url_to_fs(url, use_listings_cache=False)
    files.rm_file(path)
