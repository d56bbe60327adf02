"""Commands about what the weights know: where a checkpoint comes from, who it learnt from, forgetting, files.

Each is a client of the gateway; `add_to` hangs them on the command line's application.
"""

import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote

import typer

from cli.people import Json

User = Annotated[str | None, typer.Option("--user", help="A user's name or id.")]
Conversation = Annotated[str | None, typer.Option("--conversation", help="A conversation's id.")]
Name = Annotated[str, typer.Argument(help="A checkpoint, such as v3.")]


def add_to(app: typer.Typer, client: Callable[[], Any]) -> None:
    """Add these commands; `client` opens a connection to the gateway."""

    @app.command()
    def explain(
        checkpoint: Name,
        prompts: Annotated[
            bool,
            typer.Option("--prompts", help="List each prompt that it learnt from, by its ids; for administrators."),
        ] = False,
        as_json: Json = False,
    ) -> None:
        """Where a checkpoint comes from: parent, round, what changed, the gate's verdict, prompts by source."""
        with client() as gateway:
            told = gateway.get(f"/api/checkpoints/{_name(checkpoint)}/story")
            if prompts:
                told |= {"learnt_from": every_prompt(gateway, _name(checkpoint))}
        print(json.dumps(told, indent=2) if as_json else story(told))

    @app.command()
    def lineage(
        user: User = None,
        conversation: Conversation = None,
        answer: Annotated[
            str | None, typer.Option("--answer", help="An answer's id, as in its header x-ruminate-generation.")
        ] = None,
        as_json: Json = False,
    ) -> None:
        """Which checkpoints learnt from this user or conversation, and the last one that did not.

        With --answer the other way: which checkpoint gave this answer, and from which rounds' prompts its weights are.
        Of one's own conversations and answers anybody may ask; of others' and of users administrators alone.
        """
        if answer is not None:
            if user is not None or conversation is not None:
                raise typer.BadParameter("give --answer, --user or --conversation, one of them")
            with client() as gateway:
                found = gateway.get(f"/api/generations/{quote(answer, safe='')}/lineage")
            print(json.dumps(found, indent=2) if as_json else behind(found))
            return
        _one_of(user, conversation)
        query = {"user": user} if user else {"conversation": conversation}
        with client() as gateway:
            found = gateway.get("/api/lineage", **query)
        print(json.dumps(found, indent=2) if as_json else learnt(found))

    @app.command()
    def forget(
        user: User = None,
        conversation: Conversation = None,
        rebuild: Annotated[
            bool, typer.Option("--rebuild", help="Take back what learnt from it, and do the later rounds again.")
        ] = False,
        keep_words: Annotated[
            bool, typer.Option("--keep-words", help="Delete nothing; take back what may be trained on.")
        ] = False,
        yes: Annotated[bool, typer.Option("--yes", help="Don't ask first.")] = False,
        as_json: Json = False,
    ) -> None:
        """Delete all that a user, or one conversation, left in the database and on disk; it can't be undone.

        Weights do not forget: the checkpoints that had learnt from it are listed with the last clean one. With
        --rebuild they are rejected, the last clean one is live at once, and the trainer does the later rounds again
        without what was forgotten; what comes of each has to pass the gate. `ruminate rebuild` says what is left.
        With --keep-words nothing is deleted: what was said may be trained on no more, as after an opt-out of their own.
        """
        _one_of(user, conversation)
        if not yes:
            more = " and go back to weights that have not learnt from it" if rebuild else ""
            what = "Train no more on anything" if keep_words else "Delete everything"
            typer.confirm(f"{what} of {user or conversation}{more}?", abort=True)
        with client() as gateway:
            wish: dict[str, Any] = {"user": user, "conversation": conversation}
            wish |= ({"rebuild": True} if rebuild else {}) | ({"keep_words": True} if keep_words else {})
            found = gateway.call("POST", "/api/forget", wish)
        if as_json:
            print(json.dumps(found, indent=2))
        else:
            done = withdrawn(found["withdrawn"]) if keep_words else deleted(found["deleted"])
            print(done, rebuilt(found["rebuild"]) if rebuild else learnt(found), sep="\n")

    @app.command()
    def rebuild(
        stop: Annotated[bool, typer.Option("--stop", help="Do none of them again.")] = False, as_json: Json = False
    ) -> None:
        """Which rounds are still to be done again without what was forgotten."""
        with client() as gateway:
            found = gateway.call("DELETE", "/api/rebuild") if stop else gateway.get("/api/rebuild")
        names = ", ".join(str(one) for one in found["rounds"]) or "none"
        print(
            json.dumps(found, indent=2) if as_json else f"{'given up' if stop else 'still to be done again'}: {names}"
        )

    @app.command()
    def export(
        checkpoint: Name,
        folder: Annotated[Path | None, typer.Argument(help="A new folder; not needed with --push.")] = None,
        merged: Annotated[bool, typer.Option("--merged", help="As one model; an adapter in float32.")] = False,
        base: Annotated[str | None, typer.Option(help="The base to merge into; by default the profile's.")] = None,
        push: Annotated[
            str | None, typer.Option(metavar="REPO", help="Upload it to a hub, by HF_ENDPOINT and HF_TOKEN.")
        ] = None,
    ) -> None:
        """Copy a checkpoint's adapter into a new folder, or with --merged a whole model, which full weights are.

        With --push it goes into a repository of a hub as well, one that is made private where it is new.
        """
        if folder is None and push is None:
            raise typer.BadParameter("name a new folder, or a repository with --push")
        with client() as gateway:
            found = gateway.get(f"/api/checkpoints/{_name(checkpoint)}")
        with tempfile.TemporaryDirectory() as scratch:
            made = exported(found, folder or Path(scratch) / found["name"], merged, base)
            if folder is not None:
                print(f"exported {found['name']} to {made}")
            if push is not None:
                print(f"pushed {found['name']} to {pushed(made, push, found['name'])}")

    @app.command()
    def prune(
        keep: Annotated[int, typer.Option(min=1, help="So many of the newest keep their files in any case.")] = 10,
        as_json: Json = False,
    ) -> None:
        """Remove the files of old checkpoints, of none that is live, previous, canary, loaded or trained on."""
        with client() as gateway:
            done = gateway.call("POST", "/api/prune", {"keep": keep})
        print(json.dumps(done, indent=2) if as_json else f"pruned: {', '.join(done['pruned']) or 'nothing'}")


