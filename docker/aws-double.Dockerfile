# eventstore-fargate/aws-double: Double of AWS Secrets Manager, AWS Cloud Map and the endpoints of ECS, for local clusters; it is none of them
#
# Built from source, seen from the directory of the checkout: docker buildx bake --file docker/docker-bake.hcl
# `cargo xtask images` builds it where no base image can be pulled: it takes the last stage, from FROM scratch on, and what
# the first would have put into /rootfs.
FROM rust:1.95-bookworm AS build
WORKDIR /src
COPY . .
ENV RUSTFLAGS="-C target-feature=+crt-static"
RUN cargo build --locked --profile dist --target x86_64-unknown-linux-gnu -p testkit --bin aws-double
RUN install -D -m 0555 target/x86_64-unknown-linux-gnu/dist/aws-double /rootfs/aws-double \
 && mkdir -p /rootfs/state && chmod 1777 /rootfs/state

FROM scratch
LABEL org.opencontainers.image.title="eventstore-fargate/aws-double" \
      org.opencontainers.image.description="Double of AWS Secrets Manager, AWS Cloud Map and the endpoints of ECS, for local clusters; it is none of them" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.source="https://github.com/eventstore-fargate/eventstore-fargate"
COPY --from=build /rootfs/ /
VOLUME ["/state"]
USER 1000:1000
ENTRYPOINT ["/aws-double"]
