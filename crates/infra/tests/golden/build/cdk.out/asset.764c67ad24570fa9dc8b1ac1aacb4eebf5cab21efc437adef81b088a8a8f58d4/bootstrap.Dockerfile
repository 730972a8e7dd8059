FROM scratch
COPY bin/bootstrap /bootstrap
ENTRYPOINT ["/bootstrap"]
