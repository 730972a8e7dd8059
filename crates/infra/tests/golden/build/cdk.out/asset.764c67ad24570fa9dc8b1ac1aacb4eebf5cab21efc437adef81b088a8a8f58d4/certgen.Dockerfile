FROM scratch
COPY bin/certgen /certgen
COPY bin/guard /guard
VOLUME ["/certs"]
ENTRYPOINT ["/certgen"]
