# The one door. `make` alone lists what is behind it.
#
# Every step says one line when it succeeds and everything when it fails (scripts/quietly).

export CARGO_TERM_COLOR = never
export LANG = C.UTF-8
quietly = scripts/quietly
libs = $(or $(REBAR_BASE_DIR),_build/rebar3)/default/lib
comma = ,
space = $(subst ,, )

.DEFAULT_GOAL := help
.PHONY: help setup build demo check test matrix servers kernels musl load fuzz memcheck bench docs install uninstall release processors deb fmt clean
SECONDS ?= 300
MINUTES ?= 10

help: ## this list
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/  make \1\t\2/p' Makefile | expand -t 20

setup: ## install Erlang, rebar3, Elixir, Rust and what the tests take where they are missing, or say the one command that does
	@scripts/setup

.PHONY: tools
tools:
	@scripts/setup building

build: ## the NIF, the program and the Erlang application, under _build/rebar3
	@$(quietly) "build" rebar3 compile

demo: tools build ## the experiment of 2009 on real sockets; about 20 s
	@ERL_LIBS=$(libs) escript examples/experiment_2009.escript

check: ## what must hold before each commit; no sockets, fast
	@$(at_once)2 checked

test: setup ## everything, on real sockets
	@rm -f _build/failures
	@FAILURES="$(CURDIR)/_build/failures" $(at_once)3 tested || { cat _build/failures 2>/dev/null; exit 1; }

matrix: setup build ## the suites on OTP 27 and 29, in roots of other Debian releases; about 25 min
	@$(quietly) "what the suites need" sh -c "cargo build --quiet --release --locked --package panicking-nif --package hanging-nif && \
		cargo build --quiet --locked --package accept-queue-core --example without_sock_diag"
	@$(quietly) "OTP 27 (trixie)" test/roots trixie 27
	@$(quietly) "OTP 29 (forky)" test/roots forky 29
	@$(quietly) "hex package" test/hex_package

servers: setup build ## RabbitMQ, ejabberd, yaws and cowboy out of Debian's packages, on loopback; about 2 min
	@test/servers

kernels: setup build ## the program, the library and the tests of core on the kernels 5.10 to the newest of Debian, and on arm64, in qemu; or KERNELS="forky arm64/bookworm"
	@test/kernels/run $(KERNELS)

musl: setup ## the NIF, the program and the suites in an Erlang/OTP compiled for musl, which is kept in _build/musl
	@test/musl/run

load: setup build ## pools that stall, servers at full speed, in groups, in bursts, each for MINUTES=10, and a minute of calls; the figures in _build/load
	@$(quietly) "calls" rebar3 ct --suite test/accept_queue_load_SUITE,test/accept_queue_registry_SUITE
	@$(quietly) "load" env ACCEPT_QUEUE_STALLS_MINUTES=$(MINUTES) rebar3 ct --suite test/accept_queue_stalls_SUITE \
		--case every_stall_is_reported_once_and_nothing_else_is
	@$(quietly) "servers" env ACCEPT_QUEUE_SERVERS_MINUTES=$(MINUTES) rebar3 ct --suite test/accept_queue_servers_under_load_SUITE
	@cat _build/load/stalls.md _build/load/servers.md

fuzz: setup ## each parser of outside bytes under libFuzzer for SECONDS=300
	@native/fuzz/run $(SECONDS)

memcheck: setup build ## the NIFs under valgrind, and a million of all that they make; several minutes
	@test/memcheck

bench: setup build ## what it costs, as ratios within one run; about 12 min, or PARTS="readings calls"
	@bench/run $(PARTS)

docs: setup ## the documentation of the modules, by EDoc into _build/doc; groups and pages for ExDoc are in mix.exs, and checked by make test
	@$(quietly) "edoc" rebar3 edoc
	@echo "_build/doc/index.html"

install: tools ## the program, its manual pages and completions, below PREFIX=/usr/local
	@scripts/install

uninstall: ## takes them away
	@scripts/install --remove

release: setup ## archives of library and program for x86-64 and arm64, glibc 2.17 and musl, with checksums, in _build/release; about 15 min
	@scripts/releases

processors: setup ## cargo check for armv7, riscv64, s390x and powerpc64le, in the root of the releases; about 10 min
	@scripts/processors

