defmodule AcceptQueue do
  @moduledoc """
  How far behind its acceptors a listener is, as the kernel counts it.

  A client whose handshake is done waits in the listener's accept queue until some process calls accept. When the queue
  is full, Linux drops the next client's SYN without a word, and the VM never learns of it.

  This is the Erlang module `:accept_queue` with structs for its maps: the same names, the same figures, the same
  errors, `:undefined` where a figure is absent. Every call reads the kernel anew; nothing is kept. Nothing here can
  tell which process is slow.

  | question | function | cost |
  |---|---|---|
  | how deep is the queue | `depth/1` | three system calls, on a normal scheduler |
  | who stands in it, how long, how many have left | `counts/1` | one walk over the kernel's table of connections, on a dirty I/O scheduler |
  | which listeners does this VM have | `list/0`, `i/0` | one dump of the listeners, and a look at every TCP port |
  | what are the limits, what was lost | `kernel/0` | six files of `/proc` |
  | the same listener again and again | `open/1` once, then the handle | |

  ## A session

  Nobody accepts; one client waits, one has come and gone:

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

  ## Errors

  "Could not read" is always `{:error, reason}`, never a zero and never an empty list:

      iex> {:ok, listener} = :gen_tcp.listen(0, [])
      iex> :gen_tcp.close(listener)
      iex> AcceptQueue.depth(listener)
      {:error, :closed}

  A term that is no listener at all raises:

      iex> AcceptQueue.depth(:nothing)
      ** (ArgumentError) argument error
  """

  alias AcceptQueue.{Counts, Depth, Listener}

  @typedoc "Anything an owner has in hand: a `:gen_tcp` listen socket, or a handle."
  @type listener :: :accept_queue.listener()

  @typedoc "A listener looked up once. Holds nothing open."
  @type handle :: :accept_queue.handle()

  @typedoc "Why there is no figure; the list stands in `:accept_queue`."
  @type reason :: :accept_queue.reason()

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

  Cannot tell who stands in the queue; see `counts/1`. Without the native library it still works for `:gen_tcp`
  sockets, through `:inet.getopts/2`.

      iex> {:ok, listener} = :gen_tcp.listen(0, backlog: 30)
      iex> AcceptQueue.depth(listener)
      {:ok, %AcceptQueue.Depth{queued: 0, limit: 30, drops: 0}}
  """
  @spec depth(listener()) :: {:ok, Depth.t()} | {:error, reason()}
  def depth(listener), do: listener |> :accept_queue.depth() |> as(Depth)

  @doc """
  Who stands in front of the listener.

  One walk over the kernel's table of connections, on a dirty I/O scheduler: a third of a millisecond on an idle
  machine, and more with the number of connections in the network namespace. `:accept_queue` says what the kernel
  cannot tell apart.

      iex> {:ok, listener} = :gen_tcp.listen(0, backlog: 30)
      iex> {:ok, counts} = AcceptQueue.counts(listener)
      iex> counts.oldest_wait_ms
      :undefined
      iex> {:ok, port} = :inet.port(listener)
      iex> {:ok, client} = :gen_tcp.connect({127, 0, 0, 1}, port, [])
      iex> :gen_tcp.send(client, "GET /")
      iex> {:ok, counts} = AcceptQueue.counts(listener)
      iex> {counts.queued_alive, counts.queued_bytes}
      {1, 5}
  """
  @spec counts(listener()) :: {:ok, Counts.t()} | {:error, reason()}
  def counts(listener), do: listener |> :accept_queue.counts() |> as(Counts)

  @doc """
  Every listener of this VM, ordered by address. One dump of the listeners of the network namespace, and a look at every
  TCP port of the VM.

      iex> {:ok, listener} = :gen_tcp.listen(0, ip: {127, 0, 0, 1}, backlog: 30)
      iex> {:ok, listeners} = AcceptQueue.list()
      iex> row = Enum.find(listeners, &(&1.socket == listener))
      iex> {row.owner == self(), row.limit, row.waiting_acceptors}
      {true, 30, 0}
  """
  @spec list() :: {:ok, [Listener.t()]} | {:error, reason()}
  def list, do: :accept_queue.list() |> as(Listener)

  @doc """
  The limits and counters of the VM's network namespace. Six files of `/proc`, on a dirty I/O scheduler.

  The counters are sums over all listeners of the namespace since it was made, and are not of one instant.

      iex> {:ok, kernel} = AcceptQueue.kernel()
      iex> File.read!("/proc/sys/net/core/somaxconn") == "\#{kernel.somaxconn}\\n"
      true
  """
  @spec kernel() :: {:ok, AcceptQueue.Kernel.t()} | {:error, reason()}
  def kernel, do: :accept_queue.kernel() |> as(AcceptQueue.Kernel)

  @doc "Prints every listener of this VM, as `:inet.i/0` does for sockets."
  @spec i() :: :ok
  defdelegate i(), to: :accept_queue

  # A struct is the Erlang map with a name: no key is added, dropped or given a default.
  defp as({:ok, maps}, module) when is_list(maps), do: {:ok, Enum.map(maps, &Map.put(&1, :__struct__, module))}
  defp as({:ok, map}, module), do: {:ok, Map.put(map, :__struct__, module)}
  defp as({:error, _reason} = error, _module), do: error
end
