"""The reward model keeps up with people: a copy of it learns from what they preferred, and takes its place if it may.

Two things can be learnt: what a few traits of an answer are worth beside the score (`trainer.traits`), which some
hundred choices tell; and, in one pass over the pairs, the copy's own weights, which takes far more of them. So the
weights are changed only where that orders people's held-out pairs surely better than the traits alone.
The newest pairs of the record (`db.queries.preferences`), of one user not too many, are mixed with pairs that are kept,
so that nothing is unlearnt. Both are split by the hash of a conversation's first message, as prompts are: what is held
out is never trained on. The copy is accepted where it orders the held-out ones of people's pairs at least as well as
the model before it, and those of the kept pairs not surely worse than the model that was set, from which all copies
come (`unlearnt`). The model before stays on disk. The second judge is not touched: it must stay independent.

Under HOME/rewards each refresh has a folder with `record.json`, written last; `model/` beside it where it was accepted.
One refresh runs at a time; what one that was killed had written goes with the next.
"""

import fcntl
import logging
import math
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from db.base import NOTES, weights_hash
from db.session import Database
from trainer.files import publish_folder, read_json, write_json
from trainer.policy import local_folder
from trainer.refresh_pairs import Pair, held_apart, mixed, name_of, preferred, read_pairs, recent
from trainer.rewards import SequenceClassifier
from trainer.settings import BadSetting, TrainerSettings
from trainer.traits import FILE, Traits, learnt

log = logging.getLogger(__name__)

FOLDER, RECORD, MODEL = "rewards", "record.json", "model"
BATCH = 16
KEPT_MODELS = 3
"""Accepted ones on disk: the newest, the one before it, and one more for a round that began before both."""
LEAST_TRAITS = 50
"""People's pairs below which no traits are fitted."""
LEAST_HELD = 20
"""Held-out pairs below which an accuracy says nothing."""
SCRATCH = ".refresh-"
CHANCE = 0.05
"""Of putting a copy away that has unlearnt nothing."""


def current(settings: TrainerSettings, database: Database) -> str:
    """The reward model that is newest: the last accepted refresh of the set one, else the set one itself.

    One that learnt from what was forgotten or withdrawn since is passed over, and so is what grew out of it.
    """
    accepted = [
        (str(folder / MODEL), record)
        for folder in reversed(_folders(settings))
        if (record := read_json(folder / RECORD))["accepted"]
    ]
    weights = _weights(settings) if accepted else None
    refreshes = [model for model, record in accepted if _is_of(record, settings.reward_model, weights)]
    allowed = {pair.message_id for pair in preferred(database)} if refreshes else set()
    clean = (model for model in refreshes if Path(model).is_dir() and taught(settings, model) <= allowed)
    return next(clean, settings.reward_model)


def taught(settings: TrainerSettings, model: str) -> set[str]:
    """The messages on whose answers people's preferences made this reward model: its own and those before it."""
    folders, found = _folders(settings), set[str]()
    while (folder := _folder_of(model, folders)) is not None:
        record = read_json(folder / RECORD)
        found |= set(record["messages"])
        folders, model = [one for one in folders if one.name < folder.name], record["from"]
    return found


def where_now(settings: TrainerSettings, model: str) -> str:
    """Where a reward model lies that was named when the home, perhaps, lay elsewhere."""
    folder = _folder_of(model, _folders(settings))
    return model if folder is None else str(folder / MODEL)


def _weights(settings: TrainerSettings) -> str | None:
    """What tells the set reward model from others, wherever it stands; None where it is not on this machine."""
    folder = Path(settings.reward_model)
    return weights_hash(folder, settings.home / NOTES) if folder.is_dir() else None


def _is_of(record: Mapping[str, Any], model: str, weights: str | None) -> bool:
    """Whether a refresh comes from this model, by its weights; by its name where these are not known, as in a record of
    before they were written down."""
    told = record.get("of_weights")
    return bool(told == weights) if told and weights else bool(record["of"] == model)


def _folder_of(model: str, folders: Sequence[Path]) -> Path | None:
    """A refresh's folder by its model; by its number where the home lay elsewhere when the model was named."""
    path = Path(model)
    moved = path.name == MODEL and path.parent.parent.name == FOLDER and not path.exists()
    by_path = (folder for folder in folders if folder / MODEL == path)
    return next(by_path, next((folder for folder in folders if moved and folder.name == path.parent.name), None))


def due(settings: TrainerSettings, database: Database) -> bool:
    """Whether enough preferences came in since the last refresh, accepted or not."""
    if not settings.refresh_after:
        return False
    folders = _folders(settings)
    known = set(read_json(folders[-1] / RECORD)["pairs"]) if folders else set()
    new = {name_of(pair) for pair in preferred(database)} - known
    return len(new) >= settings.refresh_after