def exported(found: dict[str, Any], folder: Path, merged: bool, base: str | None) -> Path:
    """Write it. Raises CannotStart with the reason why not."""
    from cli import settings
    from cli.checks import CannotStart
    from trainer.export import CannotExport, export_adapter, export_merged

    if found["path"] is None:
        raise CannotStart(f"{found['name']} has no files: it is the base model itself, not written yet, or pruned")
    try:
        if not merged:
            return export_adapter(Path(found["path"]), folder)
        profile = settings.load().chosen_profile()
        return export_merged(Path(found["path"]), base or profile.base_model, profile.template, folder)
    except CannotExport as error:
        raise CannotStart(str(error)) from error


def pushed(folder: Path, repo: str, name: str) -> str:
    """Upload it; gives its address. Raises CannotStart with the reason why not."""
    from cli.checks import CannotStart
    from trainer.export import CannotExport
    from trainer.hub import push

    try:
        return push(folder, repo, f"{name}, by Ruminate")
    except CannotExport as error:
        raise CannotStart(str(error)) from error


def every_prompt(gateway: Any, checkpoint: str) -> dict[str, Any]:
    """All pages of what a checkpoint learnt from."""
    found: dict[str, Any] = {"data": [], "preferences": []}
    after = -1
    while page := (got := gateway.get(f"/api/checkpoints/{checkpoint}/prompts", after=after))["data"]:
        found["data"] += page
        after = page[-1]["position"]
    return found | {"preferences": got["preferences"]}


def story(told: dict[str, Any]) -> str:
    """A checkpoint's story as lines of text."""
    lines = [f"{told['name']} ({told['state']}), made {_when(told['created_at'])}: {' < '.join(told['lineage'])}"]
    made = told["round"]
    if made is None:
        return "\n".join([*lines, "the base model: no round made it"])
    lines.append(f"round      {made['id']}, {made['algorithm']}, seed {made['seed']}, asked for by {made['by']}"
                 f" ({made['trigger']}{': ' + made['reason'] if made['reason'] else ''})")  # fmt: skip
    lines.append(f"prompts    {_counted(told['prompts'])}")
    verdict = told["verdict"] or {}
    lines.append(f"gate       {verdict.get('words', 'no verdict')}")
    for check in verdict.get("checks") or []:
        lines.append(f"  {'passed' if check['passed'] else 'FAILED'}  {check['name']}: {check['words']}")
    if spent := verdict.get("spent"):
        calls, cost = spent["judge_calls"], spent["judge_cost"]
        lines.append(f"  judges behind an API were asked {calls:.0f} times, for {cost:.2f}")
    lines += _alerts(verdict.get("watch"))
    parent = told["parent"]
    lines.append(f"settings   that differ from those of {parent}'s round (its own, then {parent}'s):")
    lines += [f"  {key} = {pair['own']} ({_said(pair['parent'])})" for key, pair in told["changed"].items()] or [
        "  none"
    ]
    lines.append("metrics    first and last step:")
    lines += [f"  {key} {_figure(first)} to {_figure(last)}" for key, (first, last) in told["metrics"].items()]
    for sample in told["samples"]:
        lines += ["sample     " + str(sample.get("prompt", "")), f"  before: {sample.get('before', '')}"]
        lines.append(f"  after:  {sample.get('after', '')}")
    return "\n".join([*lines, *_prompts(told.get("learnt_from"))])


