# syntax=docker/dockerfile:1
# One image for all roles: static programs on an empty file system. There is no shell in it, and
# nothing to update but itself.
#
#   docker build --build-arg VERSION="$(git describe --tags --always)" -t tungstene:dev .

FROM --platform=$BUILDPLATFORM golang:1.26.8-bookworm AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN --mount=type=cache,target=/go/pkg/mod go mod download
COPY cmd ./cmd
COPY internal ./internal
COPY pkg ./pkg
ARG VERSION=dev
ARG TARGETOS TARGETARCH
# Time zones are in the programs (time/tzdata).
RUN --mount=type=cache,target=/go/pkg/mod --mount=type=cache,target=/root/.cache/go-build \
    CGO_ENABLED=0 GOOS=$TARGETOS GOARCH=$TARGETARCH \
    go build -trimpath -ldflags "-s -w -X main.version=$VERSION" -o /image/usr/local/bin/ ./cmd/... && \
    install -D -m 0644 /etc/ssl/certs/ca-certificates.crt /image/etc/ssl/certs/ca-certificates.crt && \
    install -d -m 1777 /image/tmp && \
    install -d -m 0700 /volumes/data /volumes/keys && \
    printf 'tungstene:x:65532:65532:tungstene:/data:/\n' > /image/etc/passwd && \
    printf 'tungstene:x:65532:\n' > /image/etc/group

FROM scratch
ARG VERSION=dev
LABEL org.opencontainers.image.title="Tungstene" \
      org.opencontainers.image.description="Collects what happens on the Twitch channels of a charity marathon, keeps all of it, and counts it." \
      org.opencontainers.image.source="https://github.com/tungstene/tungstene" \
      org.opencontainers.image.version="$VERSION"
COPY --from=build /image /
# They belong to the user that the programs run as, so the volumes that are mounted there do.
COPY --from=build --chown=65532:65532 /volumes /
ENV PATH=/usr/local/bin
USER 65532:65532
WORKDIR /data
EXPOSE 8080
ENTRYPOINT ["/usr/local/bin/tungstene"]
