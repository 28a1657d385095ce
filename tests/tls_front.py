"""TLS in front of a server of a test, as an ingress controller ends it: kubectl sends no credentials without."""

import asyncio
import contextlib
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.adapters.certificates import make_certificate
from tests.patience import PATIENCE_S


@contextmanager
def tls_front(folder: Path, host: str, port: int) -> Iterator[tuple[str, Path]]:
    """`https://127.0.0.1:PORT` of a front for that address, and the file of its authority."""
    certificate, key = folder / "front.crt", folder / "front.key"
    make_certificate(certificate, key)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    loop, started = asyncio.new_event_loop(), threading.Event()
    found: list[int] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            with contextlib.suppress(OSError, asyncio.CancelledError):  # the front may end before its connections
                await _join(reader, writer, *await asyncio.open_connection(host, port))
        finally:
            writer.transport.abort()

    def run() -> None:
        asyncio.set_event_loop(loop)
        server = loop.run_until_complete(asyncio.start_server(serve, "127.0.0.1", 0, ssl=context))
        found.append(server.sockets[0].getsockname()[1])
        started.set()
        loop.run_forever()
        server.close()
        tasks = asyncio.all_tasks(loop)
        for task in tasks:
            task.cancel()
        loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
        loop.close()

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    assert started.wait(PATIENCE_S)
    try:
        yield f"https://127.0.0.1:{found[0]}", certificate
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(PATIENCE_S)


async def _join(
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    back_reader: asyncio.StreamReader,
    back_writer: asyncio.StreamWriter,
) -> None:
    pipes = [asyncio.create_task(_pipe(reader, back_writer)), asyncio.create_task(_pipe(back_reader, writer))]
    try:
        await asyncio.wait(pipes, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for pipe in pipes:
            pipe.cancel()
        back_writer.transport.abort()


async def _pipe(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
