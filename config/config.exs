# An example: what is commented out is the default. Erlang's sys.config takes the same keys.
import Config

# config :accept_queue,
#   # the source of the readings: the library in the VM, or a program beside it (docs/configuration.md)
#   source: :nif,
#   # why the VM hung, written by a program beside it; without this there is none (docs/watchdog.md)
#   watchdog: %{directory: "/var/lib/shop/hangs", heartbeat_ms: 1000, hang_after_ms: 5000, keep: 10, allow_ptrace: false},
#   # :all, :none, or a list of what `t:AcceptQueue.listener/0` may be
#   watch: :all,
#   interval_ms: 100,
#   census_ms: 5000,
#   # behind: the oldest connection has waited longer than this, throughout this time
#   max_wait_ms: 100,
#   for_ms: 1000,
#   # stuck: connections wait, and none was accepted for this long
#   stuck_ms: 5000,
#   # abandoned: so many of the queued have already left
#   abandoned_ratio: 0.5,
#   abandoned_min: 5,
#   # leaking: more accepted sockets than this in CLOSE_WAIT
#   close_wait_max: 1000,
#   clear_ms: 5000
