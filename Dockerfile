# Three stages: the pages, then pip, then only what runs. No torch, no compiler and no secret in any of them.
# docker build --build-arg EXTRAS=postgres,cluster,tracing .
ARG NODE=22.21.1-bookworm-slim
ARG PYTHON=3.11.14-slim-bookworm

FROM node:${NODE} AS pages
WORKDIR /src/dashboard
COPY dashboard/package.json dashboard/package-lock.json dashboard/.npmrc ./
RUN npm ci --no-audit --no-fund
COPY dashboard ./
RUN npm run build

FROM python:${PYTHON} AS build
ARG EXTRAS=postgres
WORKDIR /src
COPY pyproject.toml constraints.txt README.md ./
COPY app ./app
COPY --from=pages /src/app/web/pages ./app/web/pages
COPY models ./models
COPY migrations ./migrations
RUN python -m venv /venv \
 && /venv/bin/pip install --no-cache-dir --no-compile -c constraints.txt ".[${EXTRAS}]" \
 && /venv/bin/pip uninstall --yes pip setuptools \
 && /venv/bin/python -m compileall -q /venv

FROM python:${PYTHON}
ARG VERSION=unknown
ARG REVISION=unknown
LABEL org.opencontainers.image.title="VeriRegime" \
      org.opencontainers.image.description="A volatility oracle whose every forecast carries a zero-knowledge proof" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
RUN groupadd --system --gid 10001 veriregime \
 && useradd --system --uid 10001 --gid 10001 --home-dir /var/lib/veriregime --no-log-init --create-home \
      --shell /usr/sbin/nologin veriregime \
 && chmod 0700 /var/lib/veriregime
COPY --from=build /venv /venv
# HEALTH_URL: a role without HTTP is asked for its metrics instead.
ENV PATH=/venv/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    VERIREGIME_HOST=0.0.0.0 \
    VERIREGIME_VAR_DIR=/var/lib/veriregime \
    HEALTH_URL=http://127.0.0.1:8000/healthz
# By number: who forbids root by policy cannot look names up.
USER 10001:10001
WORKDIR /var/lib/veriregime
VOLUME /var/lib/veriregime
EXPOSE 8000
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=30s --timeout=5s --start-period=90s --retries=3 \
  CMD ["python", "-c", "import os, urllib.request; urllib.request.urlopen(os.environ['HEALTH_URL'], timeout=4)"]
CMD ["veriregime", "serve"]
