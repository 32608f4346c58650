# The image of Daypass: one binary, without a shell, as a user without rights, on a file system that may be
# read-only. Nothing is written but to /var/lib/daypass (the embedded store and the spool).
#
#   docker build -t daypass .
#   docker run --read-only --cap-drop ALL --security-opt no-new-privileges -v daypass:/var/lib/daypass daypass check
#
# There is no HEALTHCHECK: orchestrators ask /livez and /readyz, or run `daypass health`.

ARG RUST=1.95

FROM rust:${RUST}-bookworm AS build
WORKDIR /src

# Optimized by a profile of a mixed load (benches/pgo.py), which builds everything twice; `--build-arg
# PGO=false` builds once, as `cargo build --release` does.
ARG PGO=true
RUN if [ "$PGO" = true ]; then \
        apt-get update -qq \
        && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends python3 nginx openssl >/dev/null; \
    fi

# What is depended on, apart from what changes daily: this layer is built anew when Cargo.lock or a bench changes.
COPY Cargo.toml Cargo.lock ./
COPY benches benches
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    mkdir src \
    && echo 'fn main() {}' > src/main.rs \
    && : > src/lib.rs \
    && if [ "$PGO" = true ]; then benches/pgo.py instrument; else cargo build --release --locked --bin daypass; fi \
    && rm -rf src \
    && find target -depth -name '*daypass*' -exec rm -rf {} +

COPY src src
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    if [ "$PGO" = true ]; \
        then benches/pgo.py && built=target/pgo/daypass; \
        else cargo build --release --locked --bin daypass && built=target/release/daypass; \
    fi \
    && install -D -m 0755 "$built" /image/usr/local/bin/daypass \
    && install -d -m 0700 /image/var/lib/daypass

FROM gcr.io/distroless/cc-debian12:nonroot

ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="Daypass" \
      org.opencontainers.image.description="Adds a user's valid OAuth token to calls to Cal.com and Calendly" \
      org.opencontainers.image.source="https://github.com/daypass/daypass" \
      org.opencontainers.image.documentation="https://github.com/daypass/daypass/blob/main/docs/install.md" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.base.name="gcr.io/distroless/cc-debian12:nonroot"

COPY --from=build /image/usr/local/bin/daypass /usr/local/bin/daypass
COPY --from=build --chown=65532:65532 /image/var/lib/daypass /var/lib/daypass

USER 65532:65532
WORKDIR /var/lib/daypass
VOLUME /var/lib/daypass

# The app's side, the world's side, the operator's side.
EXPOSE 7420 7421 7422

ENTRYPOINT ["/usr/local/bin/daypass"]
CMD ["run"]
