"""An answer in the making, without threads, servers or clocks."""

import asyncio
import itertools
import random
import threading
import time
from collections.abc import Iterator
from functools import partial

import httpx
import pytest

from cli.client import Delta, GatewayClient, GatewayError
from ui.answer import Answer, Phase
from ui.compare import HIDDEN, Pair
from ui.stream import FIRST_PIECE_S, FRAMES_PER_SECOND, Interruptible, Running, RunningAnswers, frames
from ui.troubles import plain
from ui.words import load_words


def fed(*deltas: Delta, every: float = 1.0) -> Answer:
    answer = Answer(started=0.0)
    for number, delta in enumerate(deltas):
        answer.feed(delta, number * every)
    return answer


def test_the_thought_is_timed_from_its_first_piece_to_the_first_of_the_response() -> None:
    answer = fed(Delta(), Delta(reasoning="a"), Delta(reasoning="b"), Delta(content="x"), Delta(content="y"))
    assert (answer.thought, answer.response, answer.thought_seconds) == ("ab", "xy", 2.0)
    assert answer.phase is Phase.RESPONDING


def test_tokens_of_the_thought_are_the_gateways_count_once_it_is_there() -> None:
    answer = fed(Delta(reasoning="a", usage={"completion_tokens": 9}), Delta(content="x"))
    assert answer.frame(2.0)["thought_tokens"] == 9
    answer.feed(Delta(usage={"completion_tokens": 12, "completion_tokens_details": {"reasoning_tokens": 7}}), 3.0)
    assert answer.frame(3.0)["thought_tokens"] == 7


def test_an_unknown_count_is_not_invented() -> None:
    assert fed(Delta(reasoning="a"), Delta(content="x")).frame(2.0)["thought_tokens"] is None


def test_a_frame_grows_and_shares_nothing_with_the_one_before() -> None:
    answer = fed(Delta(content="one\n\ntwo\nof it\n"))
    first = answer.frame(1.0)
    answer.feed(Delta(content="\nthree\nof it\n"), 2.0)
    second = answer.frame(2.0)
    assert len(first["blocks"]) == 1
    assert second["blocks"][:1] == first["blocks"]
    assert len(second["blocks"]) == 2


def test_an_answer_that_ends_inside_the_thought_closes_it() -> None:
    answer = fed(Delta(reasoning="a"))
    answer.finish(5.0)
    assert (answer.phase, answer.thought_seconds) == (Phase.DONE, 5.0)


def test_what_was_written_survives_a_failure() -> None:
    answer = fed(Delta(content="half"))
    answer.fail("the engine went away", 2.0)
    frame = answer.frame(2.0)
    assert (frame["text"], frame["error"], frame["phase"]) == ("half", "the engine went away", "failed")


def _transport() -> httpx.MockTransport:
    return httpx.MockTransport(lambda request: httpx.Response(200))


def _running(pieces: Iterator[Delta]) -> Running:
    return Running(lambda transport: pieces, _transport(), partial(plain, load_words("en")))


async def test_frames_come_no_faster_than_the_rate_and_the_last_is_whole() -> None:
    more = threading.Event()

    def pieces() -> Iterator[Delta]:
        for _ in range(200):
            yield Delta(content="x")
            more.wait(0.002)

    running = _running(pieces())
    running.start(on_end=lambda: None)
    frames = [frame async for frame in running.watch()]
    assert frames[-1]["text"] == "x" * 200
    assert frames[-1]["phase"] == "done"
    assert len(frames) < 200 / 2  # 200 pieces took at least 0.4 s, of which each frame takes a 25th
    assert FRAMES_PER_SECOND == 25


