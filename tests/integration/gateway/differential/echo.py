"""An engine as a process: echo.py PORT PORT2 ... answers by the seed in `x-answer` and tells, as the beginning of each answer's body,
what it was sent: "<bytes of the head> <bytes of the body>\n", head, body. What was told in an answer without a body waits for
GET /told with the same seed at the same port."""
import asyncio
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
from differential.traffic import Answer  # noqa: E402


async def read_body(reader, fields):
    if fields.get("transfer-encoding") == "chunked":
        body = []
        while size := int((await reader.readuntil(b"\r\n")).split(b";")[0], 16):
            body.append(await reader.readexactly(size))
            assert await reader.readexactly(2) == b"\r\n"
        while await reader.readuntil(b"\r\n") != b"\r\n":
            pass
        return b"".join(body)
    return await reader.readexactly(int(fields.get("content-length", 0)))


class Port:
    def __init__(self):
        self.told = {}

    async def serve(self, reader, writer):
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                split = [line.partition(":") for line in head.decode("latin-1").split("\r\n")[1:-2]]
                fields = {name.lower(): text.strip(" \t") for name, _, text in split}
                seed = fields["x-answer"]
                if head.startswith(b"GET /told "):
                    told = self.told.pop(seed)
                    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(told) + told)
                    continue
                body = await read_body(reader, fields)
                told = b"%d %d\n" % (len(head), len(body)) + head + body
                answer = Answer(seed)
                if answer.bodiless or head.startswith(b"HEAD "):
                    self.told[seed] = told
                writer.write(answer.raw(told, head.startswith(b"HEAD ")))
                if answer.framing == "close" and not answer.bodiless:
                    await writer.drain()
                    break
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        writer.close()


async def main():
    servers = [await asyncio.start_server(Port().serve, "127.0.0.1", int(port), limit=1 << 24) for port in sys.argv[1:]]
    await asyncio.gather(*(s.serve_forever() for s in servers))


asyncio.run(main())