def _prompts(learnt_from: dict[str, Any] | None) -> list[str]:
    """Each recorded prompt by its ids; those of the mix are files of the house, and only counted above."""
    if learnt_from is None:
        return []
    recorded = [one for one in learnt_from["data"] if one["source"] == "recorded"]
    lines = [f"learnt from {len(recorded)} recorded prompts (message, conversation):"]
    for one in recorded:
        gone = f"  forgotten {_when(one['forgotten'])}" if one["forgotten"] else ""
        lines.append(f"  {one['message']}  {one['conversation']}{gone}")
    if learnt_from["preferences"]:
        lines.append("its reward model from what was preferred on these:")
        lines += [f"  {one['message']}  {one['conversation']}" for one in learnt_from["preferences"]]
    return lines


def _alerts(watch: dict[str, Any] | None) -> list[str]:
    """What the watch for reward hacking saw; nothing of a checkpoint that was made without it."""
    if watch is None:
        return []
    lines = ["watch      for reward hacking:" + ("" if watch["alerts"] else " nothing parted")]
    for alert in watch["alerts"]:
        lines.append(f"  ALERT   {alert['name']}: {alert['words']}")
        for example in alert["examples"]:
            lines += [f"    prompt: {example['prompt']}", f"      before: {example['before']}"]
            lines.append(f"      after:  {example['after']}")
    return lines


def behind(found: dict[str, Any]) -> str:
    """What went into an answer's weights, as lines of text: its checkpoint first, the base last."""
    where = found["conversation_id"]
    lines = [f"answer {found['generation_id']} of {_when(found['started_at'])}, by {found['model']}"
             + (f", in conversation {where}" if where else "")]  # fmt: skip
    for one in found["lineage"]:
        if one["round"] is None:
            lines.append(f"  {one['name']} ({one['state']}): the base model, no round made it")
        else:
            made = f"round {one['round']}, {one['algorithm']}, ended {_when(one['ended_at'])}"
            lines.append(f"  {one['name']} ({one['state']}): {made}; prompts: {_counted(one['prompts'])}")
    return "\n".join([*lines, f"more: ruminate explain {found['lineage'][0]['name']}"])


def learnt(found: dict[str, Any]) -> str:
    """Who learnt, as lines of text."""
    names = [f"{one['name']} ({one['state']}, round {one['round']})" for one in found["learnt"]]
    clean, cancelled = found["last_clean"], found.get("cancelled")
    lines = [] if cancelled is None else [f"cancelled: round {cancelled}, which was training on it"]
    if not names:
        return "\n".join([*lines, "no checkpoint learnt from it"])
    return "\n".join(
        [
            *lines,
            f"learnt from it: {', '.join(names)}",
            f"last clean one: {clean}; to serve it: ruminate promote {clean}",
        ]
    )


def rebuilt(found: dict[str, Any]) -> str:
    """What a rebuild took back and has still to do, as lines of text."""
    lines = [f"rejected: {', '.join(found['rejected']) or 'no checkpoint, for none had learnt from it'}"]
    lines.append(f"live: {found['live']}")
    if found["cancelled"] is not None:
        lines.append(f"cancelled: round {found['cancelled']}, which stood on it or had trained on it")
    if found["rounds"]:
        rounds = ", ".join(str(one) for one in found["rounds"])
        lines.append(f"to be done again, one after the other, each with the gate at its end: round {rounds}")
    return "\n".join(lines)


def deleted(counts: dict[str, int]) -> str:
    """What went, in one sentence."""
    there = [f"{count} {name.replace('_', ' ')}" for name, count in counts.items() if count]
    return f"deleted: {', '.join(there) or 'nothing was left'}"


def withdrawn(counts: dict[str, int]) -> str:
    """What may be trained on no more, in one sentence."""
    copies = counts["round_prompts"]
    return f"withdrawn: nothing of it is trained on again; {copies} copies in rounds emptied, no words deleted"


def _counted(prompts: dict[str, int]) -> str:
    """Prompts by source, and how many were forgotten since."""
    erased = f"; {prompts['erased']} of them forgotten since" if prompts.get("erased") else ""
    sources = ", ".join(f"{count} {source}" for source, count in prompts.items() if source != "erased")
    return f"{sources or 'none'}{erased}"


def _one_of(user: str | None, conversation: str | None) -> None:
    if (user is None) == (conversation is None):
        raise typer.BadParameter("give --user or --conversation, one of them")


def _name(checkpoint: str) -> str:
    return checkpoint.removeprefix("ruminate-")


def _when(iso: str | None) -> str:
    return (iso or "").replace("T", " ")[:16]


def _said(value: Any) -> str:
    return "not recorded" if value is None else str(value)


def _figure(value: float | None) -> str:
    return "no number" if value is None else f"{value:.4g}"
