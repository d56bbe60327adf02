#!/usr/bin/env bash
# Installs everything into one virtual environment: requirements/install.sh VENV [test]
# Picks the CUDA build where nvidia-smi lists a card, else the CPU build; RUMINATE_DEVICE=cpu|cuda decides otherwise.
# Versions are pinned and complete, so nothing is resolved (--no-deps); a second run with nothing new returns at once.
set -euo pipefail
cd "$(dirname "$0")/.."
venv=${1:?usage: requirements/install.sh VENV [test]}
what=${2:-}
uv_version=0.13.8
torch_index=https://download.pytorch.org/whl/cpu

device=${RUMINATE_DEVICE:-}
if [ -z "$device" ]; then
    device=cpu
    if command -v nvidia-smi >/dev/null && nvidia-smi -L 2>/dev/null | grep -q 'GPU 0'; then device=cuda; fi
fi
case $device in cpu | cuda) ;; *) echo "RUMINATE_DEVICE is '$device'; expected cpu or cuda" >&2; exit 2 ;; esac

python=${PYTHON:-python3}
"$python" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' || {
    echo "$("$python" --version) is $python; Ruminate needs Python 3.11 to 3.13: set PYTHON to one" >&2
    exit 2
}
# one that was broken off while it was made, or made without Debian's python3-venv, has a Python and no pip
if ! [ -x "$venv/bin/python" ] || ! { [ -x "$venv/bin/uv" ] || [ -x "$venv/bin/pip" ]; }; then "$python" -m venv "$venv"; fi
[ -x "$venv/bin/uv" ] || "$venv/bin/python" -m pip install --quiet --disable-pip-version-check "uv==$uv_version"

# uv has no settings of pip's; a folder of wheels that pip is told of serves uv as well
export UV_FIND_LINKS=${UV_FIND_LINKS:-${PIP_FIND_LINKS:-}}
install() { "$venv/bin/uv" pip install --quiet --python "$venv/bin/python" --no-deps "$@"; }

files=("requirements/$device.txt")
if [ "$what" = test ]; then files+=(requirements/test.txt); fi
stamp=$venv/.installed${what:+-$what}
# with its Python: what was installed for one version is nothing to the next, which an upgrade may put in its place
want=$({ cat "${files[@]}" pyproject.toml; "$venv/bin/python" --version; } | cksum)
if [ -e "$stamp" ] && [ "$(cat "$stamp")" = "$want" ]; then exit 0; fi

started=$SECONDS
echo "installing the $device build into $venv (the first time downloads about 1 GB)"
if [ "$device" = cpu ]; then
    torch=$(grep '^torch==' requirements/cpu.txt)
    # the CPU build of torch is not on PyPI: a local wheel, else PyTorch's own index
    install --offline "$torch" 2>/dev/null || install "$torch" 2>/dev/null || install --index-url "$torch_index" "$torch"
fi
for file in "${files[@]}"; do install -r "$file"; done
install --editable .
# Three processes import vLLM in a row at each start; compiled, that takes half the time, also where Python writes no caches.
env -u PYTHONDONTWRITEBYTECODE "$venv/bin/python" -m compileall -q -j 0 "$venv"/lib/python3*/site-packages >/dev/null 2>&1 ||
    true # a few packages carry files for other versions of Python, which do not compile
echo "$want" >"$stamp"
echo "installed in $((SECONDS - started)) s"