deb: setup ## the program as a Debian package, in _build/release
	@scripts/deb

fmt: ## format the Rust sources
	@cargo fmt --all

clean: ## remove everything that was built
	@rm -rf _build target priv

# The steps of check and test. Some run at once where neither waits for the other, so none writes a folder that one beside it uses:
# Rust without optimization is in target/debug, with it in target/release; each step that compiles Erlang beside others has a folder
# of its own. The suites wait most of their time, and go in parts beside each other; what takes the processors comes before or after them.
at_once = $(MAKE) --no-print-directory --output-sync=target --jobs=
ct = $(quietly) $(1) env REBAR_BASE_DIR=_build/$@ ACCEPT_QUEUE_LOAD_SECONDS=20 rebar3 ct --suite $(subst $(space),$(comma),$(strip $(2)))

suites = $(patsubst test/accept_queue_%_SUITE.erl,%,$(wildcard test/*_SUITE.erl))
files_of = $(foreach suite,$(1),test/accept_queue_$(suite)_SUITE)
# Those that take the processors, one after the other.
busy = stalls disturbed load servers_under_load diagnose event differential
# Those that sleep; what is in neither list is the third part.
idle = resilience watchdog health trouble
# Those in which a reading is the matter; the others hold as well over the port program, and test nothing new there.
over_port = counts kinds list holders faults registry acceptors monitor

.PHONY: checked cargo-fmt cargo-clippy cargo-test-built cargo-test xref dialyzer eunit
checked: cargo-test eunit

cargo-fmt:
	@$(quietly) "cargo fmt" cargo fmt --all --check

cargo-clippy: cargo-fmt
	@$(quietly) "cargo clippy" cargo clippy --quiet --workspace --all-targets --locked -- -D warnings

cargo-test-built: cargo-clippy
	@$(quietly) "cargo test, compiled" cargo test --quiet --workspace --locked --no-run

cargo-test: cargo-test-built
	@$(quietly) "cargo test" cargo test --quiet --workspace --locked

xref: build
	@$(quietly) "xref" rebar3 xref

# rebar3 wants the optional applications too: what stands in for telemetry in the tests does so here.
dialyzer: xref
	@mkdir -p _build/dialyzer/telemetry/ebin
	@erlc +debug_info -o _build/dialyzer/telemetry/ebin test/stand_ins/telemetry.erl
	@echo '{application, telemetry, [{vsn, "0"}, {modules, [telemetry]}, {applications, [kernel, stdlib]}]}.' \
		>_build/dialyzer/telemetry/ebin/telemetry.app
	@$(quietly) "dialyzer" env ERL_LIBS=_build/dialyzer rebar3 dialyzer

eunit: dialyzer
	@$(quietly) "eunit" rebar3 eunit

.PHONY: tested nifs components suites busy-suites idle-suites other-suites suites-over-port packaging program exunit edoc documents
tested: packaging documents

nifs: build
	@$(quietly) "NIFs that panic and hang" cargo build --quiet --release --locked --package panicking-nif --package hanging-nif

components:
	@$(quietly) "components" test/components

suites: busy-suites other-suites idle-suites suites-over-port cargo-test

busy-suites: cargo-test-built eunit nifs components
	@$(call ct,"common test; busy suites",$(call files_of,$(busy)))

other-suites: cargo-test-built eunit nifs components
	@$(call ct,"common test; other suites",$(call files_of,$(filter-out $(busy) $(idle),$(suites))))

idle-suites: cargo-test-built eunit nifs components
	@$(call ct,"common test; idle suites",$(call files_of,$(idle)))

suites-over-port: cargo-test-built eunit nifs components
	@ACCEPT_QUEUE_SOURCE=port $(call ct,"common test over the port program",$(call files_of,$(over_port)))

# In a clone of its own, which takes both cores; what follows waits most of its time again.
packaging: suites
	@$(quietly) "packaging" test/packaging

program: suites
	@$(quietly) "program" cargo test --quiet --locked --package accept-queue-cli -- --ignored

exunit: program
	@$(quietly) "exunit" mix test

edoc: exunit
	@$(quietly) "edoc" rebar3 edoc

documents: edoc
	@$(quietly) "what the documents show" test/docs
