# eventstore-fargate/standin: Stand-in for a server of EventStoreDB or KurrentDB, for tests without one; it is neither
#
# Built from source, seen from the directory of the checkout: docker buildx bake --file docker/docker-bake.hcl
# `cargo xtask images` builds it where no base image can be pulled: it takes the last stage, from FROM scratch on, and what
# the first would have put into /rootfs.
FROM rust:1.95-bookworm AS build
WORKDIR /src
COPY . .
ENV RUSTFLAGS="-C target-feature=+crt-static"
RUN cargo build --locked --profile dist --target x86_64-unknown-linux-gnu -p testkit --bin standin
RUN install -D -m 0555 target/x86_64-unknown-linux-gnu/dist/standin /rootfs/opt/eventstore/EventStore.ClusterNode \
 && install -D -m 0555 target/x86_64-unknown-linux-gnu/dist/standin /rootfs/opt/kurrentdb/KurrentDB \
 && mkdir -p /rootfs/var/lib/eventstore /rootfs/var/log/eventstore /rootfs/var/lib/kurrentdb /rootfs/var/log/kurrentdb && chmod 1777 /rootfs/var/lib/eventstore /rootfs/var/log/eventstore /rootfs/var/lib/kurrentdb /rootfs/var/log/kurrentdb

FROM scratch
LABEL org.opencontainers.image.title="eventstore-fargate/standin" \
      org.opencontainers.image.description="Stand-in for a server of EventStoreDB or KurrentDB, for tests without one; it is neither" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.source="https://github.com/eventstore-fargate/eventstore-fargate"
COPY --from=build /rootfs/ /
USER 1000:1000
ENTRYPOINT ["/opt/eventstore/EventStore.ClusterNode"]
