# Three images: `docker build --target sidecar .` (driftline and retrain), `--target trainer` and `--target trainer-gpu`.
# Linux on x86-64, because that is the libtorch that trainer/setup/libtorch.py pins. The build is optimised and takes
# long: Polars alone is most of it.

FROM rust:1.95.0-slim-bookworm AS source
WORKDIR /build
# rust-toolchain.toml stays out: the image's toolchain is the pinned one, and the build needs no rustfmt or clippy.
COPY Cargo.toml Cargo.lock ./
COPY src src
COPY tests tests
COPY benches benches
COPY trainer trainer

FROM source AS build-sidecar
RUN cargo build --locked --profile dist --bins

FROM source AS build-trainer
# Without pinned versions: whatever Debian has fixed since belongs in.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends g++ python3 python3-pip \
    && rm -rf /var/lib/apt/lists/*
# The libraries lie in the same folder as later in the image: the trainer finds them by its rpath.
ENV DRIFTLINE_CACHE=/opt/driftline
RUN python3 trainer/setup/libtorch.py
ENV LIBTORCH=/opt/driftline/libtorch-2.13.0-cpu
RUN cargo build --locked --profile dist --package driftline-trainer

# The same with the CUDA build of libtorch: 4 GB of libraries, and a GPU only when it runs.
FROM source AS build-trainer-gpu
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends g++ python3 python3-pip \
    && rm -rf /var/lib/apt/lists/*
ENV DRIFTLINE_CACHE=/opt/driftline
RUN python3 trainer/setup/libtorch.py --cuda
ENV LIBTORCH=/opt/driftline/libtorch-2.13.0-cuda/torch
RUN cargo build --locked --profile dist --package driftline-trainer

FROM debian:bookworm-slim AS runtime
# The two containers share /var/lib/driftline by a volume, which takes over the owner from here.
RUN useradd --system --uid 10001 --home-dir /var/lib/driftline --create-home --shell /usr/sbin/nologin driftline
WORKDIR /var/lib/driftline

FROM runtime AS sidecar
# Webhooks are verified against the system's certificates.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends ca-certificates \
    && rm -rf /var/lib/apt/lists/*
COPY --from=build-sidecar /build/target/dist/driftline /build/target/dist/retrain /usr/local/bin/
USER 10001:10001
EXPOSE 8080 9464
HEALTHCHECK --interval=10s --timeout=5s --start-period=10s CMD ["driftline", "healthcheck"]
ENTRYPOINT ["driftline"]
CMD ["run"]

FROM runtime AS trainer
COPY --from=build-trainer /opt/driftline/libtorch-2.13.0-cpu/lib /opt/driftline/libtorch-2.13.0-cpu/lib
COPY --from=build-trainer /opt/driftline/libtorch-2.13.0-cpu/licenses /opt/driftline/libtorch-2.13.0-cpu/licenses
COPY --from=build-trainer /build/target/dist/driftline-trainer /usr/local/bin/
USER 10001:10001
ENTRYPOINT ["driftline-trainer"]
CMD ["work"]

FROM runtime AS trainer-gpu
COPY --from=build-trainer-gpu /opt/driftline/libtorch-2.13.0-cuda /opt/driftline/libtorch-2.13.0-cuda
COPY --from=build-trainer-gpu /build/target/dist/driftline-trainer /usr/local/bin/
# What the NVIDIA Container Toolkit is to hand in.
ENV NVIDIA_VISIBLE_DEVICES=all NVIDIA_DRIVER_CAPABILITIES=compute,utility
USER 10001:10001
ENTRYPOINT ["driftline-trainer"]
CMD ["work"]
