# raindrops.rb PORT...: the library that Ruby servers have for this (https://yhbt.net/raindrops), asked for the queues of these
# ports of 127.0.0.1. The conversation is that of serve.h.
require "raindrops"

addresses = ARGV.map { |port| "127.0.0.1:#{port}" }
$stdout.sync = true
while (line = $stdin.gets)
  started = Process.clock_gettime(Process::CLOCK_MONOTONIC, :nanosecond)
  Integer(line).times do
    stats = Raindrops::Linux.tcp_listener_stats(addresses)
    abort "no figures of #{addresses}" unless addresses.all? { |address| stats[address].queued.zero? }
  end
  puts Process.clock_gettime(Process::CLOCK_MONOTONIC, :nanosecond) - started
end
