# One weft node. Build: docker build -t weft .
FROM rust:1.95-slim-bookworm AS build
RUN apt-get update && apt-get install -y --no-install-recommends gcc libc6-dev make && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY Cargo.toml Cargo.lock ./
COPY src ./src
COPY web ./web
COPY crdt-tests ./crdt-tests
COPY fuzz ./fuzz
RUN cargo build --release --locked --bin weft

FROM debian:bookworm-slim
RUN useradd --system --uid 10001 --home-dir /var/lib/weft --create-home weft
COPY --from=build /src/target/release/weft /usr/local/bin/weft
USER weft
ENV WEFT_DATA=/var/lib/weft/data
VOLUME /var/lib/weft/data
EXPOSE 1234
# SIGTERM drains: clients are told to come back, everything is on disk before the process ends.
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=3s --start-period=30s CMD ["weft", "health"]
ENTRYPOINT ["weft"]
CMD ["serve", "--listen", "0.0.0.0:1234", "--allow-anonymous"]
