"""Answers over the gateway's own connections to engines; the server writes byte for byte what a test says."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
import uvloop
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.waiting import until

from server import wire as wires
from server.wire import Cut, Wires, at_once

OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = OK + b"transfer-encoding: chunked\r\n\r\n"
Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


END = chunk(b"")


class Server:
    """Answers every request with what `serve` does once the request was read; counts connections."""

    def __init__(self, serve: Serve) -> None:
        self._serve = serve
        self.connections = 0
        self.requests: list[bytes] = []
        self.open: dict[asyncio.Task[None], asyncio.StreamWriter] = {}

    async def connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        me = asyncio.current_task()
        assert me is not None
        self.open[me] = writer
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                length = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])
                self.requests.append(head + await reader.readexactly(length))
                await self._serve(reader, writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()
            del self.open[me]


@asynccontextmanager
async def serving(serve: Serve) -> AsyncIterator[tuple[Server, Wires]]:
    answering = Server(serve)
    listener = await asyncio.start_server(answering.connected, "127.0.0.1", 0)
    kept = Wires(f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}/under%20it")
    try:
        yield answering, kept
    finally:
        kept.close()
        listener.close()
        for writer in answering.open.values():
            writer.close()
        await asyncio.gather(*answering.open, return_exceptions=True)


def writes(*parts: bytes, then: Callable[[asyncio.StreamWriter], None] = lambda _: None) -> Serve:
    async def serve(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for part in parts:
            writer.write(part)
            await writer.drain()
            await asyncio.sleep(0)
        then(writer)

    return serve


async def answer(kept: Wires, silence: float = 20.0) -> bytes:
    """Ask, take all of the answer piece by piece, give the connection back."""
    wire = await kept.ask("/v1/x", b'{"a": 1}', whole=False)
    try:
        said = [await wire.first()]
        assert wire.status == 200
        await wire.follow(lambda piece: said.append(piece), silence)
        return b"".join(said)
    finally:
        kept.give_back(wire)


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(
    pieces=st.lists(st.binary(min_size=1, max_size=40), min_size=1, max_size=6),
    cuts=st.lists(st.integers(1, 300), max_size=8),
    form=st.sampled_from(["chunks", "length", "close"]),
)
async def test_an_answer_comes_whole_however_it_is_framed_and_cut(
    pieces: list[bytes], cuts: list[int], form: str
) -> None:
    body = b"".join(pieces)
    sent = {
        "chunks": CHUNKED + b"".join(map(chunk, pieces)) + END,
        "length": OK + b"Content-Length: %d\r\n\r\n" % len(body) + body,
        "close": OK + b"\r\n" + body,
    }[form]
    at = [0, *sorted({cut for cut in cuts if cut < len(sent)}), len(sent)]
    parts = [sent[begin:end] for begin, end in zip(at, at[1:], strict=False)]
    close = (lambda writer: writer.close()) if form == "close" else (lambda _: None)
    async with serving(writes(*parts, then=close)) as (server, kept):
        assert await answer(kept) == body
    assert server.requests[0].startswith(b"POST /under%20it/v1/x HTTP/1.1\r\nHost: 127.0.0.1:")
    assert server.requests[0].endswith(b'\r\nContent-Length: 8\r\n\r\n{"a": 1}')


def test_the_same_holds_on_the_loop_that_the_gateway_runs_on() -> None:
    async def ask_twice() -> None:
        async with serving(writes(CHUNKED + chunk(b"hello"), chunk(b" you"), END)) as (server, kept):
            assert [await answer(kept) for _ in range(2)] == [b"hello you"] * 2
            assert server.connections == 1

    uvloop.run(ask_twice())


async def test_a_piece_is_given_on_before_the_next_one_is_written() -> None:
    taken = asyncio.Event()

    async def serve(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for number in range(20):
            taken.clear()
            writer.write((CHUNKED if number == 0 else b"") + chunk(b"piece %d" % number))
            await taken.wait()
        writer.write(END)

    async with serving(serve) as (_, kept):
        wire = await kept.ask("/", b"", whole=False)
        said = [await wire.first()]
        taken.set()

        def take(piece: bytes) -> None:
            said.append(piece)
            taken.set()

        await wire.follow(take, 20.0)
    assert said == [b"piece %d" % number for number in range(20)]


async def test_an_answer_that_is_wanted_whole_waits_for_its_end_however_long_it_is() -> None:
    body = b"x" * (3 * wires.AHEAD_BYTES)
    half = len(body) // 2
    async with serving(writes(CHUNKED + chunk(body[:half]), chunk(body[half:]), END)) as (_, kept):
        wire = await kept.ask("/", b"", whole=True)
        assert await wire.first() == body


async def test_a_refusal_is_read_whole_and_the_word_before_an_answer_is_passed_over() -> None:
    refusal = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 404 Not Found\r\ncontent-length: 4\r\n\r\n"
    async with serving(writes(refusal, b"no", b"pe")) as (_, kept):
        wire = await kept.ask("/", b"", whole=False)
        assert (await wire.first(), wire.status) == (b"nope", 404)


async def test_a_refusal_of_what_was_to_be_streamed_is_read_whole_however_long_it_is() -> None:
    body = b"x" * (3 * wires.AHEAD_BYTES)
    head = b"HTTP/1.1 400 Bad Request\r\ncontent-length: %d\r\n\r\n" % len(body)
    async with serving(writes(head, body)) as (_, kept):
        wire = await kept.ask("/", b"", whole=False)
        async with asyncio.timeout(5):
            assert await wire.first() == body


async def test_a_connection_is_read_again_whose_answer_ended_while_its_taker_kept_it_waiting_and_left() -> None:
    go_on, never = asyncio.Event(), asyncio.Event()

    async def serve(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(CHUNKED + chunk(b"hello"))
        await go_on.wait()
        writer.write(chunk(b" you") + END)

    async def wait() -> None:
        await never.wait()

    async with serving(serve) as (server, kept):
        wire = await kept.ask("/", b"", whole=False)
        assert await wire.first() == b"hello"
        following = asyncio.create_task(wire.follow(lambda _: at_once(wait()), 20.0))
        go_on.set()
        await until(lambda: wire.ended, "the answer did not end", True)
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)
        kept.give_back(wire)
        async with asyncio.timeout(5):
            assert await answer(kept) == b"hello you"
        assert server.connections == 1


async def test_a_connection_is_used_again_after_a_whole_answer_and_for_a_while_only(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with serving(writes(CHUNKED + chunk(b"hello") + END)) as (server, kept):
        assert [await answer(kept) for _ in range(3)] == [b"hello"] * 3
        assert server.connections == 1
        monkeypatch.setattr(wires, "KEEPALIVE_SECONDS", 0.0)
        assert await answer(kept) == b"hello"
        assert server.connections == 2


@pytest.mark.parametrize(
    "sent", [OK + b"content-length: 2\r\nconnection: close\r\n\r\nhi", CHUNKED + chunk(b"hi") + END]
)
async def test_a_connection_that_its_server_closes_is_not_used_again(sent: bytes) -> None:
    async with serving(writes(sent, then=lambda writer: writer.close())) as (server, kept):
        assert await answer(kept) == b"hi"
        await asyncio.sleep(0.05)
        assert await answer(kept) == b"hi"
        assert server.connections == 2


async def test_an_answer_that_is_given_up_ends_its_connection() -> None:
    gone = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(CHUNKED + chunk(b"hello"))
        assert await reader.read() == b""
        gone.set()

    async with serving(serve) as (_, kept):
        wire = await kept.ask("/", b"", whole=False)
        assert await wire.first() == b"hello"
        kept.give_back(wire)
        async with asyncio.timeout(20):
            await gone.wait()


@pytest.mark.parametrize(
    ("head", "rest", "close", "words"),
    [
        (CHUNKED + chunk(b"hello"), b"5\r\nhal", True, "closed"),
        (OK + b"content-length: 9\r\n\r\nhello", b"hal", True, "closed"),
        (CHUNKED + chunk(b"hello"), chunk(b"hal") + b"no length\r\n", False, "no HTTP"),
        (CHUNKED + chunk(b"hello"), chunk(b"hal"), False, "nothing for 0.1 s"),
    ],
)
async def test_what_breaks_an_answer_off_is_said_after_all_that_came(
    head: bytes, rest: bytes, close: bool, words: str
) -> None:
    go_on = asyncio.Event()

    async def serve(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(head)
        await go_on.wait()
        writer.write(rest)
        if close:
            writer.close()

    async with serving(serve) as (_, kept):
        wire = await kept.ask("/", b"", whole=False)
        said = [await wire.first()]
        go_on.set()
        with pytest.raises(Cut, match=words):
            await wire.follow(lambda piece: said.append(piece), 0.1 if "0.1" in words else 20.0)
        kept.give_back(wire)
        assert b"".join(said) == b"hellohal"
        assert not wire.usable


async def test_an_engine_that_goes_on_saying_something_is_not_silent() -> None:
    async def serve(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(CHUNKED)
        for _number in range(10):
            writer.write(chunk(b"x"))
            await asyncio.sleep(0.2)
        writer.write(END)

    async with serving(serve) as (_, kept):
        assert await answer(kept, silence=1.5) == b"x" * 10


async def test_more_than_was_asked_for_is_no_answer() -> None:
    async with serving(writes((CHUNKED + chunk(b"a") + END) * 2)) as (_, kept):
        wire = await kept.ask("/", b"", whole=False)
        with pytest.raises(Cut, match="more than"):
            await wire.first()


async def test_what_the_taker_raises_is_raised_and_ends_the_connection() -> None:
    go_on = asyncio.Event()

    async def serve(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(CHUNKED + chunk(b"hello"))
        await go_on.wait()
        writer.write(chunk(b"again"))

    async with serving(serve) as (_, kept):
        wire = await kept.ask("/", b"", whole=False)
        await wire.first()
        go_on.set()

        def take(_: bytes) -> None:
            raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            await wire.follow(take, 20.0)
        assert not wire.usable


async def test_an_engine_is_read_no_faster_than_what_it_says_is_taken() -> None:
    written = 0
    piece = b"x" * 65536

    async def serve(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal written
        writer.write(CHUNKED)
        for _number in range(800):
            writer.write(chunk(piece))
            await writer.drain()
            written += 1
        writer.write(END)

    async with serving(serve) as (_, kept):
        go_on = asyncio.Event()
        size = 0

        def take(data: bytes) -> Awaitable[None] | None:
            nonlocal size
            size += len(data)
            return at_once(wait())

        async def wait() -> None:
            await go_on.wait()

        wire = await kept.ask("/", b"", whole=False)
        size += len(await wire.first())
        following = asyncio.create_task(wire.follow(take, 20.0))
        before = -1
        while before != written:  # until nothing moves any more
            before = written
            await asyncio.sleep(0.3)
        assert written < 400
        go_on.set()
        await following
        assert size == 800 * len(piece)


async def test_work_that_need_not_wait_is_done_at_once_and_the_rest_can_be_awaited() -> None:
    done: list[str] = []
    gate = asyncio.Event()

    async def work(name: str, wait: bool) -> None:
        try:
            if wait:
                await gate.wait()
                await asyncio.sleep(0)
            done.append(name)
        except asyncio.CancelledError:
            done.append(f"{name} was cancelled")
            raise

    assert at_once(work("first", False)) is None
    assert done == ["first"]
    rest, other = at_once(work("second", True)), at_once(work("third", True))
    assert rest is not None
    assert other is not None

    async def awaiting(what: Awaitable[None]) -> None:
        await what

    given_up = asyncio.create_task(awaiting(other))
    await asyncio.sleep(0)
    given_up.cancel()
    with pytest.raises(asyncio.CancelledError):
        await given_up
    gate.set()
    await rest
    assert done == ["first", "third was cancelled", "second"]
