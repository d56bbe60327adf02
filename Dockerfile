# One image per process, from one file: docker build --target server|trainer|ui|engine|engine-cpu .
# A compiler is in the build stages only; each last stage is the slim base, its packages and our code.
ARG BASE=python:3.11-slim-bookworm

FROM ${BASE} AS base
ENV PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 PATH=/opt/venv/bin:$PATH RUMINATE_HOME=/data
RUN useradd --uid 10001 --create-home ruminate && mkdir -p /data && chown ruminate /data
WORKDIR /app

FROM ${BASE} AS build
RUN python3 -m venv /opt/venv && /opt/venv/bin/python -m pip install --no-cache-dir uv==0.13.8
ENV UV_LINK_MODE=copy
WORKDIR /app

FROM build AS build-server
COPY requirements/server.txt requirements/
RUN /opt/venv/bin/uv pip install --python /opt/venv/bin/python --no-cache --no-deps -r requirements/server.txt

FROM build AS build-trainer
COPY requirements/trainer.txt requirements/
RUN /opt/venv/bin/uv pip install --python /opt/venv/bin/python --no-cache --no-deps -r requirements/trainer.txt

FROM build AS build-ui
COPY requirements/ui.txt requirements/
RUN /opt/venv/bin/uv pip install --python /opt/venv/bin/python --no-cache --no-deps -r requirements/ui.txt

FROM build AS build-engine
COPY requirements/cuda.txt requirements/
RUN /opt/venv/bin/uv pip install --python /opt/venv/bin/python --no-cache --no-deps -r requirements/cuda.txt

FROM build AS build-engine-cpu
COPY requirements/cpu.txt requirements/
# The CPU build of torch is on PyTorch's own index; where that is not reachable, WHEELS names a folder that holds it.
ARG WHEELS=
RUN uv="/opt/venv/bin/uv pip install --python /opt/venv/bin/python --no-cache --no-deps" \
    && if [ -n "$WHEELS" ]; then where="--find-links $WHEELS"; else where="--index-url https://download.pytorch.org/whl/cpu"; fi \
    && $uv $where "$(grep '^torch==' requirements/cpu.txt)" && $uv -r requirements/cpu.txt
# Only the name of our plugin for vLLM, so that it finds it; the code comes with the last stage.
COPY pyproject.toml README.md ./
RUN /opt/venv/bin/uv pip install --python /opt/venv/bin/python --no-cache --no-deps --editable .

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
COPY thinking thinking
COPY db db
COPY trainer trainer
COPY models/tiny models/tiny
USER ruminate
CMD ["python", "-m", "trainer"]

FROM base AS ui
COPY --from=build-ui /opt/venv /opt/venv
COPY cli/__init__.py cli/client.py cli/
COPY ui ui
USER ruminate
EXPOSE 7860
HEALTHCHECK --interval=5s --timeout=3s --start-period=60s --retries=12 \
    CMD ["python", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:7860/', timeout=2)"]
CMD ["python", "-m", "ui"]

FROM base AS engine-files
COPY thinking thinking
COPY cli cli
COPY models/tiny models/tiny
EXPOSE 8100
HEALTHCHECK --interval=5s --timeout=3s --start-period=600s --retries=12 \
    CMD ["python", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:8100/health', timeout=2)"]
CMD ["python", "-m", "cli.main", "engine", "--host", "0.0.0.0", "--port", "8100"]

FROM engine-files AS engine
COPY --from=build-engine /opt/venv /opt/venv
USER ruminate

# The CPU environment holds every process's packages, so this image serves as the trainer's as well.
FROM engine-files AS engine-cpu
COPY db db
COPY trainer trainer
COPY --from=build-engine-cpu /opt/venv /opt/venv
USER ruminate
