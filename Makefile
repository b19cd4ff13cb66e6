# make help lists the targets.

SHELL := /bin/bash
.DEFAULT_GOAL := help
.PHONY: help build run test check fuzz faults mutants bench compiler demo topup trace verify restore clean generate lint tools rules secrets images compose-check k8s-check cluster-check

SERVICES := $(sort $(notdir $(wildcard services/*)))
MODULES := libs $(addprefix services/,$(SERVICES)) deploy tests
# tests/ is first: its end-to-end tests take the longest, and the tests of the other modules run beside them.
PACKAGES := ./tests/... $(patsubst %,./%/...,$(filter-out tests,$(MODULES)))
DATA := $(or $(LAVKA_DATA),.lavka)
GO_BUILD := CGO_ENABLED=0 go build -trimpath

# In a checkout owned by another user, git refuses to work, and go build fails with it. The binaries then carry no version.
BUILDVCS := -buildvcs=$(shell git status >/dev/null 2>&1 && echo auto || echo false)

help: ## List the targets
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | sort | awk -F ':.*## ' '{printf "  make %-14s %s\n", $$1, $$2}'

build: ## Build the services and the launcher into bin/
	@mkdir -p bin
	@for s in $(SERVICES); do echo "building bin/$$s" && (cd services/$$s && $(GO_BUILD) $(BUILDVCS) -o ../../bin/$$s .) || exit 1; done
	@echo "building bin/lavka" && cd deploy && $(GO_BUILD) $(BUILDVCS) -o ../bin/lavka ./local

run: build ## Build everything and run the whole shop until Ctrl-C; without some services: make run WITHOUT=billing
	@exec bin/lavka run $(if $(WITHOUT),--without "$(WITHOUT)")

.PHONY: restart seed
restart: bin/lavka ## Rebuild one service and replace its process in the running shop: make restart S=billing
	@bin/lavka restart --check "$(S)"
	@echo "building bin/$(S)" && cd "services/$(S)" && $(GO_BUILD) $(BUILDVCS) -o "../../bin/$(S)" .
	@exec bin/lavka restart "$(S)"

# A program built with the race detector waits one second before it exits. The tests start hundreds of programs.
export GORACE ?= atexit_sleep_ms=100

# The race detector needs a C compiler to link. If there is none, apt installs gcc.
compiler:
	@cc=$$(go env CC); command -v $${cc%% *} >/dev/null && exit 0; \
	sudo=; [ "$$(id -u)" = 0 ] || sudo=sudo; echo "the race detector needs a C compiler: installing gcc"; \
	{ $$sudo apt-get update -q && $$sudo env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends gcc libc6-dev; } || \
		{ echo "install a C compiler (Debian, Ubuntu: apt-get install gcc libc6-dev) and run make test again"; exit 1; }

# Only of the command line: an environment variable of that name may mean something else.
PKG =
RUN =

# go test runs all packages in one go, so that builds are shared and no processor is idle at the end of a module. It caches no results: the cache does not
# notice changes to what tests/ builds and reads from other modules. Only PKG outside tests/ uses the cache. Most tests wait, for a process or a condition, so
# each package runs four at a time, on any number of processors.
test: compiler ## Run all tests with the race detector: make test PKG='./services/billing/...' RUN=TestX
	@go test -race -parallel 4 -timeout 20m $(if $(or $(if $(PKG),,all),$(findstring tests,$(PKG))),-count=1) $(if $(RUN),-run '$(RUN)') $(or $(PKG),$(PACKAGES))

check: tools compiler ## Lint and test the packages that your change affects: make check BASE=main
	@.ci/check $(BASE)

BASE =

# Only of the command line: an environment variable TIME may mean something else. Before Go 1.27, fuzzing for a time sometimes fails with "context deadline
# exceeded" although it found nothing (go.dev/issue/75804). Fuzzing for a number of inputs, such as TIME=10000x, does not.
TIME = 30s

# Each package is compiled once for all its fuzz tests. What they find is kept in the build cache, as `go test -fuzz` does.
fuzz: ## Run every fuzz test for 30 s: make fuzz TIME=5m
	@set -e; dir=$$(mktemp -d); trap 'rm -rf "$$dir"' EXIT; \
	for package in $$(grep -rlE --include='*_test.go' '^func Fuzz' $(MODULES) | xargs -n1 dirname | sort -u); do \
		(cd $$package && go test -c -fuzz . -o "$$dir/test" .); \
		for f in $$(grep -hoE '^func Fuzz[A-Za-z0-9_]*' $$package/*_test.go | sed 's/^func //' | sort); do \
			echo "== $$package $$f"; \
			(cd $$package && "$$dir/test" -test.run '^$$' -test.fuzz "^$$f\$$" -test.fuzztime $(TIME) -test.fuzzcachedir "$$(go env GOCACHE)/fuzz/lavka/$$package"); \
		done; \
	done

faults: compiler ## Inject faults into running shops and check the outcome: make faults SEED= CASE= MINUTES= MUTANTS=1
	@cd tests && go run -race ./faults $(if $(MUTANTS),-then-mutants) $(if $(SEED),-seed $(SEED)) $(if $(CASE),-case '$(CASE)') $(if $(MINUTES),-minutes $(MINUTES))

mutants: compiler ## Prove that the checker behind make faults catches deliberately broken services: make mutants SEED= CASE=
	@cd tests && go run -race ./faults -mutants $(if $(SEED),-seed $(SEED)) $(if $(CASE),-case '$(CASE)')

# Without the race detector, as in a release, and compiled as the services are.
bench: ## Compare the shop with baselines such as pgbench; writes docs/benchmarks.md; SHORT=1 only checks that it works, PART=storm runs one part; BEFORE=<commit> compares with that commit
	@cd tests && CGO_ENABLED=0 go run -trimpath ./bench $(if $(SHORT),-short,-out ../docs) $(if $(PART),-only '$(PART)') $(if $(BEFORE),-before '$(BEFORE)')

# For another shop, a password or key that is not in the environment is read from the secrets of Compose.
OF_SHOP = $(if $(SHOP),[ -n "$$ADMIN_PASSWORD" ] || export ADMIN_PASSWORD_FILE=$(CURDIR)/secrets/admin-password; \
	[ -n "$$PAYMENT_PRIVATE_KEYS" ] || export PAYMENT_PRIVATE_KEYS_FILE=$(CURDIR)/secrets/payment-keys; \
	[ -n "$$PAYMENT_SIGNING_SECRETS" ] || [ ! -e secrets/payment-signing-secrets ] || export PAYMENT_SIGNING_SECRETS_FILE=$(CURDIR)/secrets/payment-signing-secrets;)
AT = $(if $(SHOP),--url "$(SHOP)") $(if $(PAYMENTS),--payments-url "$(PAYMENTS)")

demo: bin/lavka ## Play the whole story against the running shop and check every response: make demo SHOP=http://127.0.0.1:8080
	@$(OF_SHOP) exec bin/lavka demo $(AT)

seed: bin/lavka ## Add users, products, bills with money and purchases to the running shop: make seed SHOP=http://127.0.0.1:8080
	@$(OF_SHOP) exec bin/lavka seed $(AT)

# USER is not taken from the environment: there, it is the login name of the operating system.
PAYER = $(if $(filter command,$(firstword $(origin USER))),$(USER))

topup: bin/lavka ## Play the payment provider: make topup USER=1 BILL=1 AMOUNT=100; SIGNATURE=v2 signs in the header
	@exec bin/lavka topup --user "$(PAYER)" --bill "$(BILL)" --amount "$(AMOUNT)" $(if $(SIGNATURE),--signature "$(SIGNATURE)")

# Only of the command line.
PAYMENT =
TOTAL =

.PHONY: reverse
reverse: bin/lavka ## Take back a payment or a part of it, as the payment provider: make reverse PAYMENT=301947951358 TOTAL=60
	@exec bin/lavka reverse --payment "$(PAYMENT)" --total "$(TOTAL)"

# Only of the command line.
PURCHASE =
AMOUNT =
REASON =
FORCE =

.PHONY: refund
refund: bin/lavka ## Give back money of a purchase, as the administrator: make refund PURCHASE=<id> AMOUNT=19.90; all that is left without AMOUNT; FORCE=1
	@exec bin/lavka refund --purchase "$(PURCHASE)" $(if $(AMOUNT),--amount "$(AMOUNT)") $(if $(REASON),--reason "$(REASON)") $(if $(FORCE),--force)

# ID is the trace_id of a problem response or of a log line.
trace: bin/lavka ## Show what happened in a request: make trace ID=<trace_id> or PURCHASE=<id>; without either, in the latest purchase
	@exec bin/lavka trace $(if $(PURCHASE),--purchase "$(PURCHASE)") $(if $(ID),"$(ID)")

verify: bin/lavka ## Check the running shop: the ledger, the schemas, and purchases against charges
	@exec bin/lavka verify

.PHONY: finish
finish: bin/lavka ## Complete an upgrade of the running shop: open the gate for new kinds of rows
	@exec bin/lavka finish

# Only of the command line.
DUMP =

restore: build ## Restore a dump into a new data directory: make restore DUMP=lavka.dump LAVKA_DATA=new
	@LAVKA_DATA="$(DATA)" exec bin/lavka restore "$(DUMP)"

# Only the launcher knows whether a shop runs on the data or from bin/. If a shop's data exists, the launcher is built to find out.
clean: ## Remove the data and everything that was built; refuses while the shop runs
	@if [ -e "$(DATA)/lock" ] || [ -e "$(DATA)/secrets.json" ]; then [ -x bin/lavka ] || $(MAKE) --no-print-directory bin/lavka; fi
	@if [ -x bin/lavka ]; then bin/lavka clean; fi
	@rm -rf bin

bin/lavka:
	@mkdir -p bin
	@cd deploy && $(GO_BUILD) $(BUILDVCS) -o ../bin/lavka ./local

# Containers.

secrets: build ## Create in secrets/ the secrets that docker-compose.yml needs and that don't exist yet
	@exec bin/lavka secrets

VERSION = $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)

images: ## Build the service images, lavka-<service>:<version>
	@deploy/images/make-base-images
	@for s in $(SERVICES); do docker build --build-arg SERVICE=$$s --build-arg VERSION=$(VERSION) -t lavka-$$s:$(VERSION) . || exit 1; done
	@docker images --filter=reference='lavka-*:$(VERSION)'

compose-check: ## Start docker-compose.yml as a project of its own, use it, break it, replace it, and take it down again; BUILD=1 only builds the images
	@if docker version >/dev/null 2>&1; then deploy/images/make-base-images && $(MAKE) --no-print-directory secrets; fi
	@cd tests && go run ./compose $(if $(BUILD),-build) $(if $(SEED),-seed $(SEED)) $(if $(KEEP),-keep)

.PHONY: browser
browser: ## Have a page of another origin use the shop in a real browser; installs chromium with apt: make browser SCREENSHOT=page.png; SHOP= LISTEN= STOP= for a running shop
	@command -v chromium >/dev/null && exit 0; sudo=; [ "$$(id -u)" = 0 ] || sudo=sudo; echo "installing chromium"; \
	{ $$sudo apt-get update -q && $$sudo env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends chromium; } || \
		{ echo "install Chromium (Debian: apt-get install chromium) and run make browser again"; exit 1; }
	@$(OF_SHOP) cd tests && go run ./browser $(if $(SCREENSHOT),-screenshot '$(abspath $(SCREENSHOT))') $(if $(SHOP),-url '$(SHOP)' -listen '$(LISTEN)' -stop '$(STOP)')

# Kubernetes' types bring in hundreds of modules, which are kept out of the workspace.
k8s-check: ## Render deploy/k8s, decode it strictly, and check it against the rules
	@cd tests/k8s && GOWORK=off go run .

# Only of the command line.
NODES =

# Outside of the workspace, too. The first run builds Kubernetes, which takes minutes. containerd and runc, which nodes need, come with Docker. If something that
# nodes need is missing and can't be installed, the program reports it, runs nothing and fails.
cluster-check: build ## Apply deploy/k8s to a real Kubernetes without nodes, upgrade it, roll it back, and make mistakes; NODES=1 or 2 runs the shop on nodes, OVERLAY=production that overlay on stand-ins; KEEP=1
ifneq ($(NODES),)
	@command -v iptables >/dev/null && command -v ipset >/dev/null && exit 0; echo "nodes need iptables and ipset: installing them"; \
	apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends iptables ipset || true
	@if docker version >/dev/null 2>&1; then $(MAKE) --no-print-directory images VERSION=dev; fi
	@cd tests/cluster && GOWORK=off go run . -nodes "$(NODES)" $(if $(OVERLAY),-overlay "$(OVERLAY)") $(if $(KEEP),-keep)
else
	@hash=$$(.ci/run cluster_hash) && cd tests/cluster && export GOWORK=off && go run . && go test -count=1 ./... && echo "$$hash" >passed
endif

tools: ## Build the tools that tools/go.mod pins into bin/
	@mkdir -p bin
	@cd tools && GOWORK=off GOBIN="$(CURDIR)/bin" go install tool

generate: tools ## Generate the servers' types from the OpenAPI contracts, and the alert rules as a Kubernetes resource
	@for s in $(SERVICES); do (cd services/$$s && go generate ./...) || exit 1; done
	@{ printf '# Made of deploy/observability/rules/lavka.yaml by make generate.\napiVersion: monitoring.coreos.com/v1\nkind: PrometheusRule\nmetadata:\n  name: lavka\n  labels: { app.kubernetes.io/part-of: lavka }\nspec:\n'; \
		sed 's/^\(.\)/  \1/' deploy/observability/rules/lavka.yaml; } >deploy/k8s/components/monitoring/rules.yaml

# Taken from an installed Prometheus. If there is none, it is extracted from Debian's package: installing that would start a server, and building
# promtool takes minutes.
bin/promtool:
	@mkdir -p bin; found=$$(command -v promtool) && ln -s "$$found" $@ && exit; \
	sudo=; [ "$$(id -u)" = 0 ] || sudo=sudo; dir=$$(mktemp -d); trap 'rm -rf "$$dir"' EXIT; cd "$$dir" && \
	{ apt-get download -q prometheus || { $$sudo apt-get update -q && apt-get download -q prometheus; }; } && \
	dpkg-deb --fsys-tarfile prometheus_*.deb | tar -xO ./usr/bin/promtool >promtool && chmod +x promtool && mv promtool "$(CURDIR)/$@" || \
		{ echo "install promtool, which comes with Prometheus, and run make rules again"; exit 1; }

rules: bin/promtool ## Check the alert rules and run their tests
	@cd deploy/observability && ../../bin/promtool check config --lint=all --lint-fatal prometheus.yaml && ../../bin/promtool test rules rules/tests/*.yaml

.PHONY: mutation
mutation: ## Change one operator at a time and see whether a test fails, which takes hours: make mutation PKG=libs/domain/money
	@nice tools/mutation/run $(PKG)

lint: tools ## Run gofmt, vet, staticcheck, and the checks of spelling and phrases
	@.ci/run lint
