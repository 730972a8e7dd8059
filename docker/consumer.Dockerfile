# eventstore-fargate/consumer: Example of a service that uses the database: it reads its secret and follows rotations
#
# Built from source, seen from the directory of the checkout: docker buildx bake --file docker/docker-bake.hcl
# `cargo xtask images` builds it where no base image can be pulled: it takes the last stage, from FROM scratch on, and what
# the first would have put into /rootfs.
FROM rust:1.95-bookworm AS build
WORKDIR /src
COPY . .
ENV RUSTFLAGS="-C target-feature=+crt-static"
RUN cargo build --locked --profile dist --target x86_64-unknown-linux-gnu -p consumer
RUN install -D -m 0555 target/x86_64-unknown-linux-gnu/dist/consumer /rootfs/consumer

FROM scratch
LABEL org.opencontainers.image.title="eventstore-fargate/consumer" \
      org.opencontainers.image.description="Example of a service that uses the database: it reads its secret and follows rotations" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.source="https://github.com/eventstore-fargate/eventstore-fargate"
COPY --from=build /rootfs/ /
USER 1000:1000
ENTRYPOINT ["/consumer"]
