defmodule AcceptQueue do
  @moduledoc """
  How far behind its acceptors a listener is, as the kernel counts it.

  A client whose handshake is done waits in the listener's accept queue until some process calls accept. When the queue
  is full, Linux drops the next client's SYN without a word, and the VM never learns of it.

  This is the Erlang module `:accept_queue` as Elixir has it: the same names, the same figures, the same errors; structs for its
  maps, keyword lists or maps for options, and `nil` for what is absent, where Erlang has `:undefined`. Every call reads the
  kernel again, unless it says that it answers from memory.

  The events, and every error with its cause, are in `AcceptQueue.Events`; a child for your supervision tree is
  `AcceptQueue.Watcher`; a ready list of metrics is `AcceptQueue.Telemetry.metrics/0`.

  | question | function | cost |
  |---|---|---|
  | how deep is the queue | `depth/1` | three system calls, on a normal scheduler |
  | which clients wait in it, how long, how many have left | `counts/1` | one walk over the kernel's table of connections, on a dirty I/O scheduler |
  | which listeners does this VM have | `list/0`, `i/0` | one dump of the listeners; the TCP ports of the VM when one is new |
  | which processes accept, and what do the others do instead | `acceptors/1` | `Process.info/2` of each process of the pool |
  | who holds connections that their clients have closed | `holders/1` | one walk over connections and descriptors |
  | how long did this one wait, is its client still there | `wait_ms/1`, `peer_closed/1` | one system call |
  | how long did the accepted connections wait | `accepted/2` with each, `waits/1` | one system call; from memory |
  | more places, without a restart | `resize/2` | one system call |
  | what is set wrongly | `advice/0` | as `list/0` |
  | what are the limits, what was lost | `kernel/0` | six files of `/proc` |
  | and on the other nodes | `cluster/1` | one round trip to each, side by side |
  | the same listener again and again | `open/1` once, then the handle | |

  ## A session

  No process accepts; one client waits, one has come and gone:

      iex> {:ok, listener} = :gen_tcp.listen(0, backlog: 30)
      iex> {:ok, port} = :inet.port(listener)
      iex> {:ok, _waits} = :gen_tcp.connect({127, 0, 0, 1}, port, [])
      iex> {:ok, gone} = :gen_tcp.connect({127, 0, 0, 1}, port, [])
      iex> :gen_tcp.close(gone)
      iex> AcceptQueue.depth(listener)
      {:ok, %AcceptQueue.Depth{queued: 2, limit: 30, drops: 0}}
      iex> {:ok, counts} = AcceptQueue.counts(listener)
      iex> {counts.queued_alive, counts.queued_closed}
      {1, 1}

  ## A figure that is absent

  `nil > 100` is true in Elixir: every atom is greater than every number. Ask first whether it is a figure:

      iex> long? = fn ms -> is_integer(ms) and ms > 100 end
      iex> {:ok, listener} = :gen_tcp.listen(0, [])
      iex> {:ok, counts} = AcceptQueue.counts(listener)
      iex> {counts.oldest_wait_ms, long?.(counts.oldest_wait_ms)}
      {nil, false}

  ## Errors

  "Could not read" is always `{:error, reason}`, never a zero and never an empty list:

      iex> {:ok, listener} = :gen_tcp.listen(0, [])
      iex> :gen_tcp.close(listener)
      iex> AcceptQueue.depth(listener)
      {:error, :closed}

  A term that is no listener at all raises, and the exception says what is allowed:

      iex> try do
      ...>   AcceptQueue.depth({:port, 0})
      ...> rescue
      ...>   error in ArgumentError -> error.message =~ "1st argument: no listener: the port number is not from 1 to 65535"
      ...> end
      true
  """

  alias AcceptQueue.{
    Accepted,
    Acceptors,
    Advice,
    Busy,
    Counts,
    Depth,
    Holder,
    KernelLimits,
    Listener,
    Resized,
    Status,
    Waits
  }

  @structs %{
    depth: Depth,
    counts: Counts,
    list: Listener,
    acceptors: Acceptors,
    holders: Holder,
    accepted: Accepted,
    waits: Waits,
    resize: Resized,
    kernel: KernelLimits,
    advice: Advice,
    status: Status
  }

  @typedoc """
  Anything an owner has in hand: a listen socket of `:gen_tcp`, `:socket` or `:ssl`, `{:ranch, ref}`, `{:port, port}`,
  `{ip, port}`, `{:local, path}`, or a handle.
  """
  @type listener :: :accept_queue.listener()

  @typedoc "An accepted socket of `:gen_tcp`, `:socket` or `:ssl`."
  @type connection :: :accept_queue.connection()

  @typedoc "A socket of either of OTP's backends."
  @type socket :: :accept_queue_backend.socket()

  @typedoc "`{ip, port}`, with the scope behind it where the address is link-local; or `{:local, path}`."
  @type address :: :accept_queue.address()

  @typedoc """
  Whose a listener is: a framework's, with its own name for it, `{:phoenix, MyAppWeb.Endpoint.HTTP}` or `{:ranch, ref}`; or else the
  owner's label, registered name, application, or the function it started with. `nil` where there is no owner.
  """
  @type server ::
          {:ranch | :phoenix | :bandit | :thousand_island | :mochiweb | :elli | :esockd, term()}
          | {:label, term()}
          | {:application, atom()}
          | atom()
          | mfa()

  @typedoc "A listener looked up once. Holds nothing open."
  @type handle :: :accept_queue.handle()

  @typedoc "Why there is no figure; `AcceptQueue.Events` says what each means."
  @type reason :: :accept_queue.reason()

  @typedoc "What may be wrong with a listener; `docs/runbook.md` says when each is raised, and what to do."
  @type condition :: :behind | :overflowing | :stuck | :abandoned | :leaking

  @typedoc "`:ok`, or what is wrong. `overflowing` and `stuck` are failing, everything else is degraded."
  @type health :: :accept_queue.health()

  @typedoc """
  An option of `watch/2`, with its default; milliseconds where it ends in `_ms`.

    * `:interval_ms`, 100: how often a listener with waiting connections is read
    * `:census_ms`, 5000: a census when nothing is suspicious
    * `:max_wait_ms`, 100, and `:for_ms`, 1000: `:behind`, the oldest connection has waited longer than the one throughout the other
    * `:stuck_ms`, 5000: `:stuck`, connections wait and none was accepted for so long
    * `:abandoned_ratio`, 0.5, and `:abandoned_min`, 5: `:abandoned`, so many of the queued have left
    * `:close_wait_max`, 1000: `:leaking`, more accepted sockets than this in CLOSE_WAIT
    * `:clear_ms`, 5000: a condition is cleared after it has been absent for so long
  """
  @type watch_option ::
          {:interval_ms, pos_integer()}
          | {:census_ms, pos_integer()}
          | {:max_wait_ms, pos_integer()}
          | {:for_ms, pos_integer()}
          | {:stuck_ms, pos_integer()}
          | {:abandoned_ratio, number()}
          | {:abandoned_min, pos_integer()}
          | {:close_wait_max, pos_integer()}
          | {:clear_ms, pos_integer()}

  @typedoc "The options of `watch/2`, as a keyword list or as a map."
  @type watch_options :: [watch_option()] | %{optional(atom()) => number()}

  @typedoc "A reading for `cluster/2`: the name of a function, or `{name, arguments}`."
  @type call :: :accept_queue.call()

  @typedoc "What the reading answers on that node, in its structs, or why the node did not."
  @type node_answer :: {:ok, term()} | health() | [address()] | {:error, reason() | :nodedown | {:exception, term()}}

  @doc """
  Looks a listener up once, so that later calls need not.

  The handle holds nothing open. When the owner closes the socket, the next reading is `{:error, :closed}`, also when
  the descriptor number has been given to another socket by then. A handle can be sent to other processes of this VM.

      iex> {:ok, listener} = :gen_tcp.listen(0, backlog: 30)
      iex> {:ok, handle} = AcceptQueue.open(listener)
      iex> AcceptQueue.depth(handle) == AcceptQueue.depth(listener)
      true
      iex> :gen_tcp.close(listener)
      iex> AcceptQueue.depth(handle)
      {:error, :closed}
  """
  @spec open(listener()) :: {:ok, handle()} | {:error, reason()}
  defdelegate open(listener), to: :accept_queue

  @doc """
  How deep the queue is. Three system calls on the owner's descriptor; a socket, unlike a handle, is looked up first.

  Cannot tell which clients wait in the queue; see `counts/1`. Without the native library it still works for `:gen_tcp`
  sockets, through `:inet.getopts/2`.

      iex> {:ok, listener} = :gen_tcp.listen(0, backlog: 30)
      iex> AcceptQueue.depth(listener)
      {:ok, %AcceptQueue.Depth{queued: 0, limit: 30, drops: 0}}
  """
  @spec depth(listener()) :: {:ok, Depth.t()} | {:error, reason()}
  def depth(listener), do: listener |> :accept_queue.depth() |> as(:depth)

  @doc """
  The connections of a listener: queued, accepted, and in their handshake.

  One walk over the kernel's table of connections, on a dirty I/O scheduler: a fraction of a millisecond on an idle
  machine, and more with the number of connections in the network namespace. `:accept_queue` has the limits of
  the figures.

      iex> {:ok, listener} = :gen_tcp.listen(0, backlog: 30)
      iex> {:ok, counts} = AcceptQueue.counts(listener)
      iex> counts.oldest_wait_ms
      nil
      iex> {:ok, port} = :inet.port(listener)
      iex> {:ok, client} = :gen_tcp.connect({127, 0, 0, 1}, port, [])
      iex> :gen_tcp.send(client, "GET /")
      iex> {:ok, counts} = AcceptQueue.counts(listener)
      iex> {counts.queued_alive, counts.queued_bytes}
      {1, 5}
  """
  @spec counts(listener()) :: {:ok, Counts.t()} | {:error, reason()}
  def counts(listener), do: listener |> :accept_queue.counts() |> as(:counts)

  @doc """
  Every listener of this VM, ordered by address. One dump of the listeners of the network namespace; when one is new,
  a search of the TCP ports of the VM.

      iex> {:ok, listener} = :gen_tcp.listen(0, ip: {127, 0, 0, 1}, backlog: 30)
      iex> {:ok, listeners} = AcceptQueue.list()
      iex> row = Enum.find(listeners, &(&1.socket == listener))
      iex> {row.owner == self(), row.limit, row.waiting_acceptors}
      {true, 30, 0}
  """
  @spec list() :: {:ok, [Listener.t()]} | {:error, reason()}
  def list, do: :accept_queue.list() |> as(:list)

  @doc """
  Which processes are blocked in accept now, and what the others of the pool do instead.

  The pool is the framework's (ranch, Thousand Island, Bandit, mochiweb, elli, esockd), or else the processes that were found in
  accept while all was well. No process is stopped or sent a message, except a framework's supervisors.

      iex> {:ok, listener} = :gen_tcp.listen(0, ip: {127, 0, 0, 1})
      iex> AcceptQueue.acceptors(listener)
      {:ok, %AcceptQueue.Acceptors{waiting_count: 0, waiting: [], pool: nil, busy: [], busy_count: 0}}
  """
  @spec acceptors(listener()) :: {:ok, Acceptors.t()} | {:error, reason()}
  def acceptors(listener), do: listener |> :accept_queue.acceptors() |> as(:acceptors)

  @doc """
  Which processes hold the connections of this listener that their peers have closed, the longest held first. At most
  1000. `:unsupported` for a Unix socket.

  A server that does not read is not notified that its client has gone: the socket stays in CLOSE_WAIT, and its descriptor
  taken, until a process closes it.

      iex> {:ok, listener} = :gen_tcp.listen(0, active: false)
      iex> {:ok, port} = :inet.port(listener)
      iex> {:ok, client} = :gen_tcp.connect({127, 0, 0, 1}, port, [])
      iex> {:ok, held} = :gen_tcp.accept(listener)
      iex> :gen_tcp.close(client)
      iex> {:ok, [holder]} = AcceptQueue.holders(listener)
      iex> {holder.pid == self(), holder.socket == held, holder.state}
      {true, true, :close_wait}
  """
  @spec holders(listener()) :: {:ok, [Holder.t()]} | {:error, reason()}
  def holders(listener), do: listener |> :accept_queue.holders() |> as(:holders)

  @doc """
  As `holders/1`, so many at most.

      iex> {:ok, listener} = :gen_tcp.listen(0, [])
      iex> AcceptQueue.holders(listener, limit: 10)
      {:ok, []}
  """
  @spec holders(listener(), [limit: pos_integer()] | %{optional(:limit) => pos_integer()}) ::
          {:ok, [Holder.t()]} | {:error, reason()}
  def holders(listener, options), do: listener |> :accept_queue.holders(map(options)) |> as(:holders)

  @doc """
  How long a connection waited in the queue, in milliseconds. For one that has just been accepted and not been written to:
  afterwards the kernel no longer has it. With `:ssl`, call it between `:ssl.transport_accept/1` and `:ssl.handshake/1`.
  `:unsupported` for a Unix socket.

      iex> {:ok, listener} = :gen_tcp.listen(0, [])
      iex> {:ok, port} = :inet.port(listener)
      iex> {:ok, _client} = :gen_tcp.connect({127, 0, 0, 1}, port, [])
      iex> {:ok, accepted} = :gen_tcp.accept(listener)
      iex> {:ok, ms} = AcceptQueue.wait_ms(accepted)
      iex> ms in 0..60_000
      true
      iex> :gen_tcp.send(accepted, "hello")
      iex> AcceptQueue.wait_ms(accepted)
      {:error, :already_written}
  """
  @spec wait_ms(connection()) :: {:ok, non_neg_integer()} | {:error, reason()}
  defdelegate wait_ms(connection), to: :accept_queue

  @doc """
  Whether the client of an accepted connection has already closed or reset it, so that an acceptor can skip it.

  A client that has closed only its sending side and still reads looks the same: skip such connections only where no
  client of yours does that.

      iex> {:ok, listener} = :gen_tcp.listen(0, active: false)
      iex> {:ok, port} = :inet.port(listener)
      iex> {:ok, client} = :gen_tcp.connect({127, 0, 0, 1}, port, [])
      iex> {:ok, accepted} = :gen_tcp.accept(listener)
      iex> AcceptQueue.peer_closed(accepted)
      {:ok, false}
      iex> :gen_tcp.close(client)
      iex> AcceptQueue.peer_closed(accepted)
      {:ok, true}
  """
  @spec peer_closed(connection()) :: {:ok, boolean()} | {:error, reason()}
  defdelegate peer_closed(connection), to: :accept_queue

  @doc """
  How long a connection that was accepted from this listener waited in its queue, and whether its client has left:
  `wait_ms/1` and `peer_closed/1` at once, with their limits. The wait is added to the listener's histogram, which `waits/1`
  reads.

  For the loop of an acceptor or the `init` of a protocol, before anything is written. The listener is looked up with its
  first connection only; a handle, or a socket, costs next to nothing.

      iex> {:ok, listener} = :gen_tcp.listen(0, active: false)
      iex> {:ok, port} = :inet.port(listener)
      iex> {:ok, _client} = :gen_tcp.connect({127, 0, 0, 1}, port, [])
      iex> {:ok, connection} = :gen_tcp.accept(listener)
      iex> {:ok, %AcceptQueue.Accepted{peer_closed: false, wait_ms: ms}} = AcceptQueue.accepted(listener, connection)
      iex> ms in 0..60_000
      true
  """
  @spec accepted(listener(), connection()) :: {:ok, Accepted.t()} | {:error, reason()}
  def accepted(listener, connection), do: listener |> :accept_queue.accepted(connection) |> as(:accepted)

  @doc """
  How long the connections of a listener had waited that were passed to `accepted/2`, since the listener was first seen. From
  memory. Where several sockets listen on an address, the sum.

      iex> {:ok, listener} = :gen_tcp.listen(0, active: false)
      iex> {:ok, waits} = AcceptQueue.waits(listener)
      iex> {waits.count, waits.p99_ms, List.last(waits.buckets)}
      {0, nil, {:infinity, 0}}
  """
  @spec waits(listener()) :: {:ok, Waits.t()} | {:error, reason()}
  def waits(listener), do: listener |> :accept_queue.waits() |> as(:waits)

  @doc """
  Gives a listener that is in use another backlog, with no restart and without touching what is queued.

      iex> {:ok, listener} = :gen_tcp.listen(0, backlog: 5)
      iex> AcceptQueue.resize(listener, 100)
      {:ok, %AcceptQueue.Resized{requested: 100, limit: 100}}
      iex> AcceptQueue.depth(listener)
      {:ok, %AcceptQueue.Depth{queued: 0, limit: 100, drops: 0}}
  """
  @spec resize(listener(), non_neg_integer()) :: {:ok, Resized.t()} | {:error, reason()}
  def resize(listener, backlog), do: listener |> :accept_queue.resize(backlog) |> as(:resize)

  @doc """
  The limits and counters of the VM's network namespace. Six files of `/proc`, on a dirty I/O scheduler.

  The counters are sums over all listeners of the namespace since it was made, and are not of one instant.

      iex> {:ok, kernel} = AcceptQueue.kernel()
      iex> File.read!("/proc/sys/net/core/somaxconn") == "\#{kernel.somaxconn}\\n"
      true
  """
  @spec kernel() :: {:ok, KernelLimits.t()} | {:error, reason()}
  def kernel, do: :accept_queue.kernel() |> as(:kernel)

  @doc """
  What is set wrongly in this VM's listeners and in the kernel around them, before anything breaks.

      iex> {:ok, listener} = :gen_tcp.listen(0, [])
      iex> {:ok, port} = :inet.port(listener)
      iex> {:ok, advice} = AcceptQueue.advice()
      iex> {{0, 0, 0, 0}, port} in for(%{id: :default_backlog, listener: address} <- advice, do: address)
      true
  """
  @spec advice() :: {:ok, [Advice.t()]} | {:error, reason()}
  def advice, do: :accept_queue.advice() |> as(:advice)

  @doc """
  What is set wrongly in one listener.

      iex> {:ok, listener} = :gen_tcp.listen(0, [])
      iex> {:ok, advice} = AcceptQueue.advice(listener)
      iex> :default_backlog in Enum.map(advice, & &1.id)
      true
  """
  @spec advice(listener()) :: {:ok, [Advice.t()]} | {:error, reason()}
  def advice(listener), do: listener |> :accept_queue.advice() |> as(:advice)

  @doc """
  Watches a listener with the options of the environment. See `watch/2`.

      iex> {:ok, listener} = :gen_tcp.listen(0, ip: {127, 0, 0, 1})
      iex> AcceptQueue.watch(listener)
      :ok
  """
  @spec watch(listener()) :: :ok | {:error, reason() | :not_running}
  defdelegate watch(listener), to: :accept_queue

  @doc """
  Watches a listener with options of its own; the others are those of the environment. For a child of your supervision
  tree see `AcceptQueue.Watcher`. `t:watch_option/0` has the options, `AcceptQueue.Events` the events.

      iex> {:ok, listener} = :gen_tcp.listen(0, ip: {127, 0, 0, 1})
      iex> AcceptQueue.watch(listener, stuck_ms: 2000)
      :ok
      iex> {:ok, address} = :inet.sockname(listener)
      iex> address in AcceptQueue.watched()
      true
      iex> AcceptQueue.unwatch(listener)
      :ok
  """
  @spec watch(listener(), watch_options()) :: :ok | {:error, reason() | :not_running}
  def watch(listener, options), do: :accept_queue.watch(listener, map(options))

  @doc """
  Watches a listener no longer, until `watch/1` asks for it. Its conditions are cleared.

      iex> {:ok, listener} = :gen_tcp.listen(0, ip: {127, 0, 0, 1})
      iex> :ok = AcceptQueue.watch(listener)
      iex> AcceptQueue.unwatch(listener)
      :ok
  """
  @spec unwatch(listener()) :: :ok | {:error, reason() | :not_running}
  defdelegate unwatch(listener), to: :accept_queue

  @doc """
  The addresses that are watched.

      iex> {:ok, listener} = :gen_tcp.listen(0, ip: {127, 0, 0, 1})
      iex> :ok = AcceptQueue.watch(listener)
      iex> {:ok, address} = :inet.sockname(listener)
      iex> address in AcceptQueue.watched()
      true
  """
  @spec watched() :: [address()]
  defdelegate watched(), to: :accept_queue

  @doc """
  What is known of a watched listener, from memory: the raised conditions, the last readings, the last minute.

      iex> {:ok, listener} = :gen_tcp.listen(0, ip: {127, 0, 0, 1})
      iex> :ok = AcceptQueue.watch(listener)
      iex> {:ok, status} = AcceptQueue.status(listener)
      iex> status.conditions
      []
  """
  @spec status(listener()) :: {:ok, Status.t()} | {:error, reason() | :not_watched | :not_running}
  def status(listener), do: listener |> :accept_queue.status() |> as(:status)

  @doc """
  For a readiness probe: `:ok` where what is to be watched is watched, can be read, and nothing is wrong. From memory, in 1 to 2
  microseconds. `:accept_queue.health/0` lists the reasons.

      iex> case AcceptQueue.health() do
      ...>   :ok -> 200
      ...>   {:degraded, _reasons} -> 200
      ...>   {:failing, _reasons} -> 503
      ...> end
      200
  """
  @spec health() :: health()
  defdelegate health(), to: :accept_queue

  @doc """
  The same of one listener or of some, for a probe that asks about a port of its own. What nothing listens on is `:not_listening`, what
  listens and is not watched `:not_watched`: see `:accept_queue.health/1`.

      iex> {:ok, listener} = :gen_tcp.listen(0, ip: {127, 0, 0, 1})
      iex> :ok = AcceptQueue.watch(listener)
      iex> AcceptQueue.health(listener)
      :ok
      iex> :ok = AcceptQueue.unwatch(listener)
      iex> AcceptQueue.health([listener])
      {:degraded, [not_watched: listener]}
  """
  @spec health(listener() | [listener()]) :: health()
  defdelegate health(listeners), to: :accept_queue

  @doc """
  Sends the events of `AcceptQueue.Events` to the calling process as messages, until it ends.

      iex> AcceptQueue.subscribe()
      :ok
      iex> {:ok, listener} = :gen_tcp.listen(0, ip: {127, 0, 0, 1})
      iex> :ok = AcceptQueue.watch(listener)
      iex> {:ok, address} = :inet.sockname(listener)
      iex> receive do
      ...>   {:accept_queue, :listener, :added, %{address: ^address}} -> :added
      ...> end
      :added
  """
  @spec subscribe() :: :ok | {:error, :not_running | :timeout}
  defdelegate subscribe(), to: :accept_queue

  @doc """
  Stops these messages.

      iex> AcceptQueue.subscribe()
      iex> AcceptQueue.unsubscribe()
      :ok
  """
  @spec unsubscribe() :: :ok | {:error, :not_running | :timeout}
  defdelegate unsubscribe(), to: :accept_queue

  @doc """
  Prints every listener of this VM, as `:inet.i/0` does for sockets.

      iex> {:ok, listener} = :gen_tcp.listen(0, ip: {127, 0, 0, 1})
      iex> {:ok, port} = :inet.port(listener)
      iex> ExUnit.CaptureIO.capture_io(fn -> AcceptQueue.i() end) =~ "127.0.0.1:\#{port} "
      true
  """
  @spec i() :: :ok
  defdelegate i(), to: :accept_queue

  @doc """
  As `cluster/2`, within five seconds.

      iex> {:ok, listener} = :gen_tcp.listen(0, ip: {127, 0, 0, 1})
      iex> {:ok, port} = :inet.port(listener)
      iex> {:ok, depth} = AcceptQueue.cluster({:depth, [{:port, port}]})[node()]
      iex> depth.queued
      0
  """
  @spec cluster(call()) :: %{node() => node_answer()}
  def cluster(call), do: call |> with_map() |> :accept_queue.cluster() |> each_as(call)

  @doc """
  The same reading on this node and on every node it is connected to, each answering for itself.

  `call` is the name of a function of this module that reads, or `{name, arguments}`. Nodes that do not run the
  application are left out, this one too; so are those connected as hidden. Returns after `timeout_ms` at the latest; the
  answer of a node is `{:error, :timeout}` where it has not come by then. `:accept_queue` lists the other errors.

      iex> {:ok, listener} = :gen_tcp.listen(0, backlog: 30)
      iex> {:ok, port} = :inet.port(listener)
      iex> answers = AcceptQueue.cluster({:depth, [{:port, port}]}, 2000)
      iex> answers[node()]
      {:ok, %AcceptQueue.Depth{queued: 0, limit: 30, drops: 0}}
  """
  @spec cluster(call(), timeout_ms :: non_neg_integer()) :: %{node() => node_answer()}
  def cluster(call, timeout_ms), do: call |> with_map() |> :accept_queue.cluster(timeout_ms) |> each_as(call)

  # Of what can be asked of a cluster only this has options.
  defp with_map({:holders, [listener, options]}), do: {:holders, [listener, map(options)]}
  defp with_map(call), do: call

  defp each_as(answers, {function, _arguments}), do: each_as(answers, function)
  defp each_as(answers, function), do: Map.new(answers, fn {node, answer} -> {node, as(answer, function)} end)

  # A keyword list is Elixir's way to write these maps; what else there is, Erlang refuses with a sentence.
  defp map(options), do: if(Keyword.keyword?(options), do: Map.new(options), else: options)

  # A struct is the Erlang map with a name: no key is added, dropped or given a default.
  defp as({:ok, answer}, function), do: {:ok, named(answer, @structs[function])}
  defp as({:error, _reason} = error, _function), do: error
  defp as(answer, _function), do: answer

  defp named(:undefined, _struct), do: nil
  defp named(maps, struct) when is_list(maps), do: Enum.map(maps, &named(&1, struct))

  defp named(map, struct) do
    Map.new(map, fn {key, value} -> {key, part(struct, key, value)} end) |> Map.put(:__struct__, struct)
  end

  defp part(Acceptors, :busy, busy), do: named(busy, Busy)
  defp part(Status, :depth, depth), do: named(depth, Depth)
  defp part(Status, :counts, counts), do: named(counts, Counts)
  defp part(Status, :waits, waits), do: named(waits, Waits)
  defp part(_struct, _key, :undefined), do: nil
  defp part(_struct, _key, value), do: value
end
