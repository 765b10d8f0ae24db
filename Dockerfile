# Two images: `api` serves, and has no Great Expectations, Optuna, TensorBoard or matplotlib; `batch` runs every command.
#
#   docker build --target api --tag tawsiya-api .
#   docker build --target batch --tag tawsiya-batch .
#
# TORCH_INDEX is the package index with the wheels of torch for the machine; pip takes them before those of PyPI, because
# `2.13.0+cpu` is newer to it than `2.13.0`. Without it torch is that of PyPI, which on Linux brings CUDA.
# docs/deployment.md says how to build both.

ARG PYTHON_IMAGE=python:3.11-slim

# ---- packages: this stage has pip, the images do not -----------------------------------------------------------------

FROM ${PYTHON_IMAGE} AS api-packages
ARG TORCH_INDEX=""
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
WORKDIR /build
RUN python -m venv --without-pip /opt/venv
# Without the code, which changes more often than the packages.
COPY pyproject.toml constraints.txt README.md LICENSE ./
RUN pip --python /opt/venv/bin/python install --constraint constraints.txt \
    ${TORCH_INDEX:+--extra-index-url "$TORCH_INDEX"} '.[embedded,otel]'

FROM api-packages AS batch-packages
ARG TORCH_INDEX=""
RUN pip --python /opt/venv/bin/python install --constraint constraints.txt \
    ${TORCH_INDEX:+--extra-index-url "$TORCH_INDEX"} '.[batch,embedded,otel]'

FROM ${PYTHON_IMAGE} AS code
WORKDIR /opt/tawsiya
COPY feature_repo feature_repo
COPY expectations expectations
COPY training training
COPY batch_jobs batch_jobs
COPY online_api online_api
# Nothing can write byte code later.
RUN python -m compileall -q .

# ---- what both images are --------------------------------------------------------------------------------------------

FROM ${PYTHON_IMAGE} AS runtime
RUN pip uninstall --yes --root-user-action ignore pip setuptools wheel \
    && useradd --uid 10001 --user-group --no-create-home --shell /usr/sbin/nologin tawsiya
WORKDIR /app
# Read-only, as everything but these: var and data are volumes, and /tmp is memory.
COPY config config
RUN mkdir var data && chown tawsiya:tawsiya var
ENV PATH=/opt/venv/bin:$PATH \
    PYTHONPATH=/opt/tawsiya \
    PYTHONDONTWRITEBYTECODE=1 \
    HOME=/tmp \
    HF_HOME=/app/var/models/hub
USER 10001:10001
ENTRYPOINT ["tawsiya"]

FROM runtime AS batch
COPY --from=batch-packages /opt/venv /opt/venv
COPY --from=code /opt/tawsiya /opt/tawsiya
CMD ["refresh", "--config", "config/production.yaml"]

FROM runtime AS api
COPY --from=api-packages /opt/venv /opt/venv
COPY --from=code /opt/tawsiya /opt/tawsiya
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=6 \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/readyz', timeout=4)"]
CMD ["serve", "--config", "config/production.yaml"]
