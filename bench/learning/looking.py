"""Looks at adapters of a round that has ended, by the gate's own code and by gold. Trains and decides nothing."""

from pathlib import Path
from types import TracebackType
from typing import Any

from bench.rounds import Bench, Measured
from bench.stack import KEY, Stack
from cli.profiles import TINY
from trainer.curate import SPARES
from trainer.exam import TokenIds, answers, divergence
from trainer.files import read_json
from trainer.gate import Answers, decide, measure
from trainer.house import House
from trainer.ledger import Ledger
from trainer.round_config import RoundConfig
from trainer.selection import select
from trainer.settings import read_settings
from trainer.work import PLAN, Parent, Work

NAME = "round-bench-look"


class Looker:
    """As a context manager. `folder`: the round's, with its plan and its prompts; what is asked is what its gate asked.

    The base's answers are asked for once, and every adapter is measured against them.
    """

    def __init__(self, stack: Stack, bench: Bench, folder: Path) -> None:
        self._bench = bench
        self._house = House(
            read_settings(
                home=stack.home,
                service_key=KEY,
                gateway=stack.gateway,
                base_model=TINY.base_model,
                reward_model=TINY.reward_model,
                judge_model=TINY.judge_model,
                base_mix=TINY.base_mix,
            )
        )
        self._work = Work(
            round_id=int(folder.name),
            attempt=1,
            step=0,
            config=RoundConfig(**read_json(folder / PLAN)["config"]),
            settings=self._house.settings,
            folder=folder,
            parent=Parent(0, "v0", None),
            ledger=Ledger(self._house.database, int(folder.name), "bench"),  # only read
            gateway=self._house.gateway,
            reader=self._house.reader,
        )
        self._prompts = select(self._work).heldout
        self._live: Answers | None = None

    def base(self, served: str) -> dict[str, Any]:
        """The look at the base itself, which no gate judges."""
        found = self._figures(self._old(), None)
        return found | self._gold(self._bench.measure(served)) | {"publish": None, "words": "the base"}

    def look(self, step: int, adapter: Path) -> dict[str, Any]:
        """The look at an adapter, as JSON."""
        name = f"{NAME}-{step}"
        gateway = self._work.gateway
        gateway.load_adapter(name, adapter)
        try:
            new, sequences = answers(self._work, name, self._prompts)
            found = self._figures(new, divergence(self._work, name, sequences))
            return found | self._gold(self._bench.measure(name))
        finally:
            gateway.unload_adapter(name)

    def _old(self) -> Answers:
        if self._live is None:
            self._live = _first(answers(self._work, self._work.parent.served_as, self._prompts))
        return self._live

    def _figures(self, new: Answers, kl: float | None) -> dict[str, Any]:
        config, conversations = self._work.config, [prompt.messages for prompt in self._prompts]
        evidence = measure(conversations, self._old(), new, self._house.reward, self._house.judge, config, kl)
        judged, few = decide(evidence, config), SPARES * config.prompts_per_step
        reward, judge = evidence.reward.candidate.mean(1), evidence.judge.candidate.mean(1)
        return {
            "publish": judged.publish,
            "words": judged.words,
            "failed": ", ".join(check.name for check in judged.checks if not check.passed),
            "reward": float(reward.mean()),
            "judge": float(judge.mean()),
            "lookout_reward": reward[:few].tolist(),
            "lookout_judge": judge[:few].tolist(),
            "kl": kl,
            **evidence.candidate.as_json(),
        }

    def _gold(self, found: Measured) -> dict[str, Any]:
        return {"gold": [round(float(score), 4) for score in found.gold]}

    def __enter__(self) -> "Looker":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._house.close()


def _first(pair: tuple[Answers, list[TokenIds]]) -> Answers:
    return pair[0]