@pytest.mark.parametrize("silence", [0.05, 0.4])
async def test_the_first_piece_is_shown_at_once(silence: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether it comes before the empty frame or after it: no frame's time is waited for."""
    monkeypatch.setattr("ui.stream.FRAMES_PER_SECOND", 0.2)
    came: list[float] = []

    def pieces() -> Iterator[Delta]:
        yield Delta(model="ruminate-v1")  # as an engine begins: with a role and no words
        time.sleep(silence)
        came.append(time.monotonic())
        yield Delta(reasoning="first")

    running = _running(pieces())
    running.start(on_end=lambda: None)
    watch = running.watch()
    frames = [await anext(watch)]
    while not frames[-1]["thought"]:
        frames.append(await anext(watch))
    assert time.monotonic() - came[0] < 1  # a fifth of a frame's time
    assert len(frames) == (1 if silence < FIRST_PIECE_S else 2)
    await watch.aclose()


async def test_a_second_watcher_sees_the_rest_of_a_running_answer() -> None:
    go = threading.Event()

    def pieces() -> Iterator[Delta]:
        yield Delta(content="first ")
        go.wait(10)
        yield Delta(content="second")

    running = _running(pieces())
    running.start(on_end=lambda: None)
    leaving = running.watch()
    await anext(leaving)
    await leaving.aclose()
    coming = running.watch()
    await anext(coming)
    go.set()
    assert [frame async for frame in coming][-1]["text"] == "first second"


async def test_an_error_of_the_gateway_becomes_a_sentence() -> None:
    def pieces() -> Iterator[Delta]:
        yield Delta(content="half")
        raise GatewayError("the engine went away", 502)

    running = _running(pieces())
    running.start(on_end=lambda: None)
    last = [frame async for frame in running.watch()][-1]
    assert (last["error"], last["text"]) == ("the engine went away", "half")


async def test_stopping_ends_the_frames_though_the_gateway_is_silent() -> None:
    silent = threading.Event()

    def pieces() -> Iterator[Delta]:
        yield Delta(content="so far")
        silent.wait(10)

    running = _running(pieces())
    running.start(on_end=lambda: None)
    frames = running.watch()
    await asyncio.sleep(0.05)
    running.stop()
    assert [frame async for frame in frames][-1]["phase"] == "stopped"
    silent.set()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
async def test_a_defect_while_reading_is_told_and_its_traceback_is_left() -> None:
    def pieces() -> Iterator[Delta]:
        yield Delta()
        raise ValueError("not JSON")

    running = _running(pieces())
    running.start(on_end=lambda: None)
    assert "could not be read" in [frame async for frame in running.watch()][-1]["error"]


def test_running_answers_are_found_by_their_browser_alone() -> None:
    answers = RunningAnswers()
    running = _running(iter(()))
    answers.put("mine", "talk", running)
    assert answers.at("mine", "talk") is running
    assert answers.at("yours", "talk") is None
    answers.drop(running)
    assert answers.at("mine", "talk") is None


def test_cutting_a_connection_that_never_came_about_is_no_error() -> None:
    transport = Interruptible(_transport())
    transport.cut()
    assert transport.handle_request(httpx.Request("GET", "http://x")).status_code == 200


async def test_the_order_is_drawn_and_frames_tell_no_names() -> None:
    firsts = set()
    for seed in range(20):
        made = [_running(iter([Delta(content="x", model=name)])) for name in "ab"]
        pair = Pair(made, "samples", random.Random(seed))
        ended: list[int] = []
        pair.start(lambda ended=ended: ended.append(1))
        frames = [frame async for frame in pair.watch()]
        assert not any(name in side for side in frames[-1]["pair"] for name in HIDDEN)
        assert pair.comparable
        firsts.add(pair.sides[0].answer.model)
        assert len(ended) <= 1
    assert firsts == {"a", "b"}


class Clock(asyncio.SelectorEventLoop):
    """A loop whose time is made: what waits for a moment gets it at once, so that a busy machine changes nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0

    def time(self) -> float:
        """Seconds since the loop was made."""
        return self.now

    def _run_once(self) -> None:
        if not self._ready and self._scheduled:
            self.now = max(self.now, self._scheduled[0].when())
        super()._run_once()


@pytest.mark.parametrize("every", [0.001, 0.013, 0.03])
def test_a_second_has_20_to_30_frames_whatever_the_pace_of_the_pieces(every: float) -> None:
    clock = Clock()
    running = _running(iter(()))
    seconds = 4.0
    moments: list[float] = []

    async def written() -> None:
        begun = clock.time()
        while clock.time() < begun + seconds:
            running.answer.feed(Delta(content="x"), clock.time())
            running._wake()
            await asyncio.sleep(every)
        running.answer.finish(clock.time())
        running._wake()

    async def watched() -> None:
        async def draw() -> dict[str, object]:
            return running.answer.frame(clock.time())

        async for _ in frames(draw, lambda: running.over, [running]):
            moments.append(clock.time())

    async def both() -> None:
        await asyncio.gather(written(), watched())

    clock.run_until_complete(both())
    clock.close()
    assert 20 * seconds <= len(moments) <= 30 * seconds
    assert min(later - one for one, later in itertools.pairwise(moments[:-1])) >= 1 / 30


async def test_frames_that_nobody_wants_are_not_drawn_and_the_end_is_waited_for() -> None:
    go = threading.Event()

    def pieces() -> Iterator[Delta]:
        yield Delta(content="first ")
        go.wait(10)
        yield Delta(content="second")

    running, wanted = _running(pieces()), [True]
    running.start(on_end=lambda: None)
    watch = running.watch(lambda: wanted[0])
    await anext(watch)
    wanted[0] = False
    go.set()
    assert [frame async for frame in watch] == []
    assert running.over


def test_ending_what_a_browser_has_stops_it_and_nothing_of_others() -> None:
    answers, mine, yours = RunningAnswers(), _running(iter(())), _running(iter(()))
    answers.put("mine", "talk", mine)
    answers.put("mine", "other", mine)
    answers.put("yours", "talk", yours)
    answers.end("mine")
    assert (mine.answer.phase, yours.answer.phase) == (Phase.STOPPED, Phase.WAITING)
    assert answers.at("mine", "talk") is answers.at("mine", "other") is None
    assert answers.at("yours", "talk") is yours


@pytest.mark.parametrize("failure", [httpx.ConnectError("[Errno 111] refused"), httpx.ReadTimeout("slow")])
def test_what_no_gateway_put_into_words_is_told_without_address_or_number(failure: Exception) -> None:
    def refuse(request: httpx.Request) -> httpx.Response:
        raise failure

    with (
        GatewayClient("http://127.0.0.1:8000", transport=httpx.MockTransport(refuse)) as client,
        pytest.raises(GatewayError) as raised,
    ):
        client.status()
    said = plain(load_words("en"), raised.value)
    assert "127.0.0.1" not in said
    assert "Errno" not in said
    assert said.startswith("The model's server")


@pytest.mark.parametrize("code", ["engine_lost", "engine_error", "engine_unavailable"])
def test_what_is_said_of_an_engine_is_told_without_its_address(code: str) -> None:
    said = plain(load_words("en"), GatewayError("engine http://10.0.0.7:8100 went away: refused", 502, code))
    assert "10.0.0.7" not in said
    assert said.startswith("The model ")


def test_a_conversation_that_is_too_long_is_told_without_the_engines_parameters() -> None:
    words = "This model's maximum context length is 1024 tokens. However, (parameter=input_tokens, value=1025)."
    for error in (GatewayError(words, 400, "400"), GatewayError("the prompt has", 400, "context_length_exceeded")):
        assert plain(load_words("en"), error).startswith("This is more than the model can read at once.")


def test_one_of_a_thing_is_told_as_one() -> None:
    words = load_words("en")
    assert words("tokens", n=1) == "1 token"
    assert words("tokens", n=2) == "2 tokens"
    assert words("prompts", recorded=1, trainable=1) == "1 prompt recorded, 1 of them may be learnt from"
