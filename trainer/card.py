"""A checkpoint's model card: what its manifest says, as a page for a person. Written beside it when it is published."""

from typing import Any

SHOWN = ("algorithm", "steps", "prompts_per_step", "group_size", "learning_rate", "lora_rank", "lora_alpha", "kl_beta")
"""Settings that the page names; the manifest has all."""


def card(manifest: dict[str, Any]) -> str:
    """The page, in Markdown."""
    verdict, base, prompts = manifest["verdict"], manifest["base"], manifest["prompts"]
    decided = "published" if verdict["publish"] else "rejected"
    config = manifest["config"]
    full = manifest.get("kind") == "full"
    fits = "has the shape of a base" if full else "fits only a base"
    lines = [
        "---",
        f"library_name: {'transformers' if full else 'peft'}",
        f"base_model: {base['name']}",
        f"tags: [ruminate{'' if full else ', lora'}]",
        "---",
        "",
        f"# {manifest['name']}: {'full weights, trained from' if full else 'a LoRA adapter of'} {base['name']}",
        "",
        f"Made by round {manifest['round']} from {manifest['parent']}, and {decided} by its gate. It thinks before it "
        f"answers (format `{manifest['thinking_format']}`), and {fits} whose config.json has the SHA-256 "
        f"`{base['config_hash']}`{_weights_of(base)}.",
        "",
        "## What it learnt from",
        "",
        f"{prompts['recorded']} prompts that users recorded and allowed to train on, and {prompts['mix']} of the base "
        "mix. Only prompts: answers were sampled afresh and scored by a reward model. No prompt is told here.",
        "",
        "## What the gate said",
        "",
        f"{_sentence(verdict['words'])} {verdict['prompts']} held-out prompts, {verdict['samples']} answers each, "
        f"intervals of {verdict['confidence']:.0%}.",
        "",
        "| check | | |",
        "|---|---|---|",
        *(
            f"| {check['name']} | {'passed' if check['passed'] else 'not passed'} | {_cell(check['words'])} |"
            for check in verdict["checks"]
        ),
        "",
        "A gate compares with the checkpoint before, by two reward models; it is no measure of truth or of safety.",
        "",
        "## Settings",
        "",
        "| setting | value |",
        "|---|---|",
        *(f"| {name} | {config[name]} |" for name in SHOWN if name in config),
        "",
        "## Files",
        "",
        *(f"- `{name}`: SHA-256 `{value}`" for name, value in sorted(manifest["files"].items())),
        "",
    ]
    return "\n".join(lines)


def _weights_of(base: dict[str, Any]) -> str:
    known = base.get("weights_hash")
    return f", and whose weights have `{known}` (SHA-256 over the names and SHA-256 of their files)" if known else ""


def _sentence(words: str) -> str:
    return words[:1].upper() + words[1:] + "."


def _cell(words: str) -> str:
    return words.replace("|", "\\|")
