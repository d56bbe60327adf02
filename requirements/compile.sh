#!/usr/bin/env bash
# Compiles requirements/*.in into pinned files without URLs. Run by hand when an .in file changes:
#   requirements/compile.sh        (UV_FIND_LINKS may name a folder that holds the CPU wheel of torch)
set -euo pipefail
cd "$(dirname "$0")"
uv=${UV:-../.venv/bin/uv}
compile() {
    "$uv" pip compile --quiet --no-header --no-annotate --no-emit-find-links --no-emit-index-url --python-version 3.11 "$@"
}

# One environment for a machine that runs everything, on CPU and on CUDA.
compile --override overrides.txt engine-cpu.in server.in trainer.in ui.in cli.in -o cpu.txt
UV_FIND_LINKS='' compile --python-platform x86_64-manylinux_2_28 engine-cuda.in server.in trainer.in ui.in cli.in -o cuda.txt
# What tests need besides, at the same versions.
compile --override overrides.txt -c cpu.txt test.in -o test.txt
# What one process alone needs (an image each); the trainer's is for a GPU.
compile -c cpu.txt server.in -o server.txt
compile -c cpu.txt ui.in -o ui.txt
UV_FIND_LINKS='' compile --python-platform x86_64-manylinux_2_28 -c cuda.txt trainer.in -o trainer.txt