def refresh(settings: TrainerSettings, database: Database) -> dict[str, Any]:
    """Train a copy of the newest reward model, and judge it. Returns its record. Raises BadSetting, ValueError."""
    if settings.reward_model.endswith(".toml"):
        raise BadSetting(
            f"reward_model = {settings.reward_model!r}: only a single sequence classifier can be refreshed, and "
            "this is a file of models; name one, or set refresh_after = 0"
        )
    new, kept = preferred(database), read_pairs(settings.refresh_pairs)
    told = [pair for pair in new if not pair.pictures]  # a reward model reads text alone, as in a round
    learnt_from = recent(told, settings.refresh_most, settings.refresh_per_user)
    share = settings.heldout_share
    held = {"recorded": held_apart(learnt_from, share, True), "kept": held_apart(kept, share, True)}
    train = mixed(held_apart(learnt_from, share, False), held_apart(kept, share, False), settings.seed)
    if not train or sum(map(len, held.values())) < LEAST_HELD:
        raise ValueError(
            f"{len(train)} pairs to train on and {sum(map(len, held.values()))} held out (at least {LEAST_HELD}): too "
            "few to refresh a reward model; wait for more preferences, or set refresh_pairs"
        )
    (settings.home.absolute() / FOLDER).mkdir(parents=True, exist_ok=True)
    with _alone(settings.home.absolute() / FOLDER):
        return _refreshed(settings, database, new, train, held)


def _refreshed(
    settings: TrainerSettings, database: Database, new: Sequence[Pair], train: Sequence[Pair],
    held: Mapping[str, Sequence[Pair]],
) -> dict[str, Any]:  # fmt: skip
    before = current(settings, database)
    number = 1 + max((int(folder.name) for folder in _folders(settings)), default=0)
    final = settings.home.absolute() / FOLDER / f"{number:04d}"
    with tempfile.TemporaryDirectory(dir=final.parent, prefix=SCRATCH) as scratch:
        aside = Path(scratch) / final.name
        source, first = local_folder(before), local_folder(settings.reward_model)
        trained, plain = aside / "trained", aside / "plain"
        train_copy(source, train, trained, settings.refresh_rate, settings.seed)
        traits: dict[Path, Traits | None] = {trained: None}
        if settings.refresh_traits:
            shutil.copytree(source, plain)
            traits = {one: add_traits(one, train) for one in (trained, plain)}
        copies = {one.name: one for one, learnt in traits.items() if one is trained or learnt is not None}
        models = {"before": source, "first": first, **copies}
        orders = {name: _ordered(models, pairs) for name, pairs in held.items() if pairs}
        chosen = trained if plain.name not in copies or _is_better(orders) else plain
        told = {
            name: {"before": one["before"], "first": one["first"], "after": one[chosen.name]}
            for name, one in orders.items()
        }
        accepted = all(
            not unlearnt(one["first"], one["after"]) if name == "kept" else sum(one["after"]) >= sum(one["before"])
            for name, one in told.items()
        )
        if accepted:
            chosen.rename(aside / MODEL)
        for one in traits:
            shutil.rmtree(one, ignore_errors=True)  # the chosen one may have gone to its place
        record = {
            "of": settings.reward_model,
            "of_weights": _weights(settings),
            "from": before,
            "accepted": accepted,
            "weights_trained": chosen is trained,
            "traits": (weighed := traits[chosen]) and dict(zip(weighed.names, weighed.points, strict=True)),
            "trained_on": {"recorded": sum(pair.message_id is not None for pair in train), "pairs": len(train)},
            "held_out": {name: len(pairs) for name, pairs in held.items()},
            "accuracy": {
                name: {which: sum(right) / len(right) for which, right in one.items()} for name, one in told.items()
            },
            "pairs": sorted(name_of(pair) for pair in new),
            "messages": sorted({pair.message_id for pair in train if pair.message_id}),
        }
        write_json(aside / RECORD, record)
        publish_folder(aside, final)
    log.info("reward model %s: %s", final.name, in_words(record))
    make_room(settings)
    return record


def make_room(settings: TrainerSettings) -> None:
    """Delete all models but the newest few; their records stay."""
    models = [folder / MODEL for folder in _folders(settings) if (folder / MODEL).is_dir()]
    for old in models[:-KEPT_MODELS]:
        shutil.rmtree(old)


def title(model: str) -> str:
    """What a reward model is called in a manifest, without a path of this machine."""
    path = Path(model)
    return f"refresh {path.parent.name}" if path.name == MODEL else path.name


def in_words(record: dict[str, Any]) -> str:
    """What became of a refresh, in one sentence."""
    against = {"recorded": "before", "kept": "first"}  # what the copy was held against
    scores = ", ".join(
        f"{name} {one[against[name]]:.3f} to {one['after']:.3f}" for name, one in record["accuracy"].items()
    )
    said = "accepted" if record["accepted"] else "put away, the one before stays"
    points = record.get("traits") or {}  # a record of before there were any has none
    told = ", ".join(f"{name} {value:+.2f}" for name, value in points.items())
    weighed = f"; beside its score, in points for a standard deviation: {told}" if told else ""
    if not record.get("weights_trained", True):
        said += "; the network's weights stay as they were, since training them was not surely better"
    return f"{said}; trained on {record['trained_on']['pairs']} pairs; held-out accuracy: {scores}{weighed}"


