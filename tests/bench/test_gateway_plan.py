"""What `bench.gateway` asks of the stub, and how often."""

import pytest

from bench.gateway import PACE, asked_of, plan


def test_both_loads_are_asked_unless_some_are_named() -> None:
    assert plan("burst,paced", 4000) == [("burst", 0.0, 4000), ("paced", PACE, 250)]
    assert plan("paced", 320) == [("paced", PACE, 64)]
    assert plan("", 4000) == []
    with pytest.raises(ValueError, match="there is no load pace; expected some of burst, paced"):
        plan("burst,pace", 4000)


def test_each_client_asks_twice_at_least_and_litellm_less_often() -> None:
    assert [asked_of("gateway", concurrency, 250) for concurrency in (1, 64, 128, 256)] == [250, 250, 256, 512]
    assert asked_of("litellm", 128, 4000) == 200
    assert asked_of("litellm", 128, 250) == 128
