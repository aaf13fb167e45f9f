# Three stages: the pages, then pip and a compiler if a wheel needs one, then only what runs. No torch in any.
FROM node:22-slim AS pages
WORKDIR /src/dashboard
COPY dashboard/package.json dashboard/package-lock.json dashboard/.npmrc ./
RUN npm ci --no-audit --no-fund
COPY dashboard ./
RUN npm run build

FROM python:3.11-slim AS build
WORKDIR /src
COPY pyproject.toml constraints.txt README.md ./
COPY app ./app
COPY --from=pages /src/app/web/pages ./app/web/pages
COPY models ./models
COPY migrations ./migrations
RUN python -m venv /venv \
 && /venv/bin/pip install --no-cache-dir -c constraints.txt '.[postgres]'

FROM python:3.11-slim
RUN useradd --system --uid 10001 --home-dir /var/lib/veriregime --create-home veriregime
COPY --from=build /venv /venv
ENV PATH=/venv/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    VERIREGIME_HOST=0.0.0.0 \
    VERIREGIME_VAR_DIR=/var/lib/veriregime
USER veriregime
WORKDIR /var/lib/veriregime
VOLUME /var/lib/veriregime
EXPOSE 8000
HEALTHCHECK --interval=30s --timeout=5s --start-period=60s \
  CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/healthz', timeout=4)"]
CMD ["veriregime", "serve"]
