# One image per process, from one file: docker build --target server|trainer|ui|engine|engine-cpu .
# Installers are in the build stages only; each last stage is the slim base, one environment and our code, and runs as nobody special.
ARG BASE=python:3.11-slim-bookworm

FROM ${BASE} AS base
ENV PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 PATH=/opt/venv/bin:$PATH RUMINATE_HOME=/data
# Docker hands on the proxies that its own configuration names; health checks and the house's services are not behind them.
ENV NO_PROXY=localhost,127.0.0.1,server,vllm no_proxy=localhost,127.0.0.1,server,vllm
RUN useradd --uid 10001 --create-home ruminate && mkdir -p /data && chown ruminate /data
WORKDIR /app

FROM ${BASE} AS build
# uv has an environment of its own, so that neither it nor pip gets into an image. What is installed is compiled as well:
# a container may not write there, and would compile everything anew at each start.
RUN python3 -m venv /opt/uv && /opt/uv/bin/pip install --no-cache-dir uv==0.13.8 && python3 -m venv --without-pip /opt/venv
ENV PATH=/opt/uv/bin:$PATH VIRTUAL_ENV=/opt/venv UV_COMPILE_BYTECODE=1 UV_NO_CACHE=1
WORKDIR /app

FROM build AS build-server
COPY requirements/server.txt requirements/
RUN uv pip install --no-deps -r requirements/server.txt

FROM build AS build-trainer
COPY requirements/trainer.txt requirements/
RUN uv pip install --no-deps -r requirements/trainer.txt

FROM build AS build-ui
COPY requirements/ui.txt requirements/
RUN uv pip install --no-deps -r requirements/ui.txt

FROM build AS build-engine
COPY requirements/cuda.txt requirements/
RUN uv pip install --no-deps -r requirements/cuda.txt

FROM build AS build-engine-cpu
COPY requirements/cpu.txt requirements/
# The CPU build of torch is on PyTorch's own index; where that is not reachable, WHEELS names a folder that holds it.
ARG WHEELS=
RUN if [ -n "$WHEELS" ]; then where="--find-links $WHEELS"; else where="--index-url https://download.pytorch.org/whl/cpu"; fi \
    && uv pip install --no-deps $where "$(grep '^torch==' requirements/cpu.txt)" && uv pip install --no-deps -r requirements/cpu.txt
# Only the name of our plugin for vLLM, so that it finds it; the code comes with the last stage.
COPY pyproject.toml ./
RUN touch README.md && uv pip install --no-deps --no-build-isolation --editable .

# In each image the environment comes before the code: a change of ours makes small layers only.
FROM base AS server
COPY --from=build-server /opt/venv /opt/venv
COPY thinking thinking
COPY db db
COPY server server
USER ruminate
EXPOSE 8000
HEALTHCHECK --interval=5s --timeout=3s --start-period=30s --retries=12 \
    CMD ["python", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:8000/health', timeout=2)"]
CMD ["python", "-m", "server"]

FROM base AS trainer
COPY --from=build-trainer /opt/venv /opt/venv
COPY models/tiny models/tiny
COPY thinking thinking
COPY db db
COPY trainer trainer
USER ruminate
CMD ["python", "-m", "trainer"]

FROM base AS ui
COPY --from=build-ui /opt/venv /opt/venv
COPY cli/__init__.py cli/client.py cli/
COPY ui ui
USER ruminate
EXPOSE 7860
HEALTHCHECK --interval=5s --timeout=3s --start-period=60s --retries=12 \
    CMD ["python", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:7860/health', timeout=2)"]
CMD ["python", "-m", "ui"]

# What both engines have in common, without files. The first start may have to fetch a model before it answers.
FROM base AS engine-base
EXPOSE 8100
HEALTHCHECK --interval=5s --timeout=3s --start-period=1800s --retries=12 \
    CMD ["python", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:8100/health', timeout=2)"]
CMD ["python", "-m", "cli.main", "engine", "--host", "0.0.0.0", "--port", "8100"]

FROM engine-base AS engine
# The one image with a compiler: on a GPU, Triton compiles a part of itself when an engine starts, against Python's headers.
RUN apt-get update && apt-get install -y --no-install-recommends g++ && rm -rf /var/lib/apt/lists/*
COPY --from=build-engine /opt/venv /opt/venv
COPY models/tiny models/tiny
COPY thinking thinking
COPY cli cli
USER ruminate

# The CPU environment holds every process's packages, so this image serves as the trainer's as well.
FROM engine-base AS engine-cpu
# vLLM's own CPU operations are linked against it
RUN apt-get update && apt-get install -y --no-install-recommends libnuma1 && rm -rf /var/lib/apt/lists/*
COPY --from=build-engine-cpu /opt/venv /opt/venv
COPY models/tiny models/tiny
COPY thinking thinking
COPY cli cli
COPY db db
COPY trainer trainer
USER ruminate