def ordered(score: Callable[[Any], list[float]], pairs: Sequence[Pair]) -> list[bool]:
    """Of each pair whether its answers are ordered as they were preferred; equal scores order nothing."""
    chosen = score([(pair.messages, pair.chosen) for pair in pairs])
    rejected = score([(pair.messages, pair.rejected) for pair in pairs])
    return [one > other for one, other in zip(chosen, rejected, strict=True)]


def unlearnt(first: Sequence[bool], after: Sequence[bool]) -> bool:
    """Whether pairs that were ordered rightly and no longer are outnumber the others by more than chance would have it.

    By the sign test, one-sided: of the pairs on which the two models differ, each is lost with a probability of a half.
    """
    lost = sum(one and not other for one, other in zip(first, after, strict=True))
    won = sum(other and not one for one, other in zip(first, after, strict=True))
    differ = lost + won
    return sum(math.comb(differ, count) for count in range(lost, differ + 1)) < CHANCE * 2**differ


def _ordered(models: Mapping[str, Path], pairs: Sequence[Pair]) -> dict[str, list[bool]]:
    """By each model, of which some may be the same."""
    known: dict[Path, list[bool]] = {}
    for path in models.values():
        if path not in known:
            known[path] = ordered(SequenceClassifier(path).score, pairs)
    return {name: known[path] for name, path in models.items()}


def train_copy(source: Path, pairs: Sequence[Pair], folder: Path, rate: float, seed: int) -> None:
    """One pass of TRL's RewardTrainer (Bradley-Terry) over the pairs, from the model in `source` to `folder`."""
    import torch
    from datasets import Dataset
    from transformers import AutoModelForSequenceClassification, PrinterCallback
    from trl import RewardConfig, RewardTrainer

    from trainer.transcript import Transcript

    model: Any = AutoModelForSequenceClassification.from_pretrained(source, dtype=torch.float32)
    own = getattr(model.config.get_text_config(), "max_position_embeddings", None)
    transcript = Transcript(source, own)
    rows = [
        {
            "chosen_ids": transcript.ids(pair.messages, pair.chosen),
            "rejected_ids": transcript.ids(pair.messages, pair.rejected),
        }
        for pair in pairs
    ]
    gpu = torch.cuda.is_available()
    with tempfile.TemporaryDirectory() as scratch:
        trainer = RewardTrainer(
            model=model,
            processing_class=transcript.tokenizer,
            train_dataset=Dataset.from_list(rows),
            args=RewardConfig(
                output_dir=scratch,
                per_device_train_batch_size=BATCH,
                num_train_epochs=1,
                learning_rate=rate,
                lr_scheduler_type="cosine",
                max_length=None,
                center_rewards_coefficient=0.01,  # scores keep their scale around 0
                use_cpu=not gpu,
                bf16=gpu,
                gradient_checkpointing=gpu,
                save_strategy="no",
                report_to=[],
                disable_tqdm=True,
                dataloader_pin_memory=gpu,
                seed=seed,
            ),
        )
        trainer.remove_callback(PrinterCallback)
        trainer.train()
    model.eval().save_pretrained(folder)
    transcript.tokenizer.save_pretrained(folder)


def _is_better(orders: Mapping[str, Mapping[str, Sequence[bool]]]) -> bool:
    """Whether the trained copy orders people's held-out pairs surely better than the plain one, and unlearnt none."""
    recorded, kept = orders.get("recorded"), orders.get("kept")
    is_better = recorded is not None and unlearnt(recorded["trained"], recorded["plain"])
    return is_better and (kept is None or not unlearnt(kept["first"], kept["trained"]))


def add_traits(model: Path, pairs: Sequence[Pair]) -> Traits | None:
    """Fit what traits are worth beside the score of the model in this folder, and write it there.

    By people's pairs, if there are enough of them, and the kept ones among them: what is fitted to people alone ordered
    fewer of the kept ones rightly.
    """
    if sum(pair.message_id is not None for pair in pairs) < LEAST_TRAITS:
        return None
    chosen = [(pair.messages, pair.chosen) for pair in pairs]
    rejected = [(pair.messages, pair.rejected) for pair in pairs]
    (model / FILE).unlink(missing_ok=True)  # what was learnt before is learnt anew, from all pairs
    found = learnt(chosen, rejected, SequenceClassifier(model).score)
    if found is not None:
        found.write(model)
    return found


@contextmanager
def _alone(root: Path) -> Iterator[None]:
    """While no other process refreshes. Deletes what one that was killed left. Raises ValueError where another does."""
    with (root / ".lock").open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ValueError("the reward model is being refreshed by another process; wait for it") from None
        for left in root.glob(f"{SCRATCH}*"):
            shutil.rmtree(left)
        yield


def _folders(settings: TrainerSettings) -> list[Path]:
    root = settings.home.absolute() / FOLDER
    found = (folder for folder in root.glob("[0-9]*") if folder.name.isdecimal() and (folder / RECORD).is_file())
    return sorted(found)  # none where there is no root
