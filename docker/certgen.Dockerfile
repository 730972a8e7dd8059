# eventstore-fargate/certgen: TLS certificates for a node of EventStoreDB, and guard, the parent of the server process
#
# Built from source, seen from the directory of the checkout: docker buildx bake --file docker/docker-bake.hcl
# `cargo xtask images` builds it where no base image can be pulled: it takes the last stage, from FROM scratch on, and what
# the first would have put into /rootfs.
FROM rust:1.95-bookworm AS build
WORKDIR /src
COPY . .
ENV RUSTFLAGS="-C target-feature=+crt-static"
RUN cargo build --locked --profile dist-abort --target x86_64-unknown-linux-gnu -p certgen -p guard
RUN install -D -m 0555 target/x86_64-unknown-linux-gnu/dist-abort/certgen /rootfs/certgen \
 && install -D -m 0555 target/x86_64-unknown-linux-gnu/dist-abort/guard /rootfs/guard \
 && mkdir -p /rootfs/certs /rootfs/tmp /rootfs/run/task /rootfs/ca-state /rootfs/volumes/1 /rootfs/volumes/2 /rootfs/volumes/3 /rootfs/volumes/4 /rootfs/volumes/5 /rootfs/volumes/6 /rootfs/volumes/7 /rootfs/volumes/8 && chmod 1777 /rootfs/certs /rootfs/tmp /rootfs/run/task /rootfs/ca-state /rootfs/volumes/1 /rootfs/volumes/2 /rootfs/volumes/3 /rootfs/volumes/4 /rootfs/volumes/5 /rootfs/volumes/6 /rootfs/volumes/7 /rootfs/volumes/8

FROM scratch
LABEL org.opencontainers.image.title="eventstore-fargate/certgen" \
      org.opencontainers.image.description="TLS certificates for a node of EventStoreDB, and guard, the parent of the server process" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.source="https://github.com/eventstore-fargate/eventstore-fargate"
COPY --from=build /rootfs/ /
# What a task's containers write to. Fargate gives such a volume the mode that it has in the image of the first container that
# mounts it; the server's user is another one in newer lines. Those below /volumes are for volumes that a
# configuration adds.
VOLUME ["/certs", "/tmp", "/run/task", "/ca-state", "/volumes/1", "/volumes/2", "/volumes/3", "/volumes/4", "/volumes/5", "/volumes/6", "/volumes/7", "/volumes/8"]
USER 1000:1000
ENTRYPOINT ["/certgen"]
