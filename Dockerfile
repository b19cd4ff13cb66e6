# The image of one service:
#
#   docker build --build-arg SERVICE=billing --build-arg VERSION=$(git describe --tags --always) -t lavka-billing .
#
# make images builds all three. They share the first layers: the modules, which rarely change, and the common packages.

FROM golang:1.26.8 AS build
ENV CGO_ENABLED=0 GOWORK=off GOTOOLCHAIN=local GOFLAGS="-trimpath -buildvcs=false"
COPY libs/go.mod libs/go.sum /src/libs/
RUN cd /src/libs && go mod download
COPY libs /src/libs
RUN cd /src/libs && go build ./domain/... ./contract/... ./service/...

ARG SERVICE
RUN [ -n "$SERVICE" ] || { echo "set the service: --build-arg SERVICE=auth, catalog or billing" >&2; exit 1; }
WORKDIR /src/services/$SERVICE
COPY services/$SERVICE/go.mod services/$SERVICE/go.sum ./
RUN go mod download
COPY services/$SERVICE .
ARG VERSION=unknown
RUN go build -ldflags "-s -w -X lavka/libs/service/release.version=$VERSION" -o /service .

# The licences and notices of everything that is linked into the service.
RUN set -e; mkdir -p /licenses/go; cp "$(go env GOROOT)/LICENSE" /licenses/go/; \
    go list -deps -f '{{with .Module}}{{if not (or .Main .Replace)}}{{.Path}}@{{.Version}} {{.Dir}}{{end}}{{end}}' . | sort -u >/tmp/modules; [ -s /tmp/modules ]; \
    while read -r module dir; do \
        mkdir -p "/licenses/$module"; \
        find "$dir" -maxdepth 1 -type f \( -iname 'licen[cs]e*' -o -iname 'copying*' -o -iname 'notice*' -o -iname 'copyright*' \) -exec cp {} "/licenses/$module/" \;; \
        [ -n "$(ls "/licenses/$module")" ] || { echo "$module has no licence" >&2; exit 1; }; \
    done </tmp/modules

# For catalog's books, which billing-verify reads (docker-compose.yml): a volume mounted here has this owner.
RUN mkdir /books

FROM gcr.io/distroless/static-debian12:nonroot
ARG SERVICE
ARG VERSION=unknown
LABEL org.opencontainers.image.title="lavka-$SERVICE" \
      org.opencontainers.image.version="$VERSION" \
      org.opencontainers.image.description="Lavka, a shop's backend: $SERVICE. Settings are environment variables; serve writes no files."
COPY --from=build /licenses /licenses
COPY --from=build /service /service
COPY --from=build --chown=65532:65532 /books /books
USER 65532:65532
EXPOSE 8080 9090
HEALTHCHECK --interval=5s --timeout=5s --start-period=30s CMD ["/service", "healthcheck"]
ENTRYPOINT ["/service"]
