defmodule AcceptQueue.Events do
  @moduledoc """
  Every event, and every error: what it means, and what to do.

  An event is published on four channels: as a message to those who called `AcceptQueue.subscribe/0`, as an event of `:telemetry`, as a
  line of the log, and a condition also as an alarm of SASL. Each condition is published once when it begins and once when it ends.

  ## Conditions

  | condition | a listener ... | what to do |
  |---|---|---|
  | `:behind` | lets clients wait longer than `max_wait_ms`, throughout `for_ms` | more acceptors, or less work between accept and the next accept |
  | `:overflowing` | drops connections for want of room, or is full throughout `for_ms` | `AcceptQueue.resize/2` at once; then as for `:behind` |
  | `:stuck` | has clients waiting, and none was accepted for `stuck_ms` | `acceptors` in the details says whether any process is in accept |
  | `:abandoned` | has many clients in its queue that have left | `AcceptQueue.peer_closed/1` before the work; fewer places |
  | `:leaking` | has many connections that their clients have closed and this VM has not | `AcceptQueue.holders/1` |

  ## Messages

  `{:accept_queue, :raised | :cleared, condition, details}`, `{:accept_queue, :listener, :added | :removed, metadata}` and
  `{:accept_queue, :vm, :hung, details}`. They are those of Erlang, with `:undefined` for what is absent: `with_nil/1` makes it `nil`.

  A new subscriber first gets a `:raised` message of each condition that stands, with `standing: true` in its details.

  The details, fewer than 2,000 words in all:

    * `address`, and the same as a binary, `listener`: `"0.0.0.0:4000"`
    * `server`, whose it is, and the same as a binary, `name`: `"MyAppWeb.Endpoint.HTTP"`
    * `node`, and `time`, when it was found, a system time in milliseconds
    * `queued`, `limit`, `drops` and the other figures of `AcceptQueue.counts/1`, as far as they were read
    * `held_ms`: for how long it has held; `dropped` and `dropped_otherwise`: packets dropped for want of room since it began, and for other causes
    * `acceptors_summary`: `waiting_count` in accept, `pool_count` that should be, `busy_count` that do something else, `reasons`, the three
      commonest with how many, and `examples`, a process of each. `AcceptQueue.acceptors/1` has them all
    * `acceptors`, of `:stuck`: `:none_waiting`; or `:waiting`, where processes are in accept and the VM does not poll
    * `socket`, of `:overflowing` and `:stuck`: which of the sockets that share the address
    * at the end `duration_ms`, and `reason`: `:recovered`; or why it is watched no longer, `:closed`, `:unwatched` or `:stopped`; or `:rewatched`, watched
      again with other options. Only `:recovered` says that the listener is well

  ## Telemetry

  Figures are measurements, all else is metadata, and what is absent is left out. `node` is in the metadata of each event, `time` in that of
  all but samples. `listener`, `name`, `node`, `condition`, `acceptors`, and `reason` of what was cleared, can be tags.

  | event | when | measurements | metadata |
  |---|---|---|---|
  | `[:accept_queue, :condition, :raised]` | a condition begins | the figures of the details | the rest of them, and `condition` |
  | `[:accept_queue, :condition, :cleared]` | it has ended | the same, and `duration_ms` | the same, and `reason` |
  | `[:accept_queue, :sample]` | while a handler is attached, at each reading; the first within half a minute | `queued`, `limit`, `drops`; those of counts when they were taken; `waits_count`, `waits_max_ms`, `waits_p50_ms`, `waits_p99_ms` | `address`, `listener`, `server`, `name`, `waits` |
  | `[:accept_queue, :listener, :added]`, `[:accept_queue, :listener, :removed]` | a listener is watched, or no longer | `count` | `address`, `listener`, `server`, `name`; `named`, where the configuration names it |
  | `[:accept_queue, :read, :failed]` | a listener cannot be read; once, until it can | `count` | `address`, `listener`, `server`, `name`, `reason`: an error of those below |
  | `[:accept_queue, :read, :recovered]` | it can be read again | `count` | the same without `reason` |
  | `[:accept_queue, :vm, :hung]` | this VM gave no heartbeat for longer than its watchdog allows, and is back | `duration_ms` | `file`, the evidence, or `reason`; `finding` |
  | `[:accept_queue, :poll, :late]` | a reading came late by more than its interval | `late_ms` | |

  `AcceptQueue.Telemetry.metrics/0` has metrics of them.

  ## Log

  A condition is a warning, `:overflowing` and `:stuck` are errors; its end is a notice, and a warning where its reason is `:closed`. A
  listener that cannot be read is a warning; listeners that come and go are debug, and a warning where the configuration names the one that goes.

  ## Errors

  `{:error, reason}`, and never a figure, where something could not be read:

  | reason | means |
  |---|---|
  | `:unsupported` | not Linux, or the kernel or its sandbox does not offer the call |
  | `:not_listening` | a socket, but a connected one, or UDP |
  | `:closed` | it was a listener, and has been closed |
  | `:not_found` | no listener of this VM is called so |
  | `:not_watched` | of `AcceptQueue.status/1`: it listens, and is not watched |
  | `:not_running` | the application does not run, or restarts |
  | `:timeout` | there was no answer in time |
  | `:eacces`, `:eperm` | the rights do not suffice |
  | `:truncated`, `:interrupted` | the kernel's answer was not whole |
  | `:not_loaded` | there is neither the native library nor the program |
  | `:already_written` | of `AcceptQueue.wait_ms/1`: something has been written to the connection |
  | `{:errno, name}` | any other error of a system call |

  A term that is no listener at all, and an option that is none, raise `ArgumentError`, with what is allowed.
  """

  @typedoc "Of `:acceptors_summary`, after `with_nil/1`: see the module."
  @type acceptors_summary :: %{
          waiting_count: non_neg_integer(),
          pool_count: non_neg_integer() | nil,
          busy_count: non_neg_integer(),
          reasons: [{atom(), pos_integer()}],
          examples: [map()]
        }

  @typedoc "Why a condition was cleared."
  @type cleared_reason :: :recovered | :closed | :unwatched | :stopped | :rewatched

  @typedoc "A message to a subscriber."
  @type message ::
          {:accept_queue, :raised | :cleared, AcceptQueue.condition(), map()}
          | {:accept_queue, :listener, :added | :removed, map()}
          | {:accept_queue, :vm, :hung, map()}

  @doc """
  The names of the events of `:telemetry`, for `:telemetry.attach_many/4`; without the sample, which is read and published only
  while a handler is attached to it.

      iex> [:accept_queue, :condition, :raised] in AcceptQueue.Events.telemetry()
      true
  """
  @spec telemetry() :: [[atom(), ...]]
  def telemetry do
    for {group, names} <- [
          condition: [:raised, :cleared],
          listener: [:added, :removed],
          read: [:failed, :recovered],
          vm: [:hung],
          poll: [:late]
        ],
        name <- names,
        do: [:accept_queue, group, name]
  end

  @doc """
  A message, its details, or the metadata of `:telemetry`, with `nil` where Erlang has `:undefined`.

      iex> AcceptQueue.Events.with_nil({:accept_queue, :raised, :stuck, %{drops: :undefined, queued: 7}})
      {:accept_queue, :raised, :stuck, %{drops: nil, queued: 7}}
      iex> AcceptQueue.Events.with_nil(%{acceptors_summary: %{pool_count: :undefined, waiting_count: 0}})
      %{acceptors_summary: %{pool_count: nil, waiting_count: 0}}
  """
  @spec with_nil(message()) :: message()
  @spec with_nil(map()) :: map()
  def with_nil({:accept_queue, kind, what, details}), do: {:accept_queue, kind, what, with_nil(details)}
  def with_nil(%{} = details), do: Map.new(details, fn {key, value} -> {key, absent_is_nil(value)} end)

  defp absent_is_nil(:undefined), do: nil
  defp absent_is_nil(%{} = map), do: with_nil(map)
  defp absent_is_nil([%{} | _] = maps), do: Enum.map(maps, &with_nil/1)
  defp absent_is_nil(value), do: value
end
